// Reading goldens: the .safetensors format, and what a golden has in it.
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "error.h"
#include "golden_run.h"
#include "text.h"

namespace bm3::test {
namespace {

using nlohmann::json;

void require(bool condition, const std::string& expected) {
  if (!condition) throw Error("expected " + expected);
}

// ---------------------------------------------------------------------------------- .safetensors

template <class E>
double number_at(const char* bytes) {
  E value;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<double>(value);
}

struct Type {
  const char* name;
  size_t size;
  double (*read)(const char*);
};
constexpr Type types[] = {{"F64", 8, number_at<double>},  {"F32", 4, number_at<float>},
                          {"I64", 8, number_at<int64_t>}, {"I32", 4, number_at<int32_t>},
                          {"U8", 1, number_at<uint8_t>},  {"BOOL", 1, number_at<uint8_t>}};

/// Returns the header of a file, and where the data begin.
std::pair<json, size_t> read_header(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), std::min(bytes.size(), sizeof length));
  if (bytes.size() < 8 || length > bytes.size() - 8)
    throw Error(std::to_string(bytes.size()) +
                " bytes are fewer than its header: expected a whole .safetensors file");
  json header = json::parse(bytes.substr(8, length), nullptr, false);
  if (!header.is_object()) throw Error("its header is not a JSON object: expected one");
  return {std::move(header), 8 + length};
}

FileArray read_array(const std::string& name, const json& entry, std::string_view bytes) {
  const json& dtype = entry.at("dtype");
  const Type* type = std::find_if(std::begin(types), std::end(types),
                                  [&](const Type& known) { return dtype == known.name; });
  if (type == std::end(types))
    throw Error(name + " has dtype " + one_line(dtype.dump()) +
                ": expected F64, F32, I64, I32, U8 or BOOL");
  FileArray out{entry.at("shape"), {}, dtype == "F32"};
  size_t count = 1;  // of values, or more than fit
  for (size_t n : out.shape)
    count = n != 0 && count > bytes.size() / n ? bytes.size() + 1 : count * n;
  if (count > bytes.size() || count * type->size != bytes.size())
    throw Error(name + " has " + std::to_string(bytes.size()) + " bytes: expected " +
                shape_words(out.shape) + " of " + type->name);
  for (size_t k = 0; k < count; ++k) {
    out.values.push_back(type->read(&bytes[k * type->size]));
    if (!std::isfinite(out.values[k]))
      throw Error(name + ": value " + std::to_string(k) + " is not finite: expected numbers");
  }
  return out;
}

/// Returns the arrays of a header, which must follow one another through the data.
std::map<std::string, FileArray> read_arrays(json header, std::string_view data) {
  header.erase("__metadata__");
  std::set<std::tuple<size_t, size_t, std::string>> places;  // a begin, an end and whose they are
  for (const auto& [name, entry] : header.items())
    places.emplace(entry.at("data_offsets").at(0), entry.at("data_offsets").at(1), name);
  std::map<std::string, FileArray> out;
  size_t previous = 0;
  for (const auto& [begin, end, key] : places) {
    const std::string name = one_line(key);
    if (begin != previous || end < begin || end > data.size())
      throw Error(name + " has bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                  " of the data: expected " + std::to_string(previous) +
                  ", where the previous array ends, to at most " + std::to_string(data.size()));
    out[name] = read_array(name, header[key], data.substr(begin, end - begin));
    previous = end;
  }
  if (previous != data.size())
    throw Error(std::to_string(data.size()) + " bytes of data: expected " +
                std::to_string(previous) + ", where its arrays end");
  return out;
}

// -------------------------------------------------------------------------------------- settings

std::vector<Setting> general_settings() {
  const Range count = whole_from_to(1, std::numeric_limits<int32_t>::max());
  return {{"n_users", count, "", "the number of users"},
          {"n_items", count, "", "the number of items"},
          {"n_steps", count, "", "the number of steps"},
          {"lr", positive(), "", "the learning rate"},
          {"beta1", probability(), "", "Adam's beta_1"},
          {"beta2", probability(), "", "Adam's beta_2"},
          {"eps", positive(), "", "Adam's epsilon"},
          {"degree_epsilon", weight(), "0", "what is added to a node's degree"},
          {"epoch_steps", count, "2147483647", "the number of steps of an epoch"}};
}

std::string text_of(const json& metadata, const std::string& name, const std::string& words) {
  if (!metadata.contains(name))
    throw Error("the setting " + name + " is missing: expected " + words);
  return metadata[name];
}

void read_settings(Golden& g, const json& metadata) {
  const std::string format = text_of(metadata, "format", "bm3-golden-2");
  require(format == "bm3-golden-2", "the format bm3-golden-2, not " + in_quotes(format));
  g.kind = &model_kind(text_of(metadata, "model", "a model's name"));
  std::vector<Setting> all = general_settings();
  all.insert(all.end(), g.kind->settings.begin(), g.kind->settings.end());
  g.settings = Settings(all);
  for (const Setting& s : all) {
    const bool optional = s.name == recipe_setting().name || s.name == "degree_epsilon" ||
                          s.name == "epoch_steps";
    if (optional && !metadata.contains(s.name)) continue;
    const std::string text = text_of(metadata, s.name, s.words);
    check_value(s.name, s.range, text);
    g.settings.set(s.name, text);
  }
  g.data.n_users = g.settings.whole("n_users");
  g.data.n_items = g.settings.whole("n_items");
  check_node_count(g.data.n_users, g.data.n_items, "the golden");
  size_t values = 0;
  for (const auto& [name, array] : g.arrays) values += array.values.size();
  require(g.n_users() + g.n_items() <= values, "arrays for all users and items");
  const std::string names = text_of(metadata, "modalities", "names, or nothing");
  std::set<std::string> distinct{"", "user", "item"};
  for (const auto& name : names.empty() ? std::vector<std::string>{} : split(names, ',')) {
    require(distinct.insert(name).second, "distinct modalities, none \"user\" or \"item\"");
    g.modalities.push_back({name, 0});
  }
  require(g.modalities.empty() || g.kind->reads_features,
          "no modalities: " + g.kind->name + " reads no features");
}

/// Takes the metrics of the validation and of the test; either may be absent.
void read_metrics(Golden& g, const json& parts) {
  const std::string metrics =
      "\"metrics\" as JSON, {\"valid\": {\"recall@5\": 0.1, ...}, \"test\": ...}, of recall, ndcg, "
      "precision and map at 5, 10, 20 and 50";
  require(parts.is_object(), metrics);
  if (parts.empty()) return;  // flattened, it is null
  const json flat = parts.flatten();  // {"/valid/recall@5": 0.1, ...}
  for (const auto& [path, value] : flat.items()) {
    const std::string name = path.substr(path.rfind('/') + 1);
    const bool known = path == "/valid/" + name || path == "/test/" + name;
    require(known && by_name({}).count(name) && value.is_number(),
            metrics + ", not " + in_quotes(path) + " " + one_line(value.dump()));
    g.arrays["metrics" + path] = {{1}, {value}};
  }
}

// ---------------------------------------------------------------------------------------- inputs

/// Returns an array of whole numbers from `least` to below ends[k] in column k; a vector is one.
std::vector<int32_t> numbers(const Golden& g, const std::string& name, const Shape& shape,
                             const Shape& ends, int32_t least = 0) {
  std::vector<int32_t> out;
  for (double x : g.at(name, shape).values) {
    const size_t end = ends[out.size() % ends.size()];
    if (!(x >= least && x < static_cast<double>(end) && x == std::floor(x)))
      throw Error(name + ": value " + std::to_string(out.size()) + " is " + shortest(x) +
                  ": expected a whole number from " + std::to_string(least) + " to " +
                  std::to_string(end - 1));
    out.push_back(static_cast<int32_t>(x));
  }
  return out;
}

std::vector<Interaction> pairs(const Golden& g, const std::string& name, bool needed) {
  const FileArray* array = g.find(name);
  if (!array && !needed) return {};
  const size_t n = array && !array->shape.empty() ? array->shape[0] : any;  // perhaps 0
  const auto values = numbers(g, name, {n, 2}, {g.n_users(), g.n_items()});
  std::vector<Interaction> out;
  for (size_t k = 0; k < values.size(); k += 2) out.push_back({values[k], values[k + 1]});
  return out;
}

Golden::Step read_batch(const Golden& g, size_t s) {
  const auto read = [&](const char* name, size_t size, size_t end) {
    return numbers(g, in_step(s, name), {size}, {end});
  };
  const auto users = read("users", any, g.n_users());
  const auto items = read("items", users.size(), g.n_items());
  Golden::Step step;
  if (g.kind->draws_negatives) step.negatives = read("negatives", users.size(), g.n_items());
  if (const std::string kept = in_step(s, "kept"); g.find(kept))
    step.drawn = numbers(g, kept, {any, 2}, {g.n_users(), g.n_items()});
  if (const std::string neighbours = in_step(s, "neighbours"); g.find(neighbours))
    step.drawn = numbers(g, neighbours, {g.n_users(), any}, {g.n_users()});
  for (size_t k = 0; k < users.size(); ++k) step.pairs.push_back({users[k], items[k]});
  return step;
}

/// Reads what a run needs before it has a model.
void read_inputs(Golden& g, const json& metadata) {
  read_settings(g, metadata);
  const json metrics = json::parse(metadata.value("metrics", "{}"), nullptr, false);
  read_metrics(g, metrics);
  g.data.train = pairs(g, "train", true);
  g.data.valid = pairs(g, "valid", metrics.contains("valid"));
  g.data.test = pairs(g, "test", metrics.contains("test"));
  for (auto& m : g.modalities)
    m.dim = g.at("init/feature." + m.name, {g.n_items(), any}).shape.back();
  for (size_t s = 0; s < g.settings.whole("n_steps"); ++s) g.steps.push_back(read_batch(g, s));
  if (!g.find("final/top_k")) return;
  numbers(g, "final/top_k", {g.n_users(), any}, {g.n_items()}, -1);
  const size_t least = std::min(g.n_items(), longest_list);
  require(metrics.empty() || g.find("final/top_k")->shape.back() >= least,
          "final/top_k of " + std::to_string(least) + " columns or more beside metrics");
}

}  // namespace

std::string shape_words(const Shape& shape) {
  std::vector<std::string> words;
  for (size_t n : shape) words.push_back(n == any ? "*" : std::to_string(n));
  return "[" + join(words, ", ") + "]";
}

const FileArray* Golden::find(const std::string& name, const Shape& shape, bool needed) const {
  asked.insert(name);
  const auto found = arrays.find(name);
  if (found == arrays.end() && needed)
    throw Error("the array " + name + " is missing: expected shape " + shape_words(shape));
  if (found == arrays.end()) return nullptr;
  const Shape& its = found->second.shape;
  const bool vector = shape.size() == 2 && shape[0] == 1 && its.size() == 1;
  if (!shape.empty() && !std::equal(shape.begin() + vector, shape.end(), its.begin(), its.end(),
                                    [](size_t n, size_t m) { return n == any ? m > 0 : m == n; }))
    throw Error(name + " has shape " + shape_words(its) + ": expected " + shape_words(shape));
  return &found->second;
}

size_t Golden::largest_batch() const {
  size_t largest = 0;
  for (const Step& step : steps) largest = std::max(largest, step.pairs.size());
  return largest;
}

std::string in_step(size_t s, const std::string& name) {
  return "step_" + std::to_string(s) + "/" + name;
}

Golden read_golden(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  if (!stream || bytes.empty())
    throw Error("cannot read " + file.string() + ": expected a .safetensors file");
  Golden g;
  try {
    const auto [header, data] = read_header(bytes);
    g.arrays = read_arrays(header, std::string_view(bytes).substr(data));
    read_inputs(g, header.value("__metadata__", json::object()));
    const auto ops = make_cpu_ops<double>(1);
    const GoldenRun<double> run(*ops, g, {});  // asks for every array
    for (const Result& result : run.results)
      if (g.find(result.name)) g.outputs.push_back(result.name);
  } catch (const json::exception& e) {
    throw Error(file.string() + ": its header is damaged: " + one_line(e.what()));
  } catch (const Error& e) {
    throw Error(file.string() + ": " + e.what());
  }
  for (const auto& [name, array] : g.arrays)
    if (!g.asked.count(name)) g.unknown.push_back(name);
  for (const auto& name : g.unknown) g.arrays.erase(name);
  return g;
}

}  // namespace bm3::test
