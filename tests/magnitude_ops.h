#pragma once
// The terms of which gradients and losses are sums: by these, not by the sum, their rounding is
// measured.
#include <cmath>
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

  void* allocate(size_t bytes) override {
    void* const memory = Base::allocate(bytes);
    sizes_[memory] = bytes;
    return memory;
  }
  /// What lay there is no factor of the backward pass.
  void release(void* memory) noexcept override {
    const auto* const begin = static_cast<const char*>(memory);
    const auto* const end = begin + sizes_[memory];
    const auto gone = [&](const Matrix<T>& x) {
      const auto* const at = reinterpret_cast<const char*>(x.at);
      return at >= begin && at < end;
    };
    factors_.erase(std::remove_if(factors_.begin(), factors_.end(), gone), factors_.end());
    sizes_.erase(memory);
    Base::release(memory);
  }

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
  void copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) override {
    Base::copy_columns(y, to, x, from, n);
    factors_.push_back(y);
  }
  void add(Matrix<T> y, double b, ConstMatrix<T> x, double a) override {
    Base::add(y, b, x, a);
    factors_.push_back(y);
  }
  /// The slopes are kept: magnitudes do not tell them.
  void leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) override {
    Base::leaky_relu_forward(y, x);
    factors_.push_back(y);
    for (size_t k = 0; k < y.size(); ++k) slopes_[y.at + k] = leaky_slope(y.at[k]);
  }
  void leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) override {
    for (size_t k = 0; k < y.size(); ++k) d_x.at[k] = d_y.at[k] * slopes_.at(y.at + k);
  }
  void normalise_forward(Matrix<T> y, ConstMatrix<T> x) override {
    Base::normalise_forward(y, x);
    factors_.push_back(y);
  }
  /// d_x = d_y / |x| - y (y . d_y) / |x|: the second term is added here, not taken off.
  void normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) override {
    if (!backward_) return Base::normalise_backward(d_x, d_y, x);
    for (size_t r = 0; r < x.rows; ++r) {
      T xx = 0, xd = 0;
      for (size_t c = 0; c < x.cols; ++c) xx += x.row(r)[c] * x.row(r)[c];
      for (size_t c = 0; c < x.cols; ++c) xd += x.row(r)[c] * d_y.row(r)[c];
      const T length = length_of(xx), on_x = radial_part(xd, length);
      for (size_t c = 0; c < x.cols; ++c)
        d_x.row(r)[c] = d_y.row(r)[c] / length + on_x * x.row(r)[c];
    }
  }
  void edge_dot(Matrix<T> w, ConstMatrix<T> y, ConstMatrix<T> x, const Pairs& pairs,
                double scale) override {
    Base::edge_dot(w, y, x, pairs, backward_ ? std::abs(scale) : scale);
    factors_.push_back(w);
  }
  void edge_softmax_forward(Matrix<T> alpha, ConstMatrix<T> a, const Pairs& pairs) override {
    Base::edge_softmax_forward(alpha, a, pairs);
    factors_.push_back(alpha);
  }
  void edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                             const Pairs& pairs) override {
    if (!backward_) return Base::edge_softmax_backward(d_a, d_alpha, alpha, pairs);
    for (size_t r = 0; r < pairs.n; ++r) {
      T sum = 0;
      for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k)
        sum += alpha.at[pairs.edge_of(k)] * d_alpha.at[pairs.edge_of(k)];
      for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
        const size_t e = pairs.edge_of(k);
        d_a.at[e] = alpha.at[e] * (d_alpha.at[e] + sum);
      }
    }
  }
  void edge_weights_forward(Matrix<T> w, Matrix<int32_t> chosen, ConstMatrix<T> alpha,
                            ConstMatrix<T> c, const Pairs& pairs) override {
    Base::edge_weights_forward(w, chosen, alpha, c, pairs);
    factors_.push_back(w);
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
                 ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                 double weight) override {
    Base::pair_loss(loss, x, c, d_u, u, i, triples, form, mean, weight);
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
  void add_weighted(Matrix<T> y, double b, ConstMatrix<T> z, ConstMatrix<T> w, ConstMatrix<T> x,
                    const Pairs& pairs, double scale) override {
    Base::add_weighted(y, b, z, w, x, pairs, backward_ ? std::abs(scale) : scale);
    factors_.push_back(y);
  }

 private:
  std::unordered_map<void*, size_t> sizes_;  // of what is allocated
  std::vector<Matrix<T>> factors_;        // what the forward pass wrote
  std::unordered_map<double*, T> terms_;  // by the place of the sum
  std::unordered_map<const T*, T> slopes_;  // of leaky ReLU, by the place of y
  bool backward_ = false;
};

}  // namespace bm3::test
