#pragma once
// Operations with one wrong gradient each, to show that the checks would notice.
#include "ops/cpu/cpu_ops.h"

namespace bm3::test {

enum class Fault {
  none,
  linear_x_scaled,           // d_x * (1 + 1e-5), and likewise below
  linear_W_scaled,
  linear_W_ungathered,       // x's first rows in place of x[rows]
  linear_b_scaled,
  linear_b_short,            // the last row's d_y is missing
  lightgcn_scaled,
  lightgcn_no_residual,      // the backward pass forgets the items' H^0
  lightgcn_asymmetric,       // D^-1 A, forward and backward, which is not its own transpose
  rows_overwritten,          // d_x[rows] = in place of +=
  rows_short,                // the last row that is no padding is missing
  cosine_scaled,
  cosine_no_radial_part,     // -b / (|a||b|) alone
  cosine_with_target,        // the target's gradient is added
  cosine_first_pair_only,    // of each row
  cosine_own_pair_once,      // a row's own pair counts once, however often it occurs
  norm_scaled,
  norm_of_other_half,        // |H_i| for |H_u| and the reverse
  squared_scaled,
  squared_halved,            // the 2 of 2 x is missing
  squared_row_once,          // each row counts once, however often it occurs
};

class FaultyOps : public CpuOps<double> {
  using Base = CpuOps<double>;

 public:
  explicit FaultyOps(Fault fault) : Base(1), fault_(fault) {}

  void linear_backward(double* d_x, double* d_W, double* d_b, const double* d_y, const double* x,
                       const int32_t* rows, const double* W, size_t n, size_t in,
                       size_t out) override {
    if (fault_ == Fault::linear_W_ungathered) rows = nullptr;
    Base::linear_backward(d_x, d_W, d_b, d_y, x, rows, W, n, in, out);
    if (d_x) scale_if(Fault::linear_x_scaled, d_x, n * in);
    scale_if(Fault::linear_W_scaled, d_W, in * out);
    scale_if(Fault::linear_b_scaled, d_b, out);
    for (size_t k = 0; k < out && fault_ == Fault::linear_b_short; ++k)
      d_b[k] -= d_y[(n - 1) * out + k];
  }

  // LightGCN's backward pass is between the scatter to d_H and the next download.
  void scatter_add_rows(double* y, const double* x, const int32_t* rows, size_t n,
                        size_t d) override {
    backward_ = true;
    if (fault_ == Fault::rows_overwritten)
      for (size_t r = 0; r < n; ++r)
        if (rows[r] >= 0) std::fill_n(y + static_cast<size_t>(rows[r]) * d, d, 0.0);
    if (fault_ == Fault::rows_short) {
      while (n > 0 && rows[n - 1] < 0) --n;
      n -= n > 0;
    }
    Base::scatter_add_rows(y, x, rows, n, d);
  }
  void download(void* dst, const void* src, size_t bytes) override {
    backward_ = false;
    Base::download(dst, src, bytes);
  }
  void propagate(double* y, const double* x, const double* z, double a, double b_user,
                 double b_item, const Graph<double>& graph, size_t d) override {
    if (backward_ && fault_ == Fault::lightgcn_scaled) a *= slightly;
    if (backward_ && fault_ == Fault::lightgcn_no_residual) b_item = b_user;
    std::vector<double> scaled;
    if (fault_ == Fault::lightgcn_asymmetric) {  // S (S A S) S^-1 = D^-1 A
      for (size_t k = 0; k < graph.scale.size() * d; ++k)
        scaled.push_back(graph.scale.data()[k / d] > 0 ? x[k] / graph.scale.data()[k / d] : 0.0);
      x = scaled.data();
    }
    Base::propagate(y, x, z, a, b_user, b_item, graph, d);
    for (size_t k = 0; k < scaled.size(); ++k) {
      const double b = k / d < static_cast<size_t>(graph.n_users) ? b_user : b_item;
      y[k] = (y[k] - b * z[k]) * graph.scale.data()[k / d] + b * z[k];
    }
  }

  void cosine_loss(double* loss, double* d_a, const double* a, const View<double>& b,
                   const Pairs& pairs, double scale, size_t d) override {
    const std::vector<double> before(d_a, d_a + (d_a ? pairs.n * d : 0));
    Base::cosine_loss(loss, d_a, a, b, pairs, scale, d);
    if (!d_a) return;
    for (size_t k = 0; k < before.size() && fault_ == Fault::cosine_scaled; ++k)
      d_a[k] = before[k] + (d_a[k] - before[k]) * slightly;
    for (size_t r = 0; r < pairs.n; ++r)
      for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k)
        add_wrong(d_a + r * d, a + r * d,
                  b.from((pairs.target ? static_cast<size_t>(pairs.target[k]) : r) * d), scale, d,
                  k > pairs.begin[r], pairs.target != nullptr);
  }

  void norm_backward(double* d_x, const double* norm, const double* x, double scale,
                     size_t n) override {
    if (fault_ == Fault::norm_of_other_half) norm += items_half_ ? -1 : 1;
    items_half_ = !items_half_;
    Base::norm_backward(d_x, norm, x, scale, n);
    scale_if(Fault::norm_scaled, d_x, n);
  }
  void squared_backward(double* d_x, const double* x, const Pairs& pairs, double scale,
                        size_t d) override {
    const double factor = fault_ == Fault::squared_scaled   ? slightly
                          : fault_ == Fault::squared_halved ? 0.5
                                                            : 1;
    std::vector<int32_t> once(pairs.n + 1);
    for (size_t r = 0; r < pairs.n; ++r)
      once[r + 1] = once[r] + (pairs.begin[r + 1] > pairs.begin[r]);
    const bool count_once = fault_ == Fault::squared_row_once;
    Base::squared_backward(d_x, x, count_once ? Pairs{pairs.n, once.data(), nullptr} : pairs,
                           scale * factor, d);
  }

 private:
  static constexpr double slightly = 1 + 1e-5;

  void scale_if(Fault fault, double* x, size_t n) const {
    for (size_t k = 0; k < n && fault_ == fault; ++k) x[k] *= slightly;
  }
  /// Adds what is wrong with the gradient of one pair.
  void add_wrong(double* d_a, const double* a, const View<double>& b, double scale, size_t d,
                 bool second, bool target) const {
    double ab = 0, aa = 0, bb = 0, on_b, on_a;
    for (size_t c = 0; c < d; ++c) {
      ab += a[c] * b[c];
      aa += a[c] * a[c];
      bb += b[c] * b[c];
    }
    cosine_backward(on_b, on_a, ab, aa, bb);
    const bool dropped = (fault_ == Fault::cosine_first_pair_only && target && second) ||
                         (fault_ == Fault::cosine_own_pair_once && !target && second);
    for (size_t c = 0; c < d; ++c) {
      if (dropped) d_a[c] -= scale * (on_b * b[c] + on_a * a[c]);
      if (fault_ == Fault::cosine_no_radial_part) d_a[c] -= scale * on_a * a[c];
      if (fault_ == Fault::cosine_with_target)
        d_a[c] += scale * (on_b * a[c] + on_a * aa / bb * b[c]);
    }
  }

  Fault fault_;
  bool backward_ = false, items_half_ = false;
};

}  // namespace bm3::test
