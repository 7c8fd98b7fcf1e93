#pragma once
// What BPR's descendants share: the loss of triples (user, positive, negative), and the regulariser
// on the rows of a batch (Rendle et al., UAI 2009; He et al., SIGIR 2020).
#include "layers/batch.h"
#include "layers/parameters.h"

namespace bm3 {

/// L_bpr = (1/B) sum of -ln sigma(x), x = f_u . (f_p - f_n), and the regulariser
/// reg = (1/B) (|E_u|_F + |E_p|_F + |E_n|_F), or (1/2B) (|E_u|_F^2 + ...), where E_u, E_p and E_n
/// hold a row for each triple. f and e [rows of a batch, d] are the final and the initial vectors.
template <class T>
class PairLoss {
 public:
  /// With `divisor`, the regulariser is divided by it instead of B.
  PairLoss(Ops<T>& ops, PairForm form, RegForm reg_form, size_t max_size, size_t divisor = 0)
      : ops_(ops), form_(form), reg_form_(reg_form), divisor_(divisor), x_(ops, max_size),
        c_(ops, max_size), norms_(ops, 3) {}

  /// Adds L_bpr to *bpr, keeps c = weight dL/dx and writes d_f's rows of users: each is a sum of
  /// c (f_p - f_n).
  void forward(double* bpr, Blocks<Matrix<T>> d_f, Blocks<Matrix<T>> f, const Batch& batch,
               double weight = 1) {
    ops_.zero(d_f.nodes().at, d_f.nodes().size() * sizeof(T));
    add_forward(bpr, d_f.user(), f.user(), f.item(), batch, weight);
  }
  /// The same for vectors u of users and i of items: adds to d_u.
  void add_forward(double* bpr, Matrix<T> d_u, ConstMatrix<T> u, ConstMatrix<T> i,
                   const Batch& batch, double weight) {
    ops_.pair_loss(bpr, x(batch), c(batch), d_u, u, i, batch.triples, form_,
                   1 / static_cast<double>(batch.size), weight);
  }
  /// d_f's rows of items: dx/df_p = f_u and dx/df_n = -f_u.
  void backward(Blocks<Matrix<T>> d_f, Blocks<Matrix<T>> f, const Batch& batch) {
    add_backward(d_f.item(), f.user(), batch);
  }
  /// The same after add_forward: adds to d_i.
  void add_backward(Matrix<T> d_i, ConstMatrix<T> u, const Batch& batch) {
    ops_.add_weighted(d_i, c(batch), u, batch.by_item, 1);
    ops_.add_weighted(d_i, c(batch), u, batch.by_negative, -1);
  }

  /// Adds reg to *reg and keeps the norms.
  void reg_forward(double* reg, Blocks<Matrix<T>> e, const Batch& batch) {
    for (size_t k = 0; k < 3; ++k)
      ops_.penalty_forward(reg, norms_.data() + k, k == 0 ? e.user() : e.item(), pairs(batch, k),
                           reg_form_, mean(batch));
  }
  /// d_e += lambda times its gradient.
  void reg_backward(Blocks<Matrix<T>> d_e, Blocks<Matrix<T>> e, const Batch& batch,
                    double lambda) {
    for (size_t k = 0; k < 3; ++k)
      ops_.penalty_backward(k == 0 ? d_e.user() : d_e.item(), norms_.data() + k,
                            k == 0 ? e.user() : e.item(), pairs(batch, k), reg_form_,
                            lambda * mean(batch));
  }
  /// x and c of a batch's triples [B, 1], in the order of its by_user.
  Matrix<T> x(const Batch& batch) { return x_.matrix(batch.size, 1); }
  Matrix<T> c(const Batch& batch) { return c_.matrix(batch.size, 1); }

 private:
  static const Pairs& pairs(const Batch& batch, size_t k) {
    return k == 0 ? batch.by_user : k == 1 ? batch.by_item : batch.by_negative;
  }
  double mean(const Batch& batch) const {
    return (reg_form_ == RegForm::norm ? 1 : 0.5) /
           static_cast<double>(divisor_ > 0 ? divisor_ : batch.size);
  }
  Ops<T>& ops_;
  PairForm form_;
  RegForm reg_form_;
  size_t divisor_;
  Array<T> x_, c_;
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
      : ops_(ops), x_(ops, loader, d), d_x_(ops, loader, d), norm_(ops, 1) {}
  /// Adds it to *reg.
  void forward(double* reg, const std::vector<Penalty<T>>& parts) {
    for (const Penalty<T>& part : parts)
      ops_.penalty_forward(reg, norm_.data(), rows_of(part), part.pairs, RegForm::squared,
                           part.mean);
  }
  /// Adds lambda times its gradient to those of the tables that have one.
  void backward(const std::vector<Penalty<T>>& parts, double lambda) {
    for (const Penalty<T>& part : parts) {
      const bool whole = part.rows.at == nullptr;
      if (!part.table->gradient.at) continue;
      const Matrix<T> x = rows_of(part), rows = d_x_.all().slice(0, x.rows);
      if (!whole) ops_.zero(rows);
      ops_.penalty_backward(whole ? part.table->gradient : rows, norm_.data(), x, part.pairs,
                            RegForm::squared, lambda * part.mean);
      if (!whole) ops_.scatter_add_rows(part.table->gradient, rows, part.rows);
    }
  }

 private:
  Matrix<T> rows_of(const Penalty<T>& part) {
    if (!part.rows.at) return part.table->value;
    const Matrix<T> x = x_.all().slice(0, part.rows.n);
    ops_.gather_rows(x, part.table->value, part.rows);
    return x;
  }
  Ops<T>& ops_;
  BatchRows<T> x_, d_x_;
  Array<double> norm_;  // unused by the squared form
};

}  // namespace bm3
