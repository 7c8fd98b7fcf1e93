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

constexpr const char* format = "bm3-run-1";
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

Json config_of(const TrainOptions& options, const Dataset& data, const TrainResult& result) {
  const auto& [model, adam, batch, epochs, patience, seed] = options.train;
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
      {"model",
       {{"recipe", options.recipe},
        {"dim", model.d},
        {"layers", model.n_layers},
        {"dropout", model.dropout},
        {"reg", model.reg_weight},
        {"reg_form", name_of(model.reg_form)},
        {"mm_weight", model.mm_weight},
        {"losses", losses_of(model)},
        {"features", name_of_features(model.tuned)}}},
      {"training",
       {{"lr", adam.lr},
        {"beta1", adam.beta1},
        {"beta2", adam.beta2},
        {"epsilon", adam.epsilon},
        {"batch", batch},
        {"epochs", epochs},
        {"patience", patience},
        {"seed", seed},
        {"device", options.device.device},
        {"tf32", options.device.tf32}}},
      {"best_epoch", result.best_epoch},
      {"valid", to_json(result.valid)},
      {"test", to_json(result.test)},
  };
}

std::string log_text(const std::vector<Epoch>& log) {
  std::string out = "epoch,loss,rec,align,mask,reg,valid_recall@20,valid_ndcg@20,best\n";
  for (const Epoch& e : log) {
    out += std::to_string(e.number);
    for (double x : {e.loss.total(), e.loss.rec, e.loss.align, e.loss.mask, e.loss.reg,
                     e.valid.recall[at20], e.valid.ndcg[at20]})
      out += ',' + shortest(x);
    out += e.best ? ",1\n" : ",0\n";
  }
  return out;
}

/// The line of ranking.users[r].
std::string top_k_line(const Ranking& ranking, size_t r) {
  std::string out = std::to_string(ranking.users[r]);
  for (size_t k = 0; k < ranking.k; ++k) {
    const int32_t item = ranking.item[r * ranking.k + k];
    out += '\t' + (item < 0 ? "" : std::to_string(item));
  }
  return out;
}

std::string top_k_text(const Ranking& ranking) {
  std::string out = "userID";
  for (size_t k = 1; k <= ranking.k; ++k) out += "\ttop_" + std::to_string(k);
  for (size_t r = 0; r < ranking.users.size(); ++r) out += '\n' + top_k_line(ranking, r);
  return out + '\n';
}

std::ifstream open_top_k(const fs::path& path) {
  return open_file(path, "a run's best items");
}

std::vector<float> read_embedding(const fs::path& path, int64_t rows, size_t d) {
  const NpyMatrix matrix(path);
  if (matrix.rows() != rows || matrix.cols() != static_cast<int64_t>(d))
    throw Error(path.string() + " is not of the shape [" + std::to_string(rows) + ", " +
                std::to_string(d) + "] that config.json states");
  std::vector<float> values(static_cast<size_t>(rows) * d);
  matrix.read_rows(0, rows, values.data());
  return values;
}

void write_embedding(const PartFolder& part, const std::string& name,
                     const std::vector<float>& values, size_t d) {
  part.append(name, npy_header(static_cast<int64_t>(values.size() / d), static_cast<int64_t>(d)));
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
               const std::vector<Epoch>& log, const TrainResult& result,
               const Ranking& best_items) {
  PartFolder part(out);
  const Json config = config_of(options, data, result);
  part.append("config.json", config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  part.append("log.csv", log_text(log));
  write_embedding(part, "user_embedding.npy", result.user, options.train.model.d);
  write_embedding(part, "item_embedding.npy", result.item, options.train.model.d);
  part.append("top_k.tsv", top_k_text(best_items));
  part.rename_to_target();
}

Run read_run(const fs::path& folder) {
  const Config config(folder / "config.json");
  config.at("/format", format, [](const Json& x) { return x == format; });
  Run run;
  run.name = config.text("/data/name");
  run.data = config.text("/data/folder");
  run.seed = config.whole("/training/seed", 0, UINT64_MAX);
  run.device = config.at("/training/device", "cpu or cuda",
                         [](const Json& x) { return x == "cpu" || x == "cuda"; });
  run.tf32 = config.flag("/training/tf32");
  run.n_users = static_cast<int64_t>(config.whole("/data/users"));
  run.n_items = static_cast<int64_t>(config.whole("/data/items"));
  run.n_interactions = config.whole("/data/interactions", 1, INT64_MAX);
  run.d = config.whole("/model/dim");
  run.result.best_epoch = config.whole("/best_epoch");
  run.result.valid = config.metrics("/valid");
  run.result.test = config.metrics("/test");
  run.result.user = read_embedding(folder / "user_embedding.npy", run.n_users, run.d);
  run.result.item = read_embedding(folder / "item_embedding.npy", run.n_items, run.d);
  return run;
}

std::vector<int32_t> read_best_items(const fs::path& folder, int64_t user, size_t k,
                                     int64_t n_items) {
  const fs::path path = folder / "top_k.tsv";
  std::ifstream file = open_top_k(path);
  const std::string number = std::to_string(user), start = number + '\t';
  std::string line;
  for (size_t row = 1; std::getline(file, line); ++row) {
    if (line.compare(0, start.size(), start) != 0) continue;
    const auto fields = split(line, '\t');
    std::vector<int32_t> items;
    for (size_t c = 1; c < fields.size() && items.size() < k && !fields[c].empty(); ++c) {
      int32_t item = -1;
      const char* end = fields[c].data() + fields[c].size();
      if (std::from_chars(fields[c].data(), end, item).ptr != end || item < 0 || item >= n_items)
        throw Error(path.string() + ":" + std::to_string(row) + ": " + in_quotes(fields[c]) +
                    " is not an item's number: expected one below " + std::to_string(n_items));
      items.push_back(item);
    }
    return items;
  }
  throw Error(path.string() + " has no user " + number);
}

void check_best_items(const fs::path& folder, const Ranking& ranking) {
  const fs::path path = folder / "top_k.tsv";
  std::ifstream file = open_top_k(path);
  std::string line;
  std::getline(file, line);  // the header
  int32_t user = -1;
  for (size_t r = 0; r < ranking.users.size(); ++r) {
    while (user < ranking.users[r] && std::getline(file, line)) ++user;
    if (user != ranking.users[r] || line != top_k_line(ranking, r))
      throw Error(path.string() + ":" + std::to_string(user + 2) + ": not the list that the " +
                  "embeddings give for user " + std::to_string(ranking.users[r]) +
                  ": expected the file as the run left it");
  }
}

}  // namespace bm3
