// Reading golden directories.
#include "golden.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "error.h"
#include "evaluate.h"
#include "golden_npy.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t any = std::numeric_limits<size_t>::max();  // an extent that the file decides

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw Error("cannot read " + path.string());
  return text.str();
}

// ------------------------------------------------------------------------------------ .npy files

template <class E>
double number_at(const std::string& bytes, size_t offset) {
  E value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return static_cast<double>(value);
}

double number_at(const std::string& bytes, size_t offset, const std::string& dtype,
                 const std::string& name) {
  if (dtype == "<f4") return number_at<float>(bytes, offset);
  if (dtype == "<f8") return number_at<double>(bytes, offset);
  if (dtype == "<i4") return number_at<int32_t>(bytes, offset);
  if (dtype == "<i8") return number_at<int64_t>(bytes, offset);
  if (dtype == "|u1" || dtype == "|b1") return number_at<uint8_t>(bytes, offset);
  throw Error(name + " has dtype " + dtype +
              ": expected float32, float64, int32, int64, uint8 or bool");
}

/// Reads an array of one or two dimensions, in C or Fortran order.
GoldenArray read_array(const fs::path& path) {
  const std::string bytes = read_text(path), name = path.string();
  const NpyHeader header = parse_npy_header(bytes, name);
  GoldenArray array;
  for (int64_t n : header.shape) array.shape.push_back(static_cast<size_t>(n));
  if (array.shape.size() != 1 && array.shape.size() != 2)
    throw Error(name + " has " + std::to_string(array.shape.size()) +
                " dimensions: expected a vector or a matrix");
  const auto count = static_cast<size_t>(header.count());
  const size_t expected = header.data_offset + count * header.item_size();
  if (bytes.size() != expected)
    throw Error(name + " has " + std::to_string(bytes.size()) + " bytes: expected " +
                std::to_string(expected) + " by its header; it may be truncated");
  array.single = header.dtype == "<f4";
  array.values.resize(count);
  const size_t rows = array.shape[0], cols = array.shape.size() == 2 ? array.shape[1] : 1;
  for (size_t k = 0; k < count; ++k) {
    const size_t place = header.fortran_order ? k % cols * rows + k / cols : k;
    array.values[k] =
        number_at(bytes, header.data_offset + place * header.item_size(), header.dtype, name);
    if (!std::isfinite(array.values[k]))
      throw Error(name + ": value " + std::to_string(k) + " is not finite");
  }
  return array;
}

// -------------------------------------------------------------------------------------- settings

template <class E>
constexpr const char* kind = "numbers by name in objects by part";
template <>
constexpr const char* kind<double> = "a number";
template <>
constexpr const char* kind<std::string> = "a text";
template <>
constexpr const char* kind<std::vector<std::string>> = "a list of texts";

template <class E>
E setting(const json& object, const std::string& key, const std::string& file,
          std::optional<E> otherwise = std::nullopt) {
  if (!object.contains(key)) {
    if (otherwise) return *otherwise;
    throw Error(file + " lacks \"" + key + "\": expected " + kind<E>);
  }
  try {
    return object.at(key).get<E>();
  } catch (const json::exception&) {
    throw Error(file + ": \"" + key + "\" is " + object.at(key).dump() + ": expected " + kind<E>);
  }
}

/// A whole number from `least` to what int32_t holds.
size_t whole(const json& object, const std::string& key, double least, const std::string& file) {
  const auto value = setting<double>(object, key, file);
  constexpr int32_t most = std::numeric_limits<int32_t>::max();
  if (!(value >= least && value <= most && value == std::floor(value)))
    throw Error(file + ": \"" + key + "\" is " + object.at(key).dump() +
                ": expected a whole number from " + std::to_string(static_cast<int>(least)) +
                " to " + std::to_string(most));
  return static_cast<size_t>(value);
}

void require(bool condition, const std::string& file, const std::string& expected) {
  if (!condition) throw Error(file + ": expected " + expected);
}

void read_model_settings(Golden& g, const json& object, const std::string& file) {
  g.data.n_users = static_cast<int64_t>(whole(object, "n_users", 1, file));
  g.data.n_items = static_cast<int64_t>(whole(object, "n_items", 1, file));
  g.n_steps = whole(object, "n_steps", 1, file);
  g.config.d = whole(object, "dim", 1, file);
  g.config.n_layers = whole(object, "n_layers", 0, file);
  g.config.dropout = setting<double>(object, "dropout", file);
  require(g.config.dropout >= 0 && g.config.dropout < 1, file, "\"dropout\" in [0, 1)");
  g.config.reg_weight = setting<double>(object, "reg_weight", file);
  g.config.mm_weight = setting<double>(object, "mm_weight", file);
  const auto form = setting<std::string>(object, "reg_form", file);
  require(form == "norm" || form == "squared", file, "\"reg_form\" \"norm\" or \"squared\"");
  g.config.reg_form = form == "norm" ? RegForm::norm : RegForm::squared;
  const auto features = setting<std::string>(object, "features", file);
  require(features == "frozen" || features == "tuned", file,
          "\"features\" \"frozen\" or \"tuned\"");
  g.config.tuned = features == "tuned";
  g.config.rec = g.config.align = g.config.mask = false;
  for (const auto& loss : setting<std::vector<std::string>>(object, "losses", file)) {
    require(loss == "rec" || loss == "align" || loss == "mask", file,
            "\"losses\" among \"rec\", \"align\" and \"mask\"");
    (loss == "rec" ? g.config.rec : loss == "align" ? g.config.align : g.config.mask) = true;
  }
  std::set<std::string> names{"user", "item"};
  for (const auto& name : setting<std::vector<std::string>>(object, "modalities", file)) {
    require(names.insert(name).second, file, "distinct \"modalities\", none \"user\" or \"item\"");
    g.modalities.push_back({name, 0});
  }
}

void read_metrics(Golden& g, const json& object, const std::string& file) {
  std::set<std::string> known;
  for (const char* name : {"recall@", "ndcg@", "precision@", "map@"})
    for (size_t k : cutoffs) known.insert(name + std::to_string(k));
  using Parts = std::map<std::string, std::map<std::string, double>>;
  for (const auto& [part, values] : setting<Parts>(object, "metrics", file, Parts{})) {
    require(part == "valid" || part == "test", file, "\"metrics\" of \"valid\" and \"test\"");
    for (const auto& [name, value] : values) {
      require(known.count(name), file, "metrics recall, ndcg, precision and map at 5, 10, 20 and "
              "50, not \"" + name + "\"");
      g.metrics[part + "/" + name] = value;
    }
  }
}

void read_settings(Golden& g, const fs::path& folder) {
  const std::string file = (folder / "golden.json").string();
  if (!fs::exists(file)) throw Error("there is no " + file + ": expected a golden directory");
  const json object = json::parse(read_text(file), nullptr, false);
  if (!object.is_object())
    throw Error(file + " is not a JSON object: expected one as in ref/README.md");
  require(setting<std::string>(object, "format", file) == "bm3-golden-1", file,
          "\"format\" \"bm3-golden-1\"");
  read_model_settings(g, object, file);
  g.adam.lr = setting<double>(object, "lr", file);
  g.adam.beta1 = setting<double>(object, "beta1", file, g.adam.beta1);
  g.adam.beta2 = setting<double>(object, "beta2", file, g.adam.beta2);
  g.adam.epsilon = setting<double>(object, "eps", file, g.adam.epsilon);
  g.degree_epsilon = setting<double>(object, "degree_epsilon", file, 0.0);
  const auto is_decay = [](double beta) { return beta >= 0 && beta < 1; };
  require(g.adam.lr > 0 && g.adam.epsilon > 0, file, "\"lr\" and \"eps\" above 0");
  require(is_decay(g.adam.beta1) && is_decay(g.adam.beta2), file,
          "\"beta1\" and \"beta2\" in [0, 1)");
  require(g.degree_epsilon >= 0, file, "\"degree_epsilon\" of at least 0");
  read_metrics(g, object, file);
}

// ---------------------------------------------------------------------------------------- arrays

class Reader {
 public:
  Reader(Golden& g, const fs::path& folder) : g_(g), folder_(folder) {}

  /// Reads an array that must have this shape; false where it is absent and may be.
  bool read(const std::string& name, const std::vector<size_t>& shape, bool required = false) {
    const fs::path path = file(name);
    known_.insert(path);
    if (!fs::exists(path)) {
      if (required) throw Error(folder_.string() + " lacks " + name + ".npy");
      return false;
    }
    GoldenArray array = read_array(path);
    bool same = array.shape.size() == shape.size();
    for (size_t k = 0; same && k < shape.size(); ++k)
      same = shape[k] == any || shape[k] == array.shape[k];
    if (!same)
      throw Error(path.string() + " has shape " + words(array.shape) + ": expected " +
                  words(shape));
    g_.arrays[name] = std::move(array);
    return true;
  }

  /// Checks that column `column` of an array holds whole numbers from `least` to below `end`.
  void check_indices(const std::string& name, size_t column, int64_t least, int64_t end) const {
    const GoldenArray& array = g_.at(name);
    const size_t cols = array.shape.size() == 2 ? array.shape[1] : 1;
    for (size_t k = column; k < array.values.size(); k += cols) {
      const double x = array.values[k];
      if (!(x >= static_cast<double>(least) && x < static_cast<double>(end) && x == std::floor(x)))
        throw Error(file(name).string() + ": value " + std::to_string(k) + " is " +
                    std::to_string(x) + ": expected a whole number from " + std::to_string(least) +
                    " to " + std::to_string(end - 1));
    }
  }

  std::vector<Interaction> pairs(const std::string& name, bool required) {
    if (!read(name, {any, 2}, required)) return {};
    check_indices(name, 0, 0, g_.data.n_users);
    check_indices(name, 1, 0, g_.data.n_items);
    const auto& values = g_.at(name).values;
    std::vector<Interaction> out;
    for (size_t k = 0; k < values.size(); k += 2)
      out.push_back({static_cast<int32_t>(values[k]), static_cast<int32_t>(values[k + 1])});
    return out;
  }

  /// The .npy files that nobody has asked for.
  std::vector<std::string> unknown() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.path().extension() == ".npy" && !known_.count(entry.path()))
        out.push_back(entry.path().lexically_relative(folder_).string());
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  fs::path file(const std::string& name) const { return folder_ / (name + ".npy"); }
  static std::string words(const std::vector<size_t>& shape) {
    std::string out;
    for (size_t n : shape) out += (out.empty() ? "[" : ", ") + (n == any ? "*" : std::to_string(n));
    return (out.empty() ? "[" : out) + "]";
  }
  Golden& g_;
  fs::path folder_;
  std::set<fs::path> known_;
};

std::vector<std::string> with_features(const Golden& g) {
  std::vector<std::string> names{"user_embedding", "item_embedding", "predictor.weight",
                                 "predictor.bias"};
  for (const auto& m : g.modalities)
    for (const std::string& name : {"feature." + m.name, m.name + ".weight", m.name + ".bias"})
      names.push_back(name);
  return names;
}

void read_init(Golden& g, Reader& reader) {
  const auto users = static_cast<size_t>(g.data.n_users);
  const auto items = static_cast<size_t>(g.data.n_items);
  const size_t d = g.config.d;
  reader.read("init/user_embedding", {users, d}, true);
  reader.read("init/item_embedding", {items, d}, true);
  reader.read("init/predictor.weight", {d, d}, true);
  reader.read("init/predictor.bias", {d}, true);
  for (auto& m : g.modalities) {
    reader.read("init/feature." + m.name, {items, any}, true);
    m.dim = g.at("init/feature." + m.name).shape[1];
    reader.read("init/" + m.name + ".weight", {m.dim, d}, true);
    reader.read("init/" + m.name + ".bias", {d}, true);
  }
}

/// The five losses as five arrays, each with the weight that it has in the total.
void split_loss(Golden& g, const std::string& step) {
  const GoldenArray loss = g.at(step + "loss");
  const double weights[] = {1, g.config.mm_weight, g.config.mm_weight, g.config.reg_weight, 1};
  const char* const names[] = {"rec", "align", "mask", "reg", "total"};
  for (size_t k = 0; k < 5; ++k)
    g.arrays[step + "loss." + names[k]] = {{1}, {weights[k] * loss.values[k]}, loss.single};
  g.arrays.erase(step + "loss");
}

void read_step(Golden& g, size_t s, Reader& reader) {
  const std::string step = Golden::in_step(s, "");
  const auto users = static_cast<size_t>(g.data.n_users);
  const auto items = static_cast<size_t>(g.data.n_items);
  const size_t d = g.config.d;
  reader.read(step + "users", {any}, true);
  reader.read(step + "items", {g.at(step + "users").values.size()}, true);
  require(!g.at(step + "users").values.empty(), step + "users.npy", "at least one interaction");
  reader.check_indices(step + "users", 0, 0, g.data.n_users);
  reader.check_indices(step + "items", 0, 0, g.data.n_items);

  std::vector<std::pair<std::string, size_t>> tables{{"user", users}, {"item", items}};
  for (const auto& m : g.modalities) tables.emplace_back(m.name, items);
  for (const auto& [name, rows] : tables) {
    reader.read(step + "mask." + name, {rows, d}, g.config.dropout > 0);
    reader.read(step + "predicted." + name, {rows, d});
    reader.read(step + "view." + name, {rows, d});
  }
  for (const auto& m : g.modalities) reader.read(step + "projection." + m.name, {items, d});
  for (size_t l = 1; l <= g.config.n_layers; ++l)
    reader.read(step + "layer_" + std::to_string(l), {users + items, d});
  reader.read(step + "H", {users + items, d});
  reader.read(step + "loss", {5}, true);
  split_loss(g, step);
  for (const std::string& name : g.trainable()) {
    const auto& shape = g.at("init/" + name).shape;
    const bool gradient = reader.read(step + "grad/" + name, shape);
    const bool after = reader.read(step + "after/" + name, shape);
    require(gradient || after, step.substr(0, step.size() - 1),
            "grad/" + name + ".npy or after/" + name + ".npy");
  }
}

void read_final(Golden& g, Reader& reader) {
  const auto users = static_cast<size_t>(g.data.n_users);
  const auto items = static_cast<size_t>(g.data.n_items);
  reader.read("final/predicted.user", {users, g.config.d});
  reader.read("final/predicted.item", {items, g.config.d});
  reader.read("final/scores", {users, items});
  if (!reader.read("final/top_k", {users, any})) return;
  reader.check_indices("final/top_k", 0, -1, g.data.n_items);
  const size_t k = g.at("final/top_k").shape[1];
  for (size_t column = 1; column < k; ++column)
    reader.check_indices("final/top_k", column, -1, g.data.n_items);
  require(g.metrics.empty() || k >= std::min(items, longest_list), "final/top_k.npy",
          std::to_string(std::min(items, longest_list)) + " columns or more beside metrics");
}

}  // namespace

const GoldenArray* Golden::find(const std::string& name) const {
  const auto found = arrays.find(name);
  return found == arrays.end() ? nullptr : &found->second;
}

std::string Golden::in_step(size_t s, const std::string& name) {
  return "step_" + std::to_string(s) + "/" + name;
}

std::vector<Interaction> Golden::batch(size_t s) const {
  const auto &users = at(in_step(s, "users")).values, &items = at(in_step(s, "items")).values;
  std::vector<Interaction> out;
  for (size_t k = 0; k < users.size(); ++k)
    out.push_back({static_cast<int32_t>(users[k]), static_cast<int32_t>(items[k])});
  return out;
}

std::vector<std::string> Golden::trainable() const {
  std::vector<std::string> names = with_features(*this);
  const auto frozen = [&](const std::string& name) {
    return !config.tuned && name.rfind("feature.", 0) == 0;
  };
  names.erase(std::remove_if(names.begin(), names.end(), frozen), names.end());
  return names;
}

Golden read_golden(const fs::path& folder) {
  Golden g;
  read_settings(g, folder);
  Reader reader(g, folder);
  g.data.train = reader.pairs("train", true);
  const auto measured = [&](const std::string& part) {
    const auto first = g.metrics.lower_bound(part + "/");
    return first != g.metrics.end() && first->first.rfind(part + "/", 0) == 0;
  };
  g.data.valid = reader.pairs("valid", measured("valid"));
  g.data.test = reader.pairs("test", measured("test"));
  read_init(g, reader);
  for (size_t s = 0; s < g.n_steps; ++s) read_step(g, s, reader);
  read_final(g, reader);
  g.unknown = reader.unknown();
  return g;
}

}  // namespace bm3::test
