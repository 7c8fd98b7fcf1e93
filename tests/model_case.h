#pragma once
// Random small cases of every model, and the check of all their gradients against finite
// differences.
#include <functional>
#include <map>
#include <string>

#include "finite_difference.h"
#include "models/model.h"
#include "random_inputs.h"

namespace bm3::test {

/// Everything that a step of a model depends on but the parameters' values, which follow from
/// `seed`.
struct ModelCase {
  const ModelKind* kind;
  size_t n_users, n_items;
  std::vector<Interaction> train, batch;
  std::vector<int32_t> negatives;  // of the batch
  std::vector<ModalityShape> modalities;
  Settings settings;
  uint64_t seed;
};

/// Settings by name.
using Values = std::vector<std::pair<const char*, const char*>>;

/// A case of random sizes in which a user, an item and a whole pair occur twice in the batch, an
/// item is a positive and a negative, the last user and the last item are isolated in the graph,
/// and one pair of the batch is theirs. Of `values` it has those that the model knows.
inline ModelCase random_case(const ModelKind& kind, size_t n_modalities, uint64_t seed,
                             const Values& values = {}) {
  Random random(seed);
  const size_t users = 3 + static_cast<size_t>(random.below(5));
  const size_t items = 3 + static_cast<size_t>(random.below(6));
  ModelCase c{&kind, users, items, {}, {}, {}, {}, Settings(kind.settings), seed};
  const auto edge = [&] { return Interaction{random.below(users - 1), random.below(items - 1)}; };
  for (size_t k = 0; k < users + items; ++k) c.train.push_back(edge());
  const Interaction first = edge();
  c.batch = {first, {first.user, random.below(items - 1)}, {random.below(users - 1), first.item},
             first, {static_cast<int32_t>(users - 1), static_cast<int32_t>(items - 1)}};
  for (int32_t k = random.below(6); k > 0; --k) c.batch.push_back(edge());
  for (const Interaction& pair : c.batch)
    c.negatives.push_back((pair.item + 1 + random.below(items - 1)) % static_cast<int32_t>(items));
  c.settings.set("dim", std::to_string(2 + random.below(5)));
  for (const Values& all : {Values{{"features", "tuned"}, {"neighbours", "2"}, {"hidden", "3"},
                                   {"latent", "3"}}, values})
    for (const auto& [name, value] : all)
      if (c.settings.knows(name)) c.settings.set(name, value);
  for (size_t m = 0; m < n_modalities; ++m)
    c.modalities.push_back({m == 0 ? "image" : "m" + std::to_string(m),
                            1 + static_cast<size_t>(random.below(6))});
  return c;
}

/// Calls check(case, words) for the product of a model's layers 0 .. 3, modalities up to 3, the
/// words of each setting, and each entry of a list alone and all (only all where there are no
/// modalities); numbers, and whether features are tuned, take turns. Returns the number of cases.
using CheckCase = std::function<void(const ModelCase&, const std::string&)>;
inline size_t for_each_case(const ModelKind& kind, const CheckCase& check) {
  std::vector<std::pair<const Setting*, std::vector<std::string>>> axes;
  for (const Setting& s : kind.settings) {
    std::vector<std::string> values = s.range.choices;
    if (s.range.kind == Range::list) values.push_back(s.fallback);
    if (s.name == "layers" || s.name == "routing") values = {"0", "1", "2", "3"};
    if (s.name != "features" && s.name != "recipe" && !values.empty()) axes.push_back({&s, values});
  }
  const size_t fewest = kind.needs_features ? 1 : 0;
  size_t product = kind.reads_features ? 4 - fewest : 1;
  for (const auto& [setting, values] : axes) product *= values.size();
  const size_t n = std::max<size_t>(product, 32);
  for (uint64_t seed = 1; seed <= n; ++seed) {
    size_t at = seed;
    const auto turn = [&](size_t size) { return std::exchange(at, at / size) % size; };
    ModelCase c = random_case(kind, kind.reads_features ? fewest + turn(4 - fewest) : 0, seed);
    std::string words = kind.name + ", " + std::to_string(c.modalities.size()) + " modalities";
    for (const auto& [setting, values] : axes) {
      std::string value = values[turn(values.size())];
      if (setting->range.kind == Range::list && c.modalities.empty()) value = setting->fallback;
      c.settings.set(setting->name, value);
      words += ", " + setting->name + " " + value;
    }
    const char *const dropouts[] = {"0", "0.3", "0.5"}, *const weights[] = {"0.1", "1", "0", "2"};
    for (const Setting& s : kind.settings)
      if (s.range.kind == Range::real)
        c.settings.set(s.name, s.range.most <= 1 ? dropouts[seed % 3] : weights[(seed + 1) % 4]);
    if (c.settings.knows("features"))
      c.settings.set("features", seed % 7 ? "tuned" : "frozen");
    check(c, words + ", seed " + std::to_string(seed));
  }
  return n;
}

/// A parameter, or a modality's features as "feature.NAME".
template <class T>
struct Variable {
  std::string name;
  Matrix<T> value, gradient;  // null: of frozen features
  std::vector<int32_t> rows;  // that the gradient has, -1: padding; empty: all
};

/// Returns a model's parameters, then its features, with gradients of the batch's rows.
template <class T>
std::vector<Variable<T>> variables(Ops<T>& ops, Model<T>& model, const Batch& batch) {
  std::vector<Variable<T>> out;
  for (const auto& p : model.parameters().all()) out.push_back({p.name, p.value, p.gradient, {}});
  const Rows of = model.feature_rows(batch);
  std::vector<int32_t> rows(of.n > 0 ? 0 : 1, -1);  // none
  if (of.at && of.n > 0) rows = host<int32_t>(ops, {of.at, 1, of.n});
  for (auto& e : model.features())
    out.push_back({"feature." + e.name, e.value, e.gradient(of.at ? rows.size() : of.n), rows});
  return out;
}

/// Returns dL/d(variable), 0 in the rows that the batch lacks.
template <class T>
std::vector<T> whole_gradient(Ops<T>& ops, const Variable<T>& v) {
  const std::vector<T> of_rows = host<T>(ops, v.gradient);
  if (v.rows.empty()) return of_rows;
  std::vector<T> out(v.value.size());
  for (size_t k = 0; k < of_rows.size(); ++k)
    if (const int32_t row = v.rows[k / v.value.cols]; row >= 0)
      out[static_cast<size_t>(row) * v.value.cols + k % v.value.cols] = of_rows[k];
  return out;
}

template <class E>
void upload(Device& device, Matrix<E> to, const std::vector<E>& values) {
  device.upload(to.at, values.data(), values.size() * sizeof(E));
}

/// A case on a device, with random parameters and features.
template <class T>
struct CaseOnDevice {
  static constexpr uint32_t step_number = 7;  // of the masks

  CaseOnDevice(Ops<T>& ops_, const ModelCase& c)
      : ops(ops_),
        graph(make_graph<T>(ops, c.n_users, c.n_items, c.train)),
        loader(ops, c.n_users, c.n_items, c.batch.size(), c.kind->draws_negatives),
        model(make_model<T>(*c.kind, {ops, graph, c.settings, c.modalities, loader})),
        batch(loader.load(step_number, c.batch.data(), c.negatives.data(), c.batch.size())),
        seed(c.seed) {
    Random random(c.seed + 1);
    for (const auto& v : variables(ops, *model, batch))
      upload(ops, v.value, random.numbers<T>(v.value.size()));
    model->prepare();
    model->begin_epoch(seed, 1);
  }
  /// Forward pass with fresh draws, and backward pass. Returns the losses.
  std::vector<Loss> step() {
    model->draw(batch, seed);
    model->forward(batch);
    model->backward(batch);
    return model->take_losses();
  }
  /// Returns L.
  double loss() {
    model->forward(batch);
    return total(model->take_losses());
  }
  /// Returns the gradients by name.
  std::map<std::string, std::vector<T>> gradients() {
    std::map<std::string, std::vector<T>> out;
    for (const auto& v : variables(ops, *model, batch))
      if (v.gradient.at) out[v.name] = whole_gradient(ops, v);
    return out;
  }

  Ops<T>& ops;
  Graph<T> graph;
  BatchLoader loader;
  std::unique_ptr<Model<T>> model;
  Batch batch;
  uint64_t seed;
};

/// The gradient of the whole loss with respect to every parameter, and to every feature when they
/// are tuned, against finite differences; by name. Masks stay as drawn and, unless they `move`,
/// targets at their values. Where the differences of a variable are wrong because of a kink, the
/// whole case is checked at another point.
inline std::map<std::string, Agreement> check_model(Ops<double>& ops, const ModelCase& c,
                                                    bool targets_move = false) {
  CaseOnDevice<double> at(ops, c);
  at.step();
  if (!targets_move) at.model->hold_targets();
  std::map<std::string, Agreement> result;
  const auto gradients = at.gradients();
  for (const auto& v : variables(ops, *at.model, at.batch)) {
    if (!v.gradient.at) continue;
    const std::vector<double> values = host<double>(ops, v.value);
    const auto loss = [&](const std::vector<double>& x) {
      upload(ops, v.value, x);
      return at.loss();
    };
    const Agreement& found = result[v.name] =
        compare(gradients.at(v.name), central_differences(values, loss), gradient_floor);
    if (!found.within(gradient_bound) && has_kink(values, found.at, loss)) {
      ModelCase other = c;
      other.seed += 1000;
      return check_model(ops, other, targets_move);
    }
    upload(ops, v.value, values);
  }
  return result;
}

}  // namespace bm3::test
