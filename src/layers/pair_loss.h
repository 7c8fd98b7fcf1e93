#pragma once
// What BPR's descendants share: the loss of triples (user, positive, negative), and the regulariser
// on the rows of a batch (Rendle et al., UAI 2009; He et al., SIGIR 2020).
#include <algorithm>

#include "layers/batch.h"
#include "layers/parameters.h"

namespace bm3 {

/// The forms of the loss and of the regulariser, and what divides the latter; 0: B.
struct PairForms {
  PairForm pair = PairForm::plain;
  RegForm reg = RegForm::squared;
  size_t divisor = 0;
};

/// L_bpr = (1/B) sum of -ln sigma(x), x = f_u . (f_p - f_n), and the regulariser
/// reg = (1/B) (|E_u|_F + |E_p|_F + |E_n|_F), or (1/2B) (|E_u|_F^2 + ...), where E_u, E_p and E_n
/// hold a row for each triple. f and e are the final and the initial vectors of a batch's rows.
template <class T>
class PairLoss {
 public:
  /// For f of `width` columns, with rows of users, of items, and of items' modalities.
  PairLoss(Ops<T>& ops, const BatchLoader& loader, size_t width, PairForms forms = {},
           size_t n_modalities = 0)
      : ops_(ops), forms_(forms), n_modalities_(n_modalities),
        f_(ops, loader, width, n_modalities), d_f_(ops, loader, width, n_modalities),
        x_(ops, 1 + n_modalities, loader.max_size()), c_(ops, x_.rows, x_.cols), norms_(ops, 3) {}

  Blocks<Matrix<T>> f(const Batch& batch) const { return f_(batch); }
  Blocks<Matrix<T>> d_f(const Batch& batch) const { return d_f_(batch); }

  /// Adds L_bpr to *bpr, keeps c = weight dL/dx and writes d_f: the users' rows are sums of
  /// c (f_p - f_n), the others 0.
  void forward(double* bpr, const Batch& batch, double weight = 1) {
    ops_.zero(d_f(batch).all);
    add_forward(0, bpr, batch, weight);
  }
  /// The same for f = rows of F.
  void forward(double* bpr, ConstMatrix<T> F, const Batch& batch) {
    ops_.gather_rows(f(batch).nodes(), F, batch.nodes);
    forward(bpr, batch);
  }
  /// The same for f's k-th block of items, after `forward`: adds to d_f.
  void add_forward(size_t k, double* bpr, const Batch& batch, double weight) {
    ops_.pair_loss(bpr, x(batch, k), c(batch, k), d_f(batch).user(), f(batch).user(),
                   f(batch).items(k), batch.triples, forms_.pair,
                   1 / static_cast<double>(batch.size), weight);
  }
  /// Adds the gradient to d_f's rows of items: dx/df_p = f_u and dx/df_n = -f_u.
  void backward(const Batch& batch) {
    for (size_t k = 0; k <= n_modalities_; ++k) {
      ops_.add_weighted(d_f(batch).items(k), c(batch, k), f(batch).user(), batch.by_item, 1);
      ops_.add_weighted(d_f(batch).items(k), c(batch, k), f(batch).user(), batch.by_negative, -1);
    }
  }
  /// The same, and d_F from it.
  void backward(Matrix<T> d_F, const Batch& batch) {
    backward(batch);
    scatter_rows<T>(ops_, d_F, d_f(batch).nodes(), batch.nodes);
  }

  /// Adds reg to *reg and keeps the norms.
  void reg_forward(double* reg, Blocks<Matrix<T>> e, const Batch& batch) {
    for (size_t k = 0; k < 3; ++k)
      ops_.penalty_forward(reg, norms_.data() + k, k == 0 ? e.user() : e.item(), pairs(batch, k),
                           forms_.reg, mean(batch));
  }
  /// d_e += lambda times its gradient.
  void reg_backward(Blocks<Matrix<T>> d_e, Blocks<Matrix<T>> e, const Batch& batch,
                    double lambda) {
    for (size_t k = 0; k < 3; ++k)
      ops_.penalty_backward(k == 0 ? d_e.user() : d_e.item(), norms_.data() + k,
                            k == 0 ? e.user() : e.item(), pairs(batch, k), forms_.reg,
                            lambda * mean(batch));
  }
  /// x of a batch's triples [B, 1], in the order of its by_user.
  Matrix<T> x(const Batch& batch, size_t k = 0) const { return {x_.row(k), batch.size, 1}; }

 private:
  Matrix<T> c(const Batch& batch, size_t k) const { return {c_.row(k), batch.size, 1}; }
  static const Pairs& pairs(const Batch& batch, size_t k) {
    return k == 0 ? batch.by_user : k == 1 ? batch.by_item : batch.by_negative;
  }
  double mean(const Batch& batch) const {
    return (forms_.reg == RegForm::norm ? 1 : 0.5) /
           static_cast<double>(forms_.divisor > 0 ? forms_.divisor : batch.size);
  }
  Ops<T>& ops_;
  PairForms forms_;
  size_t n_modalities_;
  BatchRows<T> f_, d_f_;
  Table<T> x_, c_;       // of f, then of each modality
  Array<double> norms_;  // |E_u|_F, |E_p|_F, |E_n|_F
};

/// A part of a regulariser: mean * |x|_F^2 of a table's rows x, each counted once for each of its
/// pairs; without `rows` of the whole table.
template <class T>
struct Penalty {
  const Parameter<T>* table;
  Rows rows;
  Pairs pairs;
  double mean;
};

/// A regulariser that is a sum of such parts, of tables [*, d].
template <class T>
class Penalties {
 public:
  Penalties(Ops<T>& ops, const BatchLoader& loader, size_t d)
      : ops_(ops), x_(ops, std::max(loader.max_users(), loader.max_items()), d),
        d_x_(ops, x_.rows, d), norm_(ops, 1) {}
  /// Adds it to *reg.
  void forward(double* reg, const std::vector<Penalty<T>>& parts) {
    for (const Penalty<T>& part : parts)
      ops_.penalty_forward(reg, norm_.data(), rows_of(part), part.pairs, RegForm::squared,
                           part.mean);
  }
  /// Adds lambda times its gradient to those of the tables that have one.
  void backward(const std::vector<Penalty<T>>& parts, double lambda) {
    for (const Penalty<T>& part : parts) {
      const Matrix<T> d_table = part.table->gradient;
      if (!d_table.at) continue;
      const Matrix<T> x = rows_of(part), d_x = part.rows.at ? d_x_.slice(0, x.rows) : d_table;
      if (part.rows.at) ops_.zero(d_x);
      ops_.penalty_backward(d_x, norm_.data(), x, part.pairs, RegForm::squared, lambda * part.mean);
      if (part.rows.at) ops_.scatter_add_rows(d_table, d_x, part.rows);
    }
  }

 private:
  Matrix<T> rows_of(const Penalty<T>& part) {
    if (!part.rows.at) return part.table->value;
    const Matrix<T> x = x_.slice(0, part.rows.n);
    ops_.gather_rows(x, part.table->value, part.rows);
    return x;
  }
  Ops<T>& ops_;
  Table<T> x_, d_x_;
  Array<double> norm_;  // unused by the squared form
};

}  // namespace bm3
