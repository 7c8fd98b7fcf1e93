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
  void release(void* memory) noexcept override {
    sizes_.erase(memory);
    kept_.erase(memory);
    Base::release(memory);
  }

  /// Does a forward pass, replaces all numbers in memory by their magnitudes, does the backward
  /// pass and calls measure(). What losses leave of a gradient, and the losses themselves, are sums
  /// of their terms' magnitudes then. In the end memory is as it was.
  template <class Forward, class Backward, class Measure>
  void over_magnitudes(const Forward& forward, const Backward& backward, const Measure& measure) {
    for (const auto& [memory, bytes] : sizes_)
      kept_[memory] = std::string(static_cast<const char*>(memory), bytes);
    terms_.clear();
    forward();
    for (const auto& [memory, bytes] : sizes_) {
      auto* const x = static_cast<T*>(memory);
      for (size_t k = 0; k < bytes / sizeof(T); ++k)
        if (x[k] < 0) x[k] = -x[k];  // no whole numbers, whose bits are NaN where they are negative
    }
    for (const auto& [sum, magnitude] : terms_) *sum = magnitude;
    backward_ = true;
    backward();
    backward_ = false;
    measure();
    for (const auto& [memory, bytes] : kept_) Base::upload(memory, bytes.data(), bytes.size());
    kept_.clear();
  }

  /// The slopes are kept: magnitudes do not tell them.
  void leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) override {
    Base::leaky_relu_forward(y, x);
    for (size_t k = 0; k < y.size(); ++k) slopes_[y.at + k] = leaky_slope(y.at[k]);
  }
  void leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) override {
    for (size_t k = 0; k < y.size(); ++k) d_x.at[k] = d_y.at[k] * slopes_.at(y.at + k);
  }
  /// d_x = d_y / |x| - y (y . d_y) / |x|: the second term is added here, not taken off.
  void normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) override {
    std::vector<T> twice_the_first;
    for (size_t k = 0; k < x.size(); ++k) {
      const T* const row = x.row(k / x.cols);
      twice_the_first.push_back(2 * d_y.at[k] / length_of(dot(row, row, x.cols)));
    }
    Base::normalise_backward(d_x, d_y, x);
    for (size_t k = 0; k < x.size() && backward_; ++k) d_x.at[k] = twice_the_first[k] - d_x.at[k];
  }
  /// d_a = alpha d_alpha - alpha * sum of alpha d_alpha likewise.
  void edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                             const Pairs& pairs) override {
    std::vector<T> twice_the_first;
    for (size_t e = 0; e < alpha.size(); ++e)
      twice_the_first.push_back(2 * alpha.at[e] * d_alpha.at[e]);
    Base::edge_softmax_backward(d_a, d_alpha, alpha, pairs);
    for (size_t e = 0; e < alpha.size() && backward_; ++e)
      d_a.at[e] = twice_the_first[e] - d_a.at[e];
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
  }

 private:
  std::unordered_map<void*, size_t> sizes_;      // of what is allocated
  std::unordered_map<void*, std::string> kept_;  // what it was
  std::unordered_map<double*, T> terms_;         // by the place of the sum
  std::unordered_map<const T*, T> slopes_;       // of leaky ReLU, by the place of y
  bool backward_ = false;
};

}  // namespace bm3::test
