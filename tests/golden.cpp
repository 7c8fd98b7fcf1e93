// Reading goldens.
#include "golden.h"

#include <nlohmann/json.hpp>
#include <set>

#include "error.h"
#include "text.h"

namespace bm3::test {
namespace {

using nlohmann::json;
using Metadata = std::map<std::string, std::string>;

void require(bool condition, const std::string& expected) {
  if (!condition) throw Error("expected " + expected);
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
          {"degree_epsilon", weight(), "0", "what is added to a node's degree"}};
}

const std::string& text_of(const Metadata& metadata, const std::string& name,
                           const std::string& words) {
  const auto found = metadata.find(name);
  if (found == metadata.end())
    throw Error("the setting " + name + " is missing: expected " + words);
  return found->second;
}

/// Takes every setting's value; only one of them may be missing.
void take(Settings& settings, const Metadata& metadata, const std::string& optional) {
  for (const Setting& setting : settings.known()) {
    if (setting.name == optional && !metadata.count(optional)) continue;
    const std::string& text = text_of(metadata, setting.name, setting.words);
    check_value(setting.name, setting.range, text);
    settings.set(setting.name, text);
  }
}

void read_metrics(Golden& g, const std::string& text) {
  const json parts = json::parse(text, nullptr, false);
  require(parts.is_object(), "\"metrics\" as JSON: {\"valid\": {\"recall@5\": 0.1, ...}, ...}");
  for (const auto& [part, values] : parts.items()) {
    require((part == "valid" || part == "test") && values.is_object(),
            "\"metrics\" of \"valid\" and \"test\"");
    for (const auto& [name, value] : values.items()) {
      require(by_name({}).count(name) && value.is_number(),
              "metrics recall, ndcg, precision and map at 5, 10, 20 and 50, each a number, not " +
                  in_quotes(name));
      g.metrics[part + "/" + name] = value;
    }
  }
}

void read_settings(Golden& g, const Metadata& metadata) {
  const std::string& format = text_of(metadata, "format", "bm3-golden-2");
  require(format == "bm3-golden-2", "the format bm3-golden-2, not " + in_quotes(format));
  g.kind = &model_kind(text_of(metadata, "model", "a model's name"));
  g.settings = Settings(g.kind->settings);
  take(g.settings, metadata, recipe_setting().name);
  Settings general(general_settings());
  take(general, metadata, "degree_epsilon");
  g.data.n_users = static_cast<int64_t>(general.whole("n_users"));
  g.data.n_items = static_cast<int64_t>(general.whole("n_items"));
  check_node_count(g.data.n_users, g.data.n_items, "the golden");
  g.n_steps = general.whole("n_steps");
  g.adam = {general.real("lr"), general.real("beta1"), general.real("beta2"), general.real("eps")};
  g.degree_epsilon = general.real("degree_epsilon");
  const std::string& names = text_of(metadata, "modalities", "names, or nothing");
  std::set<std::string> distinct{"", "user", "item"};
  for (const auto& name : names.empty() ? std::vector<std::string>{} : split(names, ',')) {
    require(distinct.insert(name).second, "distinct modalities, none \"user\" or \"item\"");
    g.modalities.push_back({name, 0});
  }
  require(g.modalities.empty() || g.kind->reads_features,
          "no modalities: " + g.kind->name + " reads no features");
  if (metadata.count("metrics")) read_metrics(g, metadata.at("metrics"));
}

// ---------------------------------------------------------------------------------------- arrays

class Reader {
 public:
  Reader(Golden& g, std::map<std::string, FileArray> arrays) : g_(g), rest_(std::move(arrays)) {}

  void read() {
    size_t values = 0;
    for (const auto& [name, array] : rest_) values += array.values.size();
    require(g_.n_users() + g_.n_items() <= values, "arrays for all users and items");
    g_.data.train = pairs("train", true);
    g_.data.valid = pairs("valid", measured("valid"));
    g_.data.test = pairs("test", measured("test"));
    for (auto& m : g_.modalities) {
      take("init/feature." + m.name, {g_.n_items(), any}, true);
      m.dim = g_.at("init/feature." + m.name).shape[1];
    }
    for (size_t s = 0; s < g_.n_steps; ++s) read_batch(s);
    const auto ops = make_cpu_ops<double>(1);
    GoldenModel<double> at(*ops, g_);
    for (const auto& p : at.model->parameters().all()) take_parameter("init/", p, true);
    for (size_t s = 0; s < g_.n_steps; ++s) read_step(s, *ops, at);
    read_final(at.model->embeddings());
    for (const auto& [name, array] : rest_) g_.unknown.push_back(name);
  }

 private:
  bool measured(const std::string& part) const {
    return std::any_of(g_.metrics.begin(), g_.metrics.end(),
                       [&](const auto& metric) { return metric.first.rfind(part, 0) == 0; });
  }

  bool is_vector(const std::string& name) const {
    return rest_.count(name) && rest_.at(name).shape.size() == 1;
  }

  /// Moves an array that must have this shape to the golden; false where it is absent and may be.
  bool take(const std::string& name, const std::vector<size_t>& shape, bool required = false) {
    auto entry = rest_.extract(name);
    if (entry.empty() && !required) return false;
    if (entry.empty())
      throw Error("the array " + name + " is missing: expected shape " + shape_words(shape));
    const std::vector<size_t>& found = entry.mapped().shape;
    bool same = found.size() == shape.size();
    for (size_t k = 0; same && k < shape.size(); ++k)
      same = shape[k] == found[k] || (shape[k] == any && found[k] > 0);
    if (!same)
      throw Error(name + " has shape " + shape_words(found) + ": expected " + shape_words(shape));
    g_.arrays.insert(std::move(entry));
    return true;
  }

  /// A parameter of one row may be a vector.
  bool take_parameter(const std::string& prefix, const ParameterShape& p, bool required = false) {
    const std::string name = prefix + p.name;
    return p.rows == 1 && is_vector(name) ? take(name, {p.cols}, required)
                                          : take(name, {p.rows, p.cols}, required);
  }

  /// Checks that column `column` of an array holds whole numbers from `least` to below `end`.
  void check_numbers(const std::string& name, int64_t least, size_t end, size_t column = 0,
                     size_t columns = 1) const {
    const std::vector<double>& values = g_.at(name).values;
    for (size_t k = column; k < values.size(); k += columns) {
      const double x = values[k];
      if (!(x >= static_cast<double>(least) && x < static_cast<double>(end) && x == std::floor(x)))
        throw Error(name + ": value " + std::to_string(k) + " is " + shortest(x) +
                    ": expected a whole number from " + std::to_string(least) + " to " +
                    std::to_string(end - 1));
    }
  }

  std::vector<Interaction> pairs(const std::string& name, bool required) {
    const size_t n = rest_.count(name) ? rest_.at(name).rows() : any;  // perhaps 0
    if (!take(name, {n, 2}, required)) return {};
    check_numbers(name, 0, g_.n_users(), 0, 2);
    check_numbers(name, 0, g_.n_items(), 1, 2);
    const auto& values = g_.at(name).values;
    std::vector<Interaction> out;
    for (size_t k = 0; k < values.size(); k += 2)
      out.push_back({static_cast<int32_t>(values[k]), static_cast<int32_t>(values[k + 1])});
    return out;
  }

  void read_batch(size_t s) {
    const auto read = [&](const std::string& name, size_t size, size_t end) {
      take(Golden::in_step(s, name), {size}, true);
      check_numbers(Golden::in_step(s, name), 0, end);
    };
    read("users", any, g_.n_users());
    read("items", g_.batch_size(s), g_.n_items());
    if (g_.kind->draws_negatives) read("negatives", g_.batch_size(s), g_.n_items());
    g_.largest_batch = std::max(g_.largest_batch, g_.batch_size(s));
  }

  /// Takes a table of which a step has these rows, of all users or of all items.
  void take_table(const std::string& name, const std::vector<int32_t>& rows, size_t cols,
                  bool required) {
    const bool as_users = rest_.count(name) && rest_.at(name).rows() == g_.n_users();
    const bool of_users = rows == users_ && (rows != items_ || as_users);  // both, it may be
    take(name, {of_users ? g_.n_users() : g_.n_items(), cols}, required);
  }

  void read_step(size_t s, Ops<double>& ops, GoldenModel<double>& at) {
    const Batch batch = at.load(g_, s);
    users_ = host<int32_t>(ops, {batch.users.at, 1, batch.users.n});
    items_ = host<int32_t>(ops, {batch.items.at, 1, batch.items.n});
    const bool drops = !g_.settings.knows("dropout") || g_.settings.real("dropout") > 0;
    for (const Mask& m : at.model->masks(batch))
      take_table(Golden::in_step(s, "mask." + m.name),
                 host<int32_t>(ops, {m.rows.at, 1, m.rows.n}), m.mask.cols, drops);
    for (const Trace& t : at.model->trace(batch)) {
      const std::string name = Golden::in_step(s, t.name);
      if (!t.rows.empty())
        take_table(name, t.rows, t.cols, false);
      else if (t.cols == 1 && is_vector(name))
        take(name, {batch.size});  // a number for each pair
      else
        take(name, {t.values.size() / t.cols, t.cols});
    }
    for (const Loss& loss : at.model->losses())
      take(Golden::in_step(s, "loss." + loss.name), {1}, true);
    take(Golden::in_step(s, "loss.total"), {1}, true);
    read_trained(s, at);
  }

  void read_trained(size_t s, GoldenModel<double>& at) {
    std::vector<ParameterShape> trained(at.model->parameters().all().begin(),
                                        at.model->parameters().all().end());
    for (const auto* e : at.model->tuned_features())
      trained.push_back({"feature." + e->name, e->value.rows, e->value.cols, {}});
    for (const ParameterShape& p : trained) {
      const bool gradient = take_parameter(Golden::in_step(s, "grad/"), p);
      const bool after = take_parameter(Golden::in_step(s, "after/"), p);
      require(gradient || after, Golden::in_step(s, "grad/" + p.name) + " or " +
                                     Golden::in_step(s, "after/" + p.name));
    }
  }

  void read_final(const Embeddings<double>& ranked) {
    take("final/user", {ranked.user.rows, ranked.user.cols});
    take("final/item", {ranked.item.rows, ranked.item.cols});
    take("final/scores", {g_.n_users(), g_.n_items()});
    if (!take("final/top_k", {g_.n_users(), any})) return;
    check_numbers("final/top_k", -1, g_.n_items());
    const size_t least = std::min(g_.n_items(), longest_list);
    require(g_.metrics.empty() || g_.at("final/top_k").shape[1] >= least,
            "final/top_k of " + std::to_string(least) + " columns or more beside metrics");
  }

  Golden& g_;
  std::map<std::string, FileArray> rest_;  // arrays that nobody has asked for yet
  std::vector<int32_t> users_, items_;     // rows of the batch at hand
};

}  // namespace

const FileArray* Golden::find(const std::string& name) const {
  const auto found = arrays.find(name);
  return found == arrays.end() ? nullptr : &found->second;
}

std::string Golden::in_step(size_t s, const std::string& name) {
  return "step_" + std::to_string(s) + "/" + name;
}

std::map<std::string, double> by_name(const Metrics& metrics) {
  std::map<std::string, double> out;
  for (size_t k = 0; k < cutoffs.size(); ++k) {
    const std::string at = "@" + std::to_string(cutoffs[k]);
    out["recall" + at] = metrics.recall[k];
    out["ndcg" + at] = metrics.ndcg[k];
    out["precision" + at] = metrics.precision[k];
    out["map" + at] = metrics.map[k];
  }
  return out;
}

template <class T>
GoldenModel<T>::GoldenModel(Ops<T>& ops, const Golden& g)
    : graph(make_graph<T>(ops, g.n_users(), g.n_items(), g.data.train, g.degree_epsilon)),
      loader(ops, g.n_users(), g.n_items(), g.largest_batch, g.kind->draws_negatives),
      model(make_model<T>(*g.kind, {ops, graph, g.settings, g.modalities, loader})) {}

template <class T>
Batch GoldenModel<T>::load(const Golden& g, size_t s) {
  const auto &users = g.at(Golden::in_step(s, "users")).values,
             &items = g.at(Golden::in_step(s, "items")).values;
  std::vector<Interaction> pairs;
  for (size_t k = 0; k < users.size(); ++k)
    pairs.push_back({static_cast<int32_t>(users[k]), static_cast<int32_t>(items[k])});
  std::vector<int32_t> negatives;
  if (const FileArray* array = g.find(Golden::in_step(s, "negatives")))
    negatives.assign(array->values.begin(), array->values.end());
  return loader.load(pairs.data(), negatives.data(), pairs.size());
}

template struct GoldenModel<float>;
template struct GoldenModel<double>;

Golden read_golden(const std::filesystem::path& file) {
  Safetensors all = read_safetensors(file);
  Golden g;
  try {
    read_settings(g, all.metadata);
    Reader(g, std::move(all.arrays)).read();
  } catch (const Error& e) {
    throw Error(file.string() + ": " + e.what());
  }
  return g;
}

}  // namespace bm3::test
