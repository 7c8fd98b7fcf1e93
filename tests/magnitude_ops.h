#pragma once
// The terms of which gradients and losses are sums: by these, not by the sum, their rounding is
// measured.
#include <unordered_map>

#include "ops/cpu/cpu_ops.h"

namespace bm3::test {

/// The CPU's operations, which can do a backward pass over the magnitudes of all its factors: it
/// leaves, instead of each gradient, the sums of its terms' magnitudes.
class MagnitudeOps final : public CpuOps<double> {
  using T = double;
  using Base = CpuOps<double>;

 public:
  MagnitudeOps() : Base(1) {}

  /// Does a forward pass, replaces what it left and, until the end, the `inputs` by their
  /// magnitudes, and does the backward pass. What losses leave of a gradient, and the losses
  /// themselves, become the sums of their terms' magnitudes.
  template <class Forward, class Backward>
  void over_magnitudes(const std::vector<Matrix<T>>& inputs, const Forward& forward,
                       const Backward& backward) {
    std::vector<std::vector<T>> kept;
    for (const Matrix<T>& x : inputs) kept.emplace_back(x.at, x.at + x.size());
    factors_ = inputs;
    terms_.clear();
    forward();
    for (const Matrix<T>& x : factors_)
      for (size_t k = 0; k < x.size(); ++k) x.at[k] = std::abs(x.at[k]);
    for (const auto& [sum, magnitude] : terms_) *sum = magnitude;
    backward_ = true;
    backward();
    backward_ = false;
    for (size_t k = 0; k < inputs.size(); ++k)
      std::copy(kept[k].begin(), kept[k].end(), inputs[k].at);
  }

  void linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                      ConstMatrix<T> b) override {
    Base::linear_forward(y, x, rows, W, b);
    factors_.push_back(y);
  }
  void propagate(Matrix<T> y, ConstMatrix<T> x, ConstMatrix<T> z, T a, T b_user, T b_item,
                 const Graph<T>& graph) override {
    Base::propagate(y, x, z, a, b_user, b_item, graph);
    factors_.push_back(y);
  }
  void gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) override {
    Base::gather_rows(y, x, rows);
    factors_.push_back(y);
  }
  /// 1 + C has terms of 1; dC/da = -(b/(|a||b|) - c a/|a|^2) has two, neither longer than 1/|a|.
  void cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                   const Pairs& pairs, double mean, double weight) override {
    Base::cosine_loss(loss, d_a, a, b, pairs, mean, weight);
    for (size_t r = 0; r < pairs.n; ++r) {
      const double of_pairs = mean * (pairs.begin[r + 1] - pairs.begin[r]);
      double squared = 0;
      for (size_t c = 0; c < a.cols; ++c) squared += a.row(r)[c] * a.row(r)[c];
      for (size_t c = 0; c < a.cols; ++c)
        terms_[d_a.row(r) + c] +=
            2 * weight * of_pairs / std::max(std::sqrt(squared), cosine_floor);
      terms_[loss] += of_pairs;
    }
  }
  /// ln(1e-10 + sigma(x)) is as exact as its argument, which is near 1 where the loss vanishes; d_u
  /// has the terms c i_p and c i_n.
  void pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                 ConstMatrix<T> i, const Triples& triples, PairForm form, double mean) override {
    Base::pair_loss(loss, x, c, d_u, u, i, triples, form, mean);
    factors_.push_back(c);
    const Pairs& pairs = triples.by_user;
    for (size_t r = 0; r < pairs.n; ++r)
      for (int32_t e = pairs.begin[r]; e < pairs.begin[r + 1]; ++e) {
        const T* const i_p = i.row(static_cast<size_t>(pairs.target[e]));
        const T* const i_n = i.row(static_cast<size_t>(triples.negative[e]));
        for (size_t k = 0; k < u.cols; ++k)
          terms_[d_u.row(r) + k] += std::abs(c.at[e]) * (std::abs(i_p[k]) + std::abs(i_n[k]));
        if (form == PairForm::epsilon) terms_[loss] += mean;
      }
  }
  /// Regularisers have positive terms: no sum of these is larger than their value.
  void penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                       RegForm form, double mean) override {
    Base::penalty_forward(loss, norm, x, pairs, form, mean);
    terms_[loss] = 0;
  }
  void norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) override {
    Base::norm_forward(loss, norm, x, mean);
    terms_[loss] = 0;
  }
  void add_weighted(Matrix<T> y, ConstMatrix<T> w, ConstMatrix<T> x, const Pairs& pairs,
                    double scale) override {
    Base::add_weighted(y, w, x, pairs, backward_ ? std::abs(scale) : scale);
  }

 private:
  std::vector<Matrix<T>> factors_;        // what the forward pass wrote
  std::unordered_map<double*, T> terms_;  // by the place of the sum
  bool backward_ = false;
};

}  // namespace bm3::test
