#include "run_folder.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "data/files.h"
#include "data/npy.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
namespace {

constexpr const char* format = "bm3-run-2";
constexpr const char* a_run = "the folder that a run of bm3 left";

Json to_json(const Metrics& metrics) {
  Json out{{"users", metrics.n_users}};
  for (const auto& [name, values] : named_metrics)
    for (size_t c = 0; c < cutoffs.size(); ++c)
      out[name + ("@" + std::to_string(cutoffs[c]))] = (metrics.*values)[c];
  return out;
}

void read(const Json& json, Metrics& metrics) {
  metrics.n_users = json.at("users");
  for (const auto& [name, values] : named_metrics)
    for (size_t c = 0; c < cutoffs.size(); ++c)
      (metrics.*values)[c] = json.at(name + ("@" + std::to_string(cutoffs[c])));
}

/// Every setting, as a number where it is one.
Json to_json(const Settings& settings) {
  Json out = Json::object();
  for (const Setting& x : settings.known())
    out[x.name] = x.range.kind == Range::whole  ? Json(settings.whole(x.name))
                  : x.range.kind == Range::real ? Json(settings.real(x.name))
                                                : Json(settings.text(x.name));
  return out;
}

Json config_of(const TrainOptions& options, const Dataset& data, const TrainResult& result) {
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
      {"memory", {{"device_start_mib", static_cast<double>(result.allocated) / (1 << 20)}}},
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

std::string top_k_text(const std::vector<int32_t>& lists) {
  std::string out = "userID";
  for (size_t k = 1; k <= longest_list; ++k) out += "\ttop_" + std::to_string(k);
  for (size_t at = 0; at < lists.size(); ++at) {
    if (at % longest_list == 0) out += "\n" + std::to_string(at / longest_list);
    out += "\t" + (lists[at] < 0 ? "" : std::to_string(lists[at]));
  }
  return out + "\n";
}

/// Reads what top_k_text wrote of the run's users.
std::vector<int32_t> read_top_k(const fs::path& path, const Run& run) {
  std::ifstream file = open_file(path, "a run's best items");
  std::string line;
  std::getline(file, line);
  std::vector<int32_t> lists;
  for (int64_t user = 0; user < run.n_users; ++user) {
    std::getline(file, line);
    const auto fields = split(line, '\t');
    bool right = file && fields.size() == longest_list + 1 && fields[0] == std::to_string(user);
    for (size_t k = 1; right && k <= longest_list; ++k) {
      int32_t item = -1;
      right = fields[k].empty() || (parse(fields[k], item) && item >= 0 && item < run.n_items);
      lists.push_back(item);
    }
    if (!right)
      throw Error(path.string() + ":" + std::to_string(user + 2) + " is damaged: expected user " +
                  std::to_string(user) + " and " + std::to_string(longest_list) +
                  " items below " + std::to_string(run.n_items));
  }
  return lists;
}

/// Reads a matrix [rows, cols]; where cols is 0 it becomes what the file has.
std::vector<float> read_embedding(const fs::path& path, int64_t rows, size_t& cols) {
  const NpyMatrix matrix(path);
  if (cols == 0) cols = static_cast<size_t>(matrix.cols());
  if (matrix.rows() != rows || static_cast<size_t>(matrix.cols()) != cols)
    throw Error(path.string() + " is " + std::to_string(matrix.rows()) + " x " +
                std::to_string(matrix.cols()) + ": expected " + std::to_string(rows) + " x " +
                std::to_string(cols) + ", as in the run's other files");
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
               const TrainResult& result) {
  PartFolder part(out);
  const Json config = config_of(options, data, result);
  part.append("config.json", config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  part.append("log.csv", log_text(result.epochs));
  write_embedding(part, "user_embedding.npy", result.user, result.width);
  write_embedding(part, "item_embedding.npy", result.item, result.width);
  part.append("top_k.tsv", top_k_text(result.lists));
  part.rename_to_target();
}

Run read_run(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  std::ifstream file = open_file(path, a_run);
  Run run;
  try {
    const Json json = Json::parse(file);
    if (json.at("format") != format)
      throw Error(path.string() + " is of another version: expected " + format);
    const Json &data = json.at("data"), &device = json.at("device");
    run.name = data.at("name");
    run.data = data.at("folder").get<std::string>();
    run.n_users = data.at("users");
    run.n_items = data.at("items");
    run.n_interactions = data.at("interactions");
    run.model = &model_kind(json.at("model"));
    run.seed = json.at("settings").at("seed");
    run.device = device.at("name");
    run.tf32 = device.at("tf32");
    run.result.best_epoch = json.at("best_epoch");
    read(json.at("valid"), run.result.valid);
    read(json.at("test"), run.result.test);
  } catch (const Json::exception& e) {
    throw Error(path.string() + " is damaged: " + e.what() + ": expected it as the run left it");
  }
  const auto read_part = [&](const char* name, int64_t rows) {
    return read_embedding(folder / name, rows, run.result.width);
  };
  run.result.user = read_part("user_embedding.npy", run.n_users);
  run.result.item = read_part("item_embedding.npy", run.n_items);
  run.result.lists = read_top_k(folder / "top_k.tsv", run);
  return run;
}

}  // namespace bm3
