#pragma once
// Operations with one wrong gradient each, to show that the checks would notice.
#include <numeric>
#include <string_view>

#include "ops/cpu/cpu_ops.h"

namespace bm3::test {

/// The faults: "scaled" is by 1 + 1e-5; a gradient that is "short" lacks its last row's or pair's.
constexpr const char* planted[] = {
    "linear_x_scaled", "linear_W_scaled", "linear_W_ungathered", "linear_b_scaled",
    "linear_b_short", "lightgcn_scaled", "lightgcn_no_residual", "lightgcn_asymmetric",
    "rows_overwritten", "rows_short", "cosine_scaled", "cosine_no_radial_part",
    "cosine_with_target", "cosine_first_pair_only", "cosine_own_pair_once", "pair_scaled",
    "pair_weight_scaled", "pair_negative_missing", "pair_short", "pair_sign_of_negative",
    "pair_edge_ignored", "negatives_unweighted", "edge_weights_alpha_scaled",
    "edge_weights_c_scaled", "edge_weights_all_chosen", "edge_weights_short", "norm_scaled",
    "norm_of_other_half", "penalty_scaled", "penalty_halved", "penalty_once",
    "columns_first_half", "sum_scaled", "leaky_relu_scaled", "leaky_relu_no_slope",
    "normalise_scaled", "normalise_no_radial_part", "edge_dot_scaled", "softmax_scaled",
    "softmax_no_sum"};

class FaultyOps : public CpuOps<double> {
  using Base = CpuOps<double>;
  using Out = Matrix<double>;
  using In = Matrix<const double>;

 public:
  explicit FaultyOps(std::string_view fault) : Base(1), fault_(fault) {}

  void linear_backward(Out d_x, Out d_W, Out d_b, In d_y, In x, Rows rows, In W) override {
    if (is("linear_W_ungathered")) {
      x = x.slice(0, d_y.rows);
      rows = {};
    }
    Base::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
    if (is("linear_x_scaled") && d_x.at) scale(d_x);
    if (is("linear_W_scaled")) scale(d_W);
    if (is("linear_b_scaled")) scale(d_b);
    for (size_t k = 0; k < d_b.cols && is("linear_b_short"); ++k)
      d_b.at[k] -= d_y.row(d_y.rows - 1)[k];
  }

  void copy_columns(Out y, size_t to, In x, size_t from, size_t n) override {
    Base::copy_columns(y, to, x, from > 0 && is("columns_first_half") ? 0 : from, n);
  }
  void add(Out y, double b, In x, double a) override {
    Base::add(y, b, x, backward_ && is("sum_scaled") ? a * slightly : a);
  }
  void leaky_relu_backward(Out d_x, In d_y, In y) override {
    Base::leaky_relu_backward(d_x, d_y, y);
    if (is("leaky_relu_scaled")) scale(d_x);
    for (size_t k = 0; k < y.size() && is("leaky_relu_no_slope"); ++k)
      if (y.at[k] < 0) d_x.at[k] = 0;
  }
  void normalise_backward(Out d_x, In d_y, In x) override {
    if (is("normalise_no_radial_part")) {
      for (size_t k = 0; k < x.size(); ++k) {
        const double* const row = x.row(k / x.cols);
        d_x.at[k] = d_y.at[k] / length_of(std::inner_product(row, row + x.cols, row, 0.0));
      }
      return;
    }
    Base::normalise_backward(d_x, d_y, x);
    if (is("normalise_scaled")) scale(d_x);
  }
  void edge_dot(Out w, In y, In x, const Pairs& pairs) override {
    const std::vector<double> before(w.at, w.at + w.size());
    Base::edge_dot(w, y, x, pairs);
    if (is("edge_dot_scaled")) scale(w, before);
  }
  void edge_softmax_backward(Out d_a, In d_alpha, In alpha, const Pairs& pairs) override {
    if (is("softmax_no_sum")) {
      for (size_t e = 0; e < alpha.size(); ++e) d_a.at[e] = alpha.at[e] * d_alpha.at[e];
      return;
    }
    Base::edge_softmax_backward(d_a, d_alpha, alpha, pairs);
    if (is("softmax_scaled")) scale(d_a);
  }

  // LightGCN's backward pass is between the scatter to d_H and the next download.
  void scatter_add_rows(Out y, In x, Rows rows) override {
    backward_ = true;
    for (size_t r = 0; r < rows.n && is("rows_overwritten"); ++r)
      if (rows[r] >= 0) std::fill_n(y.row(static_cast<size_t>(rows[r])), y.cols, 0.0);
    if (is("rows_short")) {
      while (rows.n > 0 && rows[rows.n - 1] < 0) --rows.n;
      rows.n -= rows.n > 0;
      x.rows = rows.n;
    }
    Base::scatter_add_rows(y, x, rows);
  }
  void download(void* dst, const void* src, size_t bytes) override {
    backward_ = false;
    Base::download(dst, src, bytes);
  }
  void propagate(Out y, In x, In z, double a, double b_user, double b_item,
                 const Graph<double>& graph) override {
    if (backward_ && is("lightgcn_scaled")) a *= slightly;
    if (backward_ && is("lightgcn_no_residual")) b_item = b_user;
    std::vector<double> scaled;
    if (is("lightgcn_asymmetric")) {  // S (S A S) S^-1 = D^-1 A
      for (size_t k = 0; k < x.size(); ++k) {
        const double s = graph.scale.data()[k / x.cols];
        scaled.push_back(s > 0 ? x.at[k] / s : 0.0);
      }
      x.at = scaled.data();
    }
    Base::propagate(y, x, z, a, b_user, b_item, graph);
    for (size_t k = 0; k < scaled.size(); ++k) {
      const size_t r = k / x.cols;
      const double b = r < graph.n_users ? b_user : b_item;
      y.at[k] = (y.at[k] - b * z.at[k]) * graph.scale.data()[r] + b * z.at[k];
    }
  }

  void cosine_loss(double* loss, Out d_a, In a, const View<double>& b, const Pairs& pairs,
                   double mean, double weight) override {
    const std::vector<double> before(d_a.at, d_a.at + d_a.size());
    Base::cosine_loss(loss, d_a, a, b, pairs, mean, weight);
    if (is("cosine_scaled")) scale(d_a, before);
    for (size_t r = 0; r < pairs.n; ++r)
      for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k)
        add_wrong(d_a.row(r), a.row(r),
                  b.slice(pairs.target ? static_cast<size_t>(pairs.target[k]) : r, 1),
                  mean * weight, k > pairs.begin[r], pairs.target != nullptr);
  }

  void pair_loss(double* loss, Out x, Out c, Out d_u, In u, In i, const Triples& triples,
                 PairForm form, double mean, double weight) override {
    const std::vector<double> before(d_u.at, d_u.at + d_u.size());
    Base::pair_loss(loss, x, c, d_u, u, i, triples, form, mean, weight);
    if (is("pair_scaled")) scale(d_u, before);
    if (is("pair_weight_scaled")) scale(c);
    const Pairs& pairs = triples.by_user;
    for (size_t r = 0; r < pairs.n; ++r)
      for (int32_t e = pairs.begin[r]; e < pairs.begin[r + 1]; ++e) {
        const double* const i_p = i.row(static_cast<size_t>(pairs.target[e]));
        const double* const i_n = i.row(static_cast<size_t>(triples.negative[e]));
        const bool short_of_it = is("pair_short") && e + 1 == pairs.begin[pairs.n];
        for (size_t k = 0; k < u.cols; ++k) {
          if (is("pair_negative_missing")) d_u.row(r)[k] += c.at[e] * i_n[k];
          if (short_of_it) d_u.row(r)[k] -= c.at[e] * (i_p[k] - i_n[k]);
        }
        if (short_of_it) c.at[e] = 0;
      }
  }
  void add_weighted(Out y, double b, In z, In w, In x, const Pairs& pairs,
                    double scale_of_w) override {
    const bool negative = scale_of_w < 0;
    const std::vector<double> ones(w.rows, 1.0);
    if (negative && is("negatives_unweighted")) w.at = ones.data();
    std::vector<int32_t> place;
    for (size_t k = 0; k < w.rows; ++k) place.push_back(static_cast<int32_t>(k));
    Pairs of = pairs;
    if (is("pair_edge_ignored")) of.edge = place.data();
    Base::add_weighted(y, b, z, w, x, of,
                       negative && is("pair_sign_of_negative") ? -scale_of_w : scale_of_w);
  }

  void edge_weights_backward(Out d_alpha, Out d_c, In d_w, Matrix<const int32_t> chosen, In alpha,
                             In c, const Pairs& pairs) override {
    Base::edge_weights_backward(d_alpha, d_c, d_w, chosen, alpha, c, pairs);
    if (is("edge_weights_alpha_scaled")) scale(d_alpha);
    if (is("edge_weights_c_scaled")) scale(d_c);
    for (size_t r = 0; r < pairs.n; ++r)
      for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
        const size_t e = pairs.edge_of(k);
        for (size_t m = 0; m < c.cols; ++m) {
          const double share = alpha.row(m)[e] * d_w.at[e];
          const bool is_chosen = chosen.at[e] == static_cast<int32_t>(m);
          if (is("edge_weights_all_chosen") && chosen.at[e] >= 0 && !is_chosen)
            d_c.row(r)[m] += share;
          if (is("edge_weights_short") && is_chosen && k + 1 == pairs.begin[r + 1])
            d_c.row(r)[m] -= share;
        }
      }
  }

  void norm_backward(Out d_x, const double* norm, In x, double its_scale) override {
    if (is("norm_of_other_half")) norm += items_half_ ? -1 : 1;
    items_half_ = !items_half_;
    Base::norm_backward(d_x, norm, x, its_scale);
    if (is("norm_scaled")) scale(d_x);
  }
  void penalty_backward(Out d_x, const double* norm, In x, const Pairs& pairs, RegForm form,
                        double its_scale) override {
    std::vector<int32_t> once(pairs.n + 1);
    for (size_t r = 0; r < pairs.n; ++r)
      once[r + 1] = once[r] + (!pairs.begin || pairs.begin[r + 1] > pairs.begin[r]);
    if (is("penalty_scaled")) its_scale *= slightly;
    if (is("penalty_halved") && form == RegForm::squared) its_scale /= 2;
    Base::penalty_backward(d_x, norm, x,
                           is("penalty_once") ? Pairs{pairs.n, once.data()} : pairs, form,
                           its_scale);
  }

 private:
  static constexpr double slightly = 1 + 1e-5;

  bool is(std::string_view fault) const { return fault_ == fault; }
  /// x * slightly; or what was added to `before`.
  static void scale(Out x, const std::vector<double>& before = {}) {
    for (size_t k = 0; k < x.size(); ++k) {
      const double from = before.empty() ? 0.0 : before[k];
      x.at[k] = from + (x.at[k] - from) * slightly;
    }
  }
  /// Adds what is wrong with the cosine's gradient of one pair.
  void add_wrong(double* d_a, const double* a, const View<double>& b, double its_scale, bool second,
                 bool target) {
    const size_t d = b.h.cols;
    double ab = 0, aa = 0, bb = 0, on_b, on_a;
    for (size_t c = 0; c < d; ++c) {
      ab += a[c] * b[c];
      aa += a[c] * a[c];
      bb += b[c] * b[c];
    }
    cosine_backward(on_b, on_a, ab, aa, bb);
    const bool dropped = second && is(target ? "cosine_first_pair_only"
                                             : "cosine_own_pair_once");
    for (size_t c = 0; c < d; ++c) {
      if (dropped) d_a[c] -= its_scale * (on_b * b[c] + on_a * a[c]);
      if (is("cosine_no_radial_part")) d_a[c] -= its_scale * on_a * a[c];
      if (is("cosine_with_target"))
        d_a[c] += its_scale * (on_b * a[c] + on_a * aa / bb * b[c]);
    }
  }

  std::string_view fault_;
  bool backward_ = false, items_half_ = false;
};

}  // namespace bm3::test
