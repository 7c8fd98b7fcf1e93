#pragma once
// Random small models, and the check of all their gradients against finite differences.
#include <map>
#include <optional>
#include <string>

#include "finite_difference.h"
#include "model/bm3.h"
#include "random_inputs.h"

namespace bm3::test {

/// Everything that a step of BM3 depends on but the parameters' values, which follow from `seed`.
struct ModelCase {
  int64_t n_users, n_items;
  std::vector<Interaction> train, batch;
  Bm3Config config;
  std::vector<ModalityShape> modalities;
  uint64_t seed;
};

/// A case of random sizes in which a user, an item and a whole pair occur twice in the batch, the
/// last user and the last item are isolated in the graph, and one pair of the batch is theirs.
inline ModelCase random_case(size_t n_layers, size_t n_modalities, uint64_t seed) {
  Random random(seed);
  ModelCase c{3 + random.below(5), 3 + random.below(6), {}, {}, {}, {}, seed};
  const auto users = static_cast<size_t>(c.n_users), items = static_cast<size_t>(c.n_items);
  const auto edge = [&] { return Interaction{random.below(users - 1), random.below(items - 1)}; };
  for (size_t k = 0; k < users + items; ++k) c.train.push_back(edge());
  const Interaction first = edge();
  c.batch = {first, {first.user, random.below(items - 1)}, {random.below(users - 1), first.item},
             first, {static_cast<int32_t>(users - 1), static_cast<int32_t>(items - 1)}};
  for (int32_t k = random.below(6); k > 0; --k) c.batch.push_back(edge());
  c.config.d = 2 + static_cast<size_t>(random.below(5));
  c.config.n_layers = n_layers;
  c.config.tuned = true;
  for (size_t m = 0; m < n_modalities; ++m)
    c.modalities.push_back({"m" + std::to_string(m), 1 + static_cast<size_t>(random.below(6))});
  return c;
}

/// A case on a device, with random parameters and features.
template <class T>
struct CaseOnDevice {
  static constexpr uint32_t step_number = 7;  // of the masks

  CaseOnDevice(Ops<T>& ops_, const ModelCase& c)
      : ops(ops_),
        graph(make_graph<T>(ops, c.n_users, c.n_items, c.train)),
        loader(ops, c.n_users, c.n_items, c.batch.size()),
        model(ops, graph, c.config, c.modalities, loader),
        batch(loader.load(c.batch.data(), c.batch.size())),
        frozen(ops, model.z().size()),
        seed(c.seed) {
    Random random(c.seed + 1);
    model.values().upload(random.numbers<T>(model.values().size()));
    for (auto& e : model.modalities()) e.features.upload(random.numbers<T>(e.features.size()));
  }
  /// The forward pass with fresh views, and the backward pass. Returns the losses.
  LossParts step() {
    const Array<uint32_t> now(ops, std::vector<uint32_t>{step_number});
    model.encode(batch);
    model.draw_masks(batch, seed, now.data());
    model.losses(batch);
    model.backward(batch);
    frozen.upload(model.z().host());
    return model.take_losses();
  }
  /// L, with the targets of the last `step`: masks and views are frozen.
  double loss() {
    model.encode(batch);
    model.losses(batch, false, frozen.data());
    return model.take_losses().total();
  }
  /// dL/d(features of modality m) [n_items, d_m], zero in the rows that the batch does not touch.
  std::vector<T> feature_gradient(size_t m) {
    const auto& e = model.modalities()[m];
    std::vector<int32_t> rows(batch.n_items);
    ops.download(rows.data(), batch.items, rows.size() * sizeof(int32_t));
    const std::vector<T> of_rows = e.d_features.host();
    std::vector<T> out(e.features.size());
    for (size_t r = 0; r < rows.size(); ++r)
      for (size_t j = 0; j < e.dim && rows[r] >= 0; ++j)
        out[static_cast<size_t>(rows[r]) * e.dim + j] = of_rows[r * e.dim + j];
    return out;
  }

  Ops<T>& ops;
  Graph<T> graph;
  BatchLoader loader;
  Bm3<T> model;
  Batch batch;
  Array<T> frozen;  // z of the last step, of which its targets are views
  uint64_t seed;
};

/// One matrix out of all parameters' values or gradients.
template <class T>
std::vector<T> slice(const std::vector<T>& all, const ParameterSlot& slot) {
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(slot.offset);
  return {first, first + static_cast<std::ptrdiff_t>(slot.size())};
}

/// The gradient of the whole loss with respect to every parameter, and to every feature when they
/// are tuned, against finite differences; by the parameter's name.
inline std::map<std::string, Agreement> check_model(Ops<double>& ops, const ModelCase& c) {
  CaseOnDevice<double> at(ops, c);
  at.step();
  std::map<std::string, Agreement> result;

  const std::vector<double> values = at.model.values().host();
  const std::vector<double> gradients = at.model.gradients().host();
  const std::vector<double> differences = central_differences(values, [&](const auto& x) {
    at.model.values().upload(x);
    return at.loss();
  });
  at.model.values().upload(values);
  for (const ParameterSlot& s : at.model.slots())
    result[s.name] = compare(slice(gradients, s), slice(differences, s), gradient_floor);

  for (size_t m = 0; m < c.modalities.size() && c.config.tuned; ++m) {
    auto& features = at.model.modalities()[m].features;
    const std::vector<double> e = features.host();
    result["feature." + c.modalities[m].name] =
        check_gradient(at.feature_gradient(m), e, [&](const auto& x) {
          features.upload(x);
          return at.loss();
        });
    features.upload(e);
  }
  return result;
}

inline Agreement worst(const std::map<std::string, Agreement>& by_name) {
  Agreement all;
  for (const auto& [name, agreement] : by_name) all += agreement;
  return all;
}

}  // namespace bm3::test
