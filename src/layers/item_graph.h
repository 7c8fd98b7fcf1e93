#pragma once
// LATTICE's graph of items (Zhang et al., MM 2021, section 3.1): learnt from projected features,
// mixed with that of the raw ones, both sparse.
#include "layers/knn.h"
#include "layers/saved_array.h"

namespace bm3 {

/// A = (1 - lambda) s L s + lambda sum_m w_m O_m [n_items, n_items], where w = softmax(mu) and
/// L = sum_m w_m K_m. K_m holds, in each row, the k largest of the cosines u_i . u_j with
/// u = z_m/|z_m|; s = diag(r)^-1/2 with L's row sums r, 0 where r is not above 0. O_m is the same,
/// scaled on its own, of the raw features. Which cosines are the largest has no gradient, their
/// values have.
template <class T>
class ItemGraph {
 public:
  ItemGraph(Ops<T>& ops, size_t n_items, size_t d, size_t n_modalities, size_t k, double lambda);

  /// Sets O_m from raw features [n_items, *].
  void set_raw(size_t m, ConstMatrix<T> e);
  /// Where z_m is to be put before `build`, and where `build_backward` leaves d_z_m [n_items, d].
  Matrix<T> z(size_t m) { return learnt_[m].z; }
  Matrix<T> d_z(size_t m) { return learnt_[m].d_z; }
  /// Makes A from mu [1, n_modalities] and z.
  void build(ConstMatrix<T> mu);
  /// Writes d_mu and d_z of h = A Q, from d_h and Q.
  void build_backward(Matrix<T> d_mu, ConstMatrix<T> d_h, ConstMatrix<T> Q);
  /// h = A Q, and d_Q += A^T d_h.
  void forward(Matrix<T> h, ConstMatrix<T> Q) { multiply<T>(ops_, h, A_, Q); }
  void backward(Matrix<T> d_Q, ConstMatrix<T> d_h) {
    ops_.add_weighted(d_Q, A_.weights(), d_h, A_.columns(), 1);
  }
  /// Returns A's arrays, for checkpoints.
  std::vector<SavedArray> state();

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
    double w;
  };
  /// unit = x / |x|, row by row, and their cosines.
  void choose(Cosines& out, Matrix<T> unit, ConstMatrix<T> x);
  /// Returns dh/dA's products d_h_i . Q_j in the places (i, j) of a matrix.
  std::vector<T> products(Table<T>& d_entry, const Cosines& places, ConstMatrix<T> d_h,
                          ConstMatrix<T> Q);

  Ops<T>& ops_;
  const size_t n_, k_;
  const double lambda_;
  std::vector<Learnt> learnt_;
  std::vector<double> s_;  // r^-1/2
  Sparse<T> A_;
};

}  // namespace bm3
