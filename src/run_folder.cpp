#include "run_folder.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "data/npy.h"
#include "data/open_file.h"
#include "data/part_folder.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
namespace {

constexpr const char* format = "bm3-run-2";
constexpr const char* a_run = "the folder that a run of bm3 left";

struct NamedMetric {
  const char* name;
  std::array<double, cutoffs.size()> Metrics::*values;
};
constexpr NamedMetric named_metrics[] = {{"recall", &Metrics::recall},
                                         {"ndcg", &Metrics::ndcg},
                                         {"precision", &Metrics::precision},
                                         {"map", &Metrics::map}};

Json to_json(const Metrics& metrics) {
  Json out{{"users", metrics.n_users}};
  for (const auto& [name, values] : named_metrics)
    for (size_t c = 0; c < cutoffs.size(); ++c)
      out[name + ("@" + std::to_string(cutoffs[c]))] = (metrics.*values)[c];
  return out;
}

/// config.json, read value by value at keys such as /data/users. Errors name the file and the key.
class Config {
 public:
  explicit Config(const fs::path& path) : name_(path.string()) {
    std::ifstream file = open_file(path, a_run);
    json_ = Json::parse(file, nullptr, false);
    if (json_.is_discarded())
      throw Error(name_ + " is not JSON: expected the file as a run of bm3 left it");
  }

  /// The value at `key`. Error where there is none, or not one that `fits`.
  template <class Fits>
  const Json& at(const std::string& key, const std::string& expected, const Fits& fits) const {
    const Json::json_pointer place(key);
    if (!json_.contains(place)) throw Error(name_ + " lacks " + key + ": expected " + expected);
    const Json& value = json_.at(place);
    if (!fits(value))
      throw Error(name_ + ": " + key + " is " + in_quotes(value.dump()) + ": expected " + expected);
    return value;
  }
  std::string text(const std::string& key) const {
    return at(key, "a text", [](const Json& x) { return x.is_string(); });
  }
  bool flag(const std::string& key) const {
    return at(key, "true or false", [](const Json& x) { return x.is_boolean(); });
  }
  uint64_t whole(const std::string& key, uint64_t least = 1, uint64_t most = INT32_MAX) const {
    return at(key,
              "a whole number from " + std::to_string(least) + " to " + std::to_string(most),
              [=](const Json& x) { return x.is_number_unsigned() && x >= least && x <= most; });
  }
  Metrics metrics(const std::string& part) const {
    Metrics out;
    out.n_users = whole(part + "/users", 0);
    for (const auto& [name, values] : named_metrics)
      for (size_t c = 0; c < cutoffs.size(); ++c)
        (out.*values)[c] = at(part + "/" + name + "@" + std::to_string(cutoffs[c]),
                              "a number from 0 to 1",
                              [](const Json& x) { return x.is_number() && x >= 0 && x <= 1; });
    return out;
  }

 private:
  std::string name_;
  Json json_;
};

/// Every setting, as a number where it is one.
Json to_json(const Settings& settings) {
  Json out = Json::object();
  for (const Setting& setting : settings.known()) {
    const std::string& name = setting.name;
    if (setting.range.kind == Range::whole)
      out[name] = settings.whole(name);
    else if (setting.range.kind == Range::real)
      out[name] = settings.real(name);
    else
      out[name] = settings.text(name);
  }
  return out;
}

Json config_of(const TrainOptions& options, const Dataset& data, const RunLog& log,
               const TrainResult& result) {
  const Interactions& x = data.interactions;
  Json modalities = Json::array();
  for (const auto& m : data.modalities) modalities.push_back({{"name", m.name}, {"dim", m.dim}});
  return {
      {"format", format},
      {"data",
       {{"name", data.name},
        {"folder", data.folder.empty() ? "" : absolute_path(data.folder).string()},
        {"synthetic", data.synthetic},
        {"users", x.n_users},
        {"items", x.n_items},
        {"interactions", x.size()},
        {"modalities", modalities}}},
      {"model", options.model->name},
      {"settings", to_json(options.settings)},
      {"device",
       {{"name", options.device.device},
        {"tf32", options.device.tf32},
        {"spmm", options.device.cusparse ? "cusparse" : "own"}}},
      {"memory", {{"device_start_mib", static_cast<double>(log.allocated) / (1 << 20)}}},
      {"best_epoch", result.best_epoch},
      {"valid", to_json(result.valid)},
      {"test", to_json(result.test)},
  };
}

std::string log_text(const std::vector<Epoch>& epochs) {
  std::string out = "epoch,loss";
  for (const Loss& loss : epochs.front().losses) out += "," + loss.name;
  out += ",valid_recall@20,valid_ndcg@20,best\n";
  for (const Epoch& e : epochs) {
    out += std::to_string(e.number) + "," + shortest(total(e.losses));
    for (const Loss& loss : e.losses) out += "," + shortest(loss.weight * loss.value);
    out += "," + shortest(e.valid.recall[at20]) + "," + shortest(e.valid.ndcg[at20]);
    out += e.best ? ",1\n" : ",0\n";
  }
  return out;
}

std::string top_k_text(const Ranking& ranking) {
  std::string out = "userID";
  for (size_t k = 1; k <= ranking.k; ++k) out += "\ttop_" + std::to_string(k);
  for (size_t at = 0; at < ranking.item.size(); ++at) {
    if (at % ranking.k == 0) out += "\n" + std::to_string(ranking.users[at / ranking.k]);
    out += "\t" + (ranking.item[at] < 0 ? "" : std::to_string(ranking.item[at]));
  }
  return out + "\n";
}

/// Reads a matrix [rows, *], and the number of its columns.
std::vector<float> read_embedding(const fs::path& path, int64_t rows, size_t& cols) {
  const NpyMatrix matrix(path);
  if (matrix.rows() != rows)
    throw Error(path.string() + " has " + std::to_string(matrix.rows()) + " rows: expected the " +
                std::to_string(rows) + " that config.json states");
  cols = static_cast<size_t>(matrix.cols());
  std::vector<float> values(static_cast<size_t>(rows) * cols);
  matrix.read_rows(0, rows, values.data());
  return values;
}

void write_embedding(const PartFolder& part, const std::string& name,
                     const std::vector<float>& values, size_t cols) {
  part.append(name, npy_header(static_cast<int64_t>(values.size() / cols),
                               static_cast<int64_t>(cols)));
  part.append(name, npy_bytes(values.data(), values.size()));
}

}  // namespace

void check_run_folder(const fs::path& out) {
  std::error_code status;
  if (fs::equivalent(out, ".", status))
    throw Error(out.string() + " is the folder that you are in: expected --out to be a new or " +
                "empty folder elsewhere");
  PartFolder{out};
}

void write_run(const fs::path& out, const TrainOptions& options, const Dataset& data,
               const RunLog& log, const TrainResult& result, const Ranking& best_items) {
  PartFolder part(out);
  const Json config = config_of(options, data, log, result);
  part.append("config.json", config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  part.append("log.csv", log_text(log.epochs));
  write_embedding(part, "user_embedding.npy", result.user, result.width);
  write_embedding(part, "item_embedding.npy", result.item, result.width);
  part.append("top_k.tsv", top_k_text(best_items));
  part.rename_to_target();
}

Run read_run(const fs::path& folder) {
  const Config config(folder / "config.json");
  config.at("/format", format, [](const Json& x) { return x == format; });
  Run run;
  run.name = config.text("/data/name");
  run.data = config.text("/data/folder");
  run.model = &model_kind(config.text("/model"));
  run.seed = config.whole("/settings/seed", 0, UINT64_MAX);
  run.device = config.at("/device/name", "cpu or cuda",
                         [](const Json& x) { return x == "cpu" || x == "cuda"; });
  run.tf32 = config.flag("/device/tf32");
  run.n_users = static_cast<int64_t>(config.whole("/data/users"));
  run.n_items = static_cast<int64_t>(config.whole("/data/items"));
  run.n_interactions = config.whole("/data/interactions", 1, INT64_MAX);
  run.result.best_epoch = config.whole("/best_epoch");
  run.result.valid = config.metrics("/valid");
  run.result.test = config.metrics("/test");
  size_t width = 0;
  run.result.user = read_embedding(folder / "user_embedding.npy", run.n_users, run.result.width);
  run.result.item = read_embedding(folder / "item_embedding.npy", run.n_items, width);
  if (width != run.result.width)
    throw Error((folder / "item_embedding.npy").string() + " has " + std::to_string(width) +
                " columns: expected the " + std::to_string(run.result.width) +
                " of user_embedding.npy");
  return run;
}

Ranking read_best_items(const fs::path& folder, const Run& run) {
  const fs::path path = folder / "top_k.tsv";
  std::ifstream file = open_file(path, "a run's best items");
  std::string line;
  std::getline(file, line);
  Ranking out{split(line, '\t').size() - 1, {}, {}};
  while (out.users.size() < static_cast<size_t>(run.n_users)) {
    const auto user = static_cast<int32_t>(out.users.size());
    std::getline(file, line);
    const auto fields = split(line, '\t');
    bool right = file && fields.size() == out.k + 1 && fields[0] == std::to_string(user);
    for (size_t k = 1; right && k <= out.k; ++k) {
      int32_t item = -1;
      right = fields[k].empty() || (parse(fields[k], item) && item >= 0 && item < run.n_items);
      out.item.push_back(item);
    }
    if (!right)
      throw Error(path.string() + ":" + std::to_string(user + 2) + " is damaged: expected user " +
                  std::to_string(user) + " and " + std::to_string(out.k) + " items below " +
                  std::to_string(run.n_items));
    out.users.push_back(user);
  }
  return out;
}

}  // namespace bm3
