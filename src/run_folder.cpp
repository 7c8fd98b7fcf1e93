#include "run_folder.h"

#include <fstream>

#include "checkpoint.h"
#include "data/files.h"
#include "data/lines.h"
#include "data/npy.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

constexpr const char* format = "bm3-run-3";
// The last one tells what the folder is: it goes last where another run replaces the files.
constexpr const char* run_files[] = {"log.csv",            "timing.csv",
                                     "user_embedding.npy", "item_embedding.npy",
                                     "top_k.tsv",          "config.json"};

Json config_of(const TrainOptions& options, const Dataset& data, const TrainResult& result) {
  Json config = {{"format", format}, {"version", BM3_VERSION}};
  config.update(identity(data, *options.model, options.settings));
  config.update(about_run(options, data));
  config.update({{"memory",
                  {{"device_start_mib", static_cast<double>(result.allocated) / (1 << 20)}}},
                 {"ended", result.ended},
                 {"best_epoch", result.best_epoch},
                 {"valid", result.valid},
                 {"test", result.test}});
  return config;
}

/// Returns the options with which a run began, by config.json or by what its checkpoint says.
TrainOptions options_of(const Json& config) {
  const ModelKind& model = model_kind(config.at("model"));
  TrainOptions out{config.at("data").at("name"), config.at("folder").get<std::string>(), "", {},
                   &model, all_settings(model), {}};
  for (const auto& [name, dim] : config.at("data").at("modalities").items())
    out.modalities.push_back(name);
  if (out.modalities.empty()) out.modalities = {"none"};
  for (const auto& [name, value] : config.at("settings").items())
    out.settings.set(name, value.is_string() ? value.get<std::string>() : value.dump());
  const Json& device = config.at("device");
  out.device.device = device.at("name");
  out.device.tf32 = device.at("tf32");
  out.device.cusparse = device.at("spmm") == "cusparse";
  return out;
}

std::string log_text(const std::vector<Epoch>& epochs) {
  std::string out = "epoch,loss";
  for (const Loss& loss : epochs.front().losses) out += "," + loss.name;
  out += ",valid_recall@20,valid_ndcg@20,best\n";
  for (const Epoch& e : epochs) {
    out += concat(e.number, ",", total(e.losses));
    for (const Loss& loss : e.losses) out += "," + shortest(loss.value);
    for (const double x : {e.valid.recall(at20), e.valid.ndcg(at20)})
      out += "," + (e.valid.n_users > 0 ? shortest(x) : "");
    out += e.best ? ",1\n" : ",0\n";
  }
  return out;
}

std::string timing_text(const std::vector<Epoch>& epochs) {
  std::string out = "epoch,train_seconds,valid_seconds,allocated_mib,process_mib\n";
  for (const Epoch& e : epochs)
    out += concat(e.number, ",", e.train_seconds, ",", e.valid_seconds, ",", e.allocated_mib, ",",
                  e.process_mib, "\n");
  return out;
}

/// A column of numbers; after each, where the data set has maps, one of original ids.
std::string top_k_text(const std::vector<int32_t>& lists, const Dataset& data) {
  const bool ids = !data.user_ids.empty();
  std::string out = ids ? "userID\tuser_id" : "userID";
  for (size_t k = 1; k <= longest_list; ++k) {
    out += "\ttop_" + std::to_string(k);
    if (ids) out += "\tid_" + std::to_string(k);
  }
  for (size_t at = 0; at < lists.size(); ++at) {
    const size_t user = at / longest_list;
    if (at % longest_list == 0) out += "\n" + std::to_string(user);
    if (at % longest_list == 0 && ids) out += "\t" + tsv_field(data.user_ids[user]);
    out += "\t" + (lists[at] < 0 ? "" : std::to_string(lists[at]));
    if (ids) out += "\t" + (lists[at] < 0 ? "" : tsv_field(data.item_ids[lists[at]]));
  }
  return out + "\n";
}

/// Reads what top_k_text wrote of the run's users into the run's lists and ids.
void read_top_k(const fs::path& path, Run& run) {
  RecordReader records(path, "a run's best items");
  Fields fields;
  records.next(fields);
  const bool ids = fields.size() > 1 && fields[1] == "user_id";
  const size_t step = ids ? 2 : 1;
  if (ids) run.item_ids.resize(run.n_items);
  for (size_t user = 0; user < run.n_users; ++user) {
    bool right = records.next(fields) && fields.size() == step * (longest_list + 1) &&
                 fields[0] == std::to_string(user);
    if (right && ids) run.user_ids.emplace_back(fields[1]);
    for (size_t k = step; right && k < fields.size(); k += step) {
      int32_t item = -1;
      right = fields[k].empty() ||
              (parse(fields[k], item) && item >= 0 && size_t{0} + item < run.n_items);
      if (right && ids && item >= 0) run.item_ids[item] = fields[k + 1];
      run.result.lists.push_back(item);
    }
    if (!right)
      throw Error(path, ":", user + 2, " is damaged: expected user ", user, " and ", longest_list,
                  " items below ", run.n_items);
  }
}

/// Reads a matrix [rows, cols]; where cols is 0 it becomes what the file has.
std::vector<float> read_embedding(const fs::path& path, size_t rows, size_t& cols) {
  const NpyMatrix matrix(path);
  if (cols == 0) cols = matrix.cols();
  if (matrix.rows() != rows || matrix.cols() != cols)
    throw Error(path, " is ", matrix.rows(), " x ", matrix.cols(), ": expected ", rows, " x ", cols,
                ", as in the run's other files");
  std::vector<float> values(rows * cols);
  matrix.read_rows(0, rows, values.data());
  return values;
}

void write_embedding(const PartFolder& part, const std::string& name,
                     const std::vector<float>& values, size_t cols) {
  part.append(name, npy_header(values.size() / cols, cols));
  part.append(name, npy_bytes(values.data(), values.size()));
}

}  // namespace

void check_run_folder(const fs::path& out, bool resume) {
  const fs::path checkpoint = checkpoint_path(out);
  std::error_code status;
  if (fs::equivalent(out, ".", status))
    throw Error(out, " is the folder that you are in: expected --out to be a new or empty folder "
                "elsewhere");
  if (!resume && fs::exists(checkpoint, status))
    throw Error(checkpoint, " is there, of a run that was stopped: expected --resume ", out,
                ", or another --out");
  if (resume && fs::exists(out / "config.json", status)) {
    for (const fs::path& file : fs::directory_iterator(out))
      if (!std::count(std::begin(run_files), std::end(run_files), file.filename()))
        throw Error(file, " is in the way of the results, which replace an interrupted run's: "
                    "expected it elsewhere");
    return;
  }
  PartFolder{out};
}

void write_run(const fs::path& out, const TrainOptions& options, const Dataset& data,
               const TrainResult& result) {
  if (options.resume)
    for (const char* file : run_files) fs::remove(out / file);
  PartFolder part(out);
  part.append("config.json", text_of(config_of(options, data, result), 2) + "\n");
  part.append("log.csv", log_text(result.epochs));
  part.append("timing.csv", timing_text(result.epochs));
  write_embedding(part, "user_embedding.npy", result.user, result.width);
  write_embedding(part, "item_embedding.npy", result.item, result.width);
  part.append("top_k.tsv", top_k_text(result.lists, data));
  part.rename_to_target();
}

fs::path checkpoint_path(const fs::path& out) { return absolute_path(out) += ".checkpoint"; }

Json about_run(const TrainOptions& options, const Dataset& data) {
  return {{"folder", data.folder.empty() ? "" : absolute_path(data.folder).string()},
          {"device",
           {{"name", options.device.device},
            {"products", product_kernels(options.device)},
            {"tf32", options.device.tf32},
            {"spmm", options.device.cusparse ? "cusparse" : "own"}}}};
}

TrainOptions resumed_options(const TrainOptions& given) {
  TrainOptions options = given;
  const fs::path path = checkpoint_path(given.out);
  read_json(path.string(), [&] { options = options_of(Checkpoint(path).about()); });
  options.out = given.out;
  options.resume = true;
  options.device.threads = given.device.threads;
  if (!given.data.empty()) options.data = given.data;
  return options;
}

void read_config(const fs::path& folder, const std::function<void(const Json&)>& take) {
  const fs::path path = folder / "config.json";
  std::ifstream file = open_file(path, "the folder that a run of bm3 left");
  read_json(path.string(), [&] {
    const Json json = Json::parse(file);
    if (json.at("format") != format)
      throw Error(path, " is of another version: expected ", format);
    take(json);
  });
}

bool is_complete(const fs::path& out) {
  std::error_code none;
  bool done = false;
  if (fs::exists(out / "config.json", none))
    read_config(out, [&](const Json& json) { done = json.at("ended") == complete; });
  return done;
}

Run read_run(const fs::path& folder) {
  Run run;
  read_config(folder, [&](const Json& json) {
    const Json& data = json.at("data");
    run.options = options_of(json);
    run.n_users = data.at("users");
    run.n_items = data.at("items");
    run.checksum = data.at("checksum");
    json.at("valid").get_to(run.result.valid);
    json.at("test").get_to(run.result.test);
  });
  size_t& width = run.result.width;
  run.result.user = read_embedding(folder / "user_embedding.npy", run.n_users, width);
  run.result.item = read_embedding(folder / "item_embedding.npy", run.n_items, width);
  read_top_k(folder / "top_k.tsv", run);
  return run;
}

}  // namespace bm3
