#pragma once
// BM3's equations as they stand in the paper, one pair after the other, with dense matrices in
// double precision: slow, and without a line in common with the model under test.
#include <cmath>

#include "model_case.h"

namespace bm3::test {

/// S A S [n_nodes, n_nodes] for the distinct edges, with S = D^-1/2. [Eq. 3]
inline std::vector<double> dense_adjacency(size_t users, size_t items,
                                           const std::vector<Interaction>& edges, double epsilon) {
  const size_t n = users + items;
  std::vector<double> A(n * n), degree(n);
  for (const auto& [user, item] : edges) {
    const auto u = static_cast<size_t>(user), i = users + static_cast<size_t>(item);
    A[u * n + i] = A[i * n + u] = 1;
  }
  for (size_t r = 0; r < n; ++r)
    for (size_t c = 0; c < n; ++c) degree[r] += A[r * n + c];
  for (size_t r = 0; r < n; ++r)
    for (size_t c = 0; c < n; ++c)
      if (A[r * n + c] > 0)
        A[r * n + c] /= std::sqrt((degree[r] + epsilon) * (degree[c] + epsilon));
  return A;
}

class PlainModel {
 public:
  using Row = std::vector<double>;

  PlainModel(const ModelCase& c, CaseOnDevice<double>& at)
      : c_(c),
        d_(c.settings.whole("dim")),
        users_(c.n_users),
        items_(c.n_items),
        n_layers_(c.settings.whole("layers")),
        dropout_(c.settings.real("dropout")) {
    for (const auto& p : at.model->parameters().all())
      parameter_[p.name] = host<double>(at.ops, p.value);
    for (auto& e : at.model->features()) features_.push_back(e.memory.host());
    propagate();
  }

  /// rec, align, mask and reg, without their weights, for the views of step `step`. [Eq. 9-12]
  std::vector<double> losses(uint32_t step) const {
    double rec = 0, align = 0, mask = 0, reg = 0;
    const auto on = [&](const char* loss) { return c_.settings.has("losses", loss); };
    const bool squared = c_.settings.has("reg-form", "squared");
    for (const auto& [user, item] : c_.batch) {
      const auto u = static_cast<size_t>(user), i = static_cast<size_t>(item), node = users_ + i;
      const Row view_u = view(H_[u], 0, u, step), view_i = view(H_[node], 0, node, step);
      if (on("rec")) rec += cosine(predict(H_[u]), view_i) + cosine(predict(H_[node]), view_u);
      for (size_t m = 0; m < c_.modalities.size(); ++m) {
        const Row h_m = project(m, i), view_m = view(h_m, 1 + m, i, step);
        if (on("align")) align += cosine(predict(h_m), view_i);
        if (on("mask")) mask += cosine(predict(h_m), view_m);
      }
      if (squared) reg += dot(H_[u], H_[u]) + dot(H_[node], H_[node]);
    }
    const auto pairs = static_cast<double>(c_.batch.size());
    if (!squared)
      reg = pairs * (norm(0, users_) + norm(users_, users_ + items_)) / static_cast<double>(items_);
    return {rec / pairs, align / pairs, mask / pairs, reg / pairs};
  }
  /// s(u, i) = h~_u . h~_i [Eq. 13]
  double score(size_t u, size_t i) const { return dot(predict(H_[u]), predict(H_[users_ + i])); }

 private:
  void propagate() {  // [Eq. 3, 4]
    const size_t n = users_ + items_;
    const auto S = dense_adjacency(users_, items_, c_.train, 0);
    std::vector<Row> E(n), layer;
    for (size_t r = 0; r < n; ++r) {
      const auto& table = parameter_.at(r < users_ ? "user_embedding" : "item_embedding");
      const size_t first = (r < users_ ? r : r - users_) * d_;
      for (size_t k = 0; k < d_; ++k) E[r].push_back(table[first + k]);
    }
    H_ = layer = E;
    for (size_t l = 0; l < n_layers_; ++l) {
      std::vector<Row> next(n, Row(d_));
      for (size_t r = 0; r < n; ++r)
        for (size_t s = 0; s < n; ++s)
          for (size_t k = 0; k < d_; ++k) next[r][k] += S[r * n + s] * layer[s][k];
      layer = next;
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < d_; ++k) H_[r][k] += layer[r][k];
    }
    for (size_t r = 0; r < n; ++r)
      for (size_t k = 0; k < d_; ++k)
        H_[r][k] = H_[r][k] / static_cast<double>(n_layers_ + 1) +
                   (r < users_ ? 0 : E[r][k]);
  }
  Row linear(const double* x, size_t in, const std::string& name) const {  // x W + b
    const Row &W = parameter_.at(name + ".weight"), &b = parameter_.at(name + ".bias");
    Row y = b;
    for (size_t j = 0; j < in; ++j)
      for (size_t k = 0; k < d_; ++k) y[k] += x[j] * W[j * d_ + k];
    return y;
  }
  Row predict(const Row& h) const { return linear(h.data(), d_, "predictor"); }  // [Eq. 6]
  Row project(size_t m, size_t item) const {                                     // [Eq. 1]
    const size_t dim = c_.modalities[m].dim;
    return linear(features_[m].data() + item * dim, dim, c_.modalities[m].name);
  }
  /// h' of a row of a table of views. [Eq. 5]
  Row view(const Row& h, size_t table, size_t row, uint32_t step) const {
    const auto stream = static_cast<uint32_t>(Stream::view) + static_cast<uint32_t>(table);
    Row out(d_);
    for (size_t k = 0; k < d_; ++k) {
      const Random4 random = philox(c_.seed, stream, step, uint64_t{row} << 32 | k / 4);
      const bool kept = random.x[k % 4] / 4294967296.0 >= dropout_;
      out[k] = kept ? h[k] / (1 - dropout_) : 0;
    }
    return out;
  }
  static double dot(const Row& a, const Row& b) {
    double sum = 0;
    for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
    return sum;
  }
  /// 1 + C(a, b) [Eq. 8]
  static double cosine(const Row& a, const Row& b) {
    return 1 - dot(a, b) / std::max(std::sqrt(dot(a, a) * dot(b, b)), 1e-8);
  }
  double norm(size_t first, size_t last) const {  // of rows of H
    double sum = 0;
    for (size_t r = first; r < last; ++r) sum += dot(H_[r], H_[r]);
    return std::sqrt(sum);
  }

  const ModelCase& c_;
  size_t d_, users_, items_, n_layers_;
  double dropout_;
  std::map<std::string, Row> parameter_;
  std::vector<Row> features_;  // [n_items, d_m] each
  std::vector<Row> H_;         // [n_nodes][d]
};

}  // namespace bm3::test
