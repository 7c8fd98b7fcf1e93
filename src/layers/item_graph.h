#pragma once
// LATTICE's graph of items (Zhang et al., MM 2021, section 3.1): learnt from projected features,
// mixed with that of the raw ones, both sparse.
#include <algorithm>
#include <cmath>

#include "layers/knn.h"
#include "layers/saved_array.h"

namespace bm3 {

/// A = (1 - lambda) s L s + lambda sum_m w_m O_m [n_items, n_items], where w = softmax(mu) and
/// L = sum_m w_m K_m. K_m holds, in each row, the k largest of the cosines u_i . u_j with
/// u = z_m/|z_m|; s = diag(r)^-1/2 with L's row sums r, 0 where r <= 0. O_m = s K_m s likewise,
/// with the raw features' K_m and their own s. Which cosines are the largest has no gradient; their
/// values have one.
template <class T>
class ItemGraph {
 public:
  ItemGraph(Ops<T>& ops, size_t n_items, size_t d, size_t n_modalities, size_t k, double lambda)
      : ops_(ops), n_(n_items), k_(std::min(k, n_items)), lambda_(lambda), learnt_(n_modalities) {
    const std::vector<Entry> some(n_ * k_, Entry{0, 0, 0});
    for (Learnt& of : learnt_) {
      for (auto* x : {&of.z, &of.u, &of.d_z}) *x = Table<T>(ops, n_, d);
      for (auto* cosines : {&of.K, &of.O}) cosines->on_device = make_sparse<T>(ops, n_, n_, some);
      of.d_entry = Table<T>(ops, n_ * k_, 1);
    }
    A_ = make_sparse<T>(ops, n_, n_, {2 * n_modalities * n_ * k_, Entry{0, 0, 0}});
  }

  /// Sets O_m from raw features [n_items, *].
  void set_raw(size_t m, ConstMatrix<T> e) {
    std::vector<Entry>& O = learnt_[m].O.entries;
    choose(learnt_[m].O, Table<T>(ops_, e.rows, e.cols), e);
    std::vector<double> s(n_);
    add_row_sums(s, O, 1);
    take_inverse_roots(s);
    for (Entry& x : O) x.weight *= s[at(x.row)] * s[at(x.column)];
  }

  /// Where z_m is to be put before `build`, and where `build_backward` leaves d_z_m [n_items, d].
  Matrix<T> z(size_t m) { return learnt_[m].z; }
  Matrix<T> d_z(size_t m) { return learnt_[m].d_z; }

  /// Makes A from mu [1, n_modalities] and z.
  void build(ConstMatrix<T> mu) {
    const std::vector<T> on_host = host<T>(ops_, mu);
    double sum = 0;
    for (size_t m = 0; m < learnt_.size(); ++m)  // w = softmax(mu)
      sum += learnt_[m].w = std::exp(static_cast<double>(on_host[m] - on_host[0]));
    s_.assign(n_, 0);
    for (Learnt& of : learnt_) {
      of.w /= sum;
      choose(of.K, of.u, of.z);
      add_row_sums(s_, of.K.entries, of.w);
    }
    take_inverse_roots(s_);
    std::vector<Entry> all;
    for (const Learnt& of : learnt_) {
      for (const Entry& e : of.K.entries)
        all.push_back({e.row, e.column,
                       (1 - lambda_) * of.w * s_[at(e.row)] * e.weight * s_[at(e.column)]});
      for (const Entry& e : of.O.entries)
        all.push_back({e.row, e.column, lambda_ * of.w * e.weight});
    }
    replace(ops_, A_, std::move(all));
  }

  /// Writes d_mu and d_z of h = A Q, from d_h and Q.
  ///
  /// d_A_ij = d_h_i . Q_j, and D = (1 - lambda) d_A. With A = s L s, d_s_i = sum_j D_ij L_ij s_j +
  /// sum_j D_ji L_ji s_j; with s = r^-1/2, d_r_i = -r_i^-3/2 d_s_i / 2; and r_i is a sum of L_ij,
  /// so that d_L_ij = s_i D_ij s_j + d_r_i. L = sum w_m K_m and K_ij = u_i . u_j: d_w_m = sum of
  /// d_L K_m, and d_u_i += w_m d_L_ij u_j, d_u_j += w_m d_L_ij u_i.
  void build_backward(Matrix<T> d_mu, ConstMatrix<T> d_h, ConstMatrix<T> Q) {
    std::vector<double> d_s(n_), d_w(learnt_.size());
    std::vector<std::vector<double>> D(learnt_.size());
    for (size_t m = 0; m < learnt_.size(); ++m) {
      Learnt& of = learnt_[m];
      const std::vector<Entry>&O = of.O.entries, &K = of.K.entries;
      const auto of_O = products(of.d_entry, of.O, d_h, Q);
      const auto of_K = products(of.d_entry, of.K, d_h, Q);
      for (size_t e = 0; e < O.size(); ++e)
        d_w[m] += lambda_ * static_cast<double>(of_O[e]) * O[e].weight;
      for (size_t e = 0; e < K.size(); ++e) {
        const size_t i = at(K[e].row), j = at(K[e].column);
        D[m].push_back((1 - lambda_) * static_cast<double>(of_K[e]));
        d_s[i] += D[m][e] * of.w * K[e].weight * s_[j];
        d_s[j] += D[m][e] * of.w * K[e].weight * s_[i];
      }
    }
    double mean = 0;
    for (size_t m = 0; m < learnt_.size(); ++m) {
      Learnt& of = learnt_[m];
      std::vector<T> w_d_L;
      for (size_t e = 0; e < of.K.entries.size(); ++e) {
        const Entry& entry = of.K.entries[e];
        const size_t i = at(entry.row), j = at(entry.column);
        const double d_r = -0.5 * s_[i] * s_[i] * s_[i] * d_s[i];
        const double d_L = s_[i] * D[m][e] * s_[j] + d_r;
        d_w[m] += d_L * entry.weight;
        w_d_L.push_back(static_cast<T>(of.w * d_L));
      }
      of.d_entry.memory.upload(w_d_L);
      ops_.add_weighted(of.d_z, 0, {}, of.d_entry, of.u, of.K.on_device.rows(), 1);
      ops_.add_weighted(of.d_z, of.d_entry, of.u, of.K.on_device.columns(), 1);
      ops_.normalise_backward(of.d_z, of.d_z, of.z);
      mean += of.w * d_w[m];
    }
    std::vector<T> out;  // d_mu_m = w_m (d_w_m - sum of w d_w)
    for (size_t m = 0; m < learnt_.size(); ++m)
      out.push_back(static_cast<T>(learnt_[m].w * (d_w[m] - mean)));
    ops_.upload(d_mu.at, out.data(), out.size() * sizeof(T));
  }

  /// h = A Q, and d_Q += A^T d_h.
  void forward(Matrix<T> h, ConstMatrix<T> Q) { multiply<T>(ops_, h, A_, Q); }
  void backward(Matrix<T> d_Q, ConstMatrix<T> d_h) {
    ops_.add_weighted(d_Q, A_.weights(), d_h, A_.columns(), 1);
  }

  /// Returns A's arrays, for checkpoints.
  std::vector<SavedArray> state() {
    const auto row = [](const char* name, auto& array) {
      return saved_array(std::string("item_graph/") + name, array.matrix(1, array.size()));
    };
    return {row("begin", A_.begin), row("column", A_.column),   row("begin_t", A_.begin_t),
            row("row_t", A_.row_t), row("entry_t", A_.entry_t), row("weight", A_.weight)};
  }

 private:
  /// The k largest cosines of each row, on the device and on the host.
  struct Cosines {
    Sparse<T> on_device;
    std::vector<Entry> entries;
  };
  struct Learnt {        // of a modality
    Table<T> z, u, d_z;  // [n_items, d]
    Cosines K, O;        // O's entries are scaled
    Table<T> d_entry;    // [n_items * k, 1], by the entries of K or O
    double w;            // its part of softmax(mu)
  };

  /// unit = x / |x|, row by row, and their cosines.
  void choose(Cosines& out, Matrix<T> unit, ConstMatrix<T> x) {
    ops_.normalise_forward(unit, x);
    out.entries = entries_of(nearest_rows<T>(ops_, x, k_), n_);
    replace(ops_, out.on_device, out.entries);
    weigh_by_products<T>(ops_, out.on_device, unit);
    const std::vector<T> weight = out.on_device.weight.host();
    for (size_t e = 0; e < weight.size(); ++e)
      out.entries[e].weight = static_cast<double>(weight[e]);
  }
  /// Returns d_h_i . Q_j for each entry (i, j) of a matrix.
  std::vector<T> products(Table<T>& d_entry, const Cosines& places, ConstMatrix<T> d_h,
                          ConstMatrix<T> Q) {
    ops_.zero(d_entry);
    ops_.edge_dot(d_entry, d_h, Q, places.on_device.rows());
    return d_entry.memory.host();
  }
  static size_t at(int32_t index) { return static_cast<size_t>(index); }
  /// Adds w times each row's sum of weights.
  static void add_row_sums(std::vector<double>& r, const std::vector<Entry>& entries, double w) {
    for (const Entry& e : entries) r[at(e.row)] += w * e.weight;
  }
  /// x^-1/2, or 0 where x <= 0.
  static void take_inverse_roots(std::vector<double>& r) {
    for (double& x : r) x = x > 0 ? 1 / std::sqrt(x) : 0;
  }

  Ops<T>& ops_;
  const size_t n_, k_;
  const double lambda_;
  std::vector<Learnt> learnt_;
  std::vector<double> s_;  // r^-1/2
  Sparse<T> A_;
};

}  // namespace bm3
