#pragma once
// The terms of which gradients are sums: by these, not by the sum, their rounding is measured.
#include "golden.h"
#include "model_check.h"

namespace bm3::test {

/// Rows of a batch's matrices that belong together.
struct BatchTable {
  std::string name;           // "user", "item" or a modality's
  std::vector<int32_t> rows;  // users or items, -1: padding
  size_t first;               // row in the matrices
};

/// The magnitudes of the terms of dL/dh~, h~ [rows of a batch, d]: with a = h~, dC/da =
/// -(b/(|a||b|) - c a/|a|^2) has two, neither longer than 1/|a|.
template <class T>
std::vector<T> cosine_terms(const Bm3Config& config, const std::vector<Interaction>& pairs,
                            const std::vector<BatchTable>& tables, const std::vector<T>& h) {
  const double rec = config.rec ? 1 : 0;
  const double mm = config.mm_weight * (int{config.align} + int{config.mask});
  std::vector<T> out(h.size());
  for (const BatchTable& table : tables) {
    const bool user = table.name == "user", of_rec = user || table.name == "item";
    for (size_t r = 0; r < table.rows.size(); ++r) {
      double weight = 0, squared = 0;
      for (const Interaction& pair : pairs)
        if (table.rows[r] == (user ? pair.user : pair.item))
          weight += (of_rec ? rec : mm) / static_cast<double>(pairs.size());
      const size_t first = (table.first + r) * config.d, end = first + config.d;
      for (size_t k = first; k < end; ++k) squared += static_cast<double>(h[k]) * h[k];
      for (size_t k = first; k < end; ++k)
        out[k] = static_cast<T>(2 * weight / std::max(std::sqrt(squared), cosine_floor));
    }
  }
  return out;
}

template <class T>
std::vector<T> magnitudes(std::vector<T> values) {
  for (T& x : values) x = std::abs(x);
  return values;
}

/// The backward pass over the magnitudes of all its factors, after a forward pass: in the place of
/// each gradient it leaves the sums of its terms' magnitudes. Parameters stay as they are.
template <class T>
void backward_over_magnitudes(Ops<T>& ops, Bm3<T>& model, const Batch& batch,
                              const std::vector<T>& d_predicted) {
  const auto values = model.values().host();
  const auto H = magnitudes(model.H().host()), z = magnitudes(model.z().host());
  std::vector<std::vector<T>> features;
  for (auto& e : model.modalities()) {
    features.push_back(e.features.host());
    e.features.upload(magnitudes(features.back()));
  }
  model.values().upload(magnitudes(values));
  model.encode(batch);  // copies the batch's features, where the device wants a copy
  ops.synchronize();    // what it does beside writes z, too
  model.H().upload(H);
  model.z().upload(z);
  model.d_predicted().upload(d_predicted);
  model.backward(batch);
  model.values().upload(values);
  for (size_t m = 0; m < features.size(); ++m) model.modalities()[m].features.upload(features[m]);
}

}  // namespace bm3::test
