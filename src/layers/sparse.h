#pragma once
// A sparse matrix with a weight for each entry, and the adjacency matrices of the models that take
// another than LightGCN's.
#include <vector>

#include "layers/graph.h"

namespace bm3 {

struct Entry {
  int32_t row, column;
  double weight = 1;
};

/// S [n_rows, n_columns] on the device: entry e lies in row(e), column(e) and has weight[e].
/// Entries are numbered by row, then by column.
template <class T>
struct Sparse {
  size_t n_rows = 0, n_columns = 0;
  Array<int32_t> begin, column;            // of each row's entries
  Array<int32_t> begin_t, row_t, entry_t;  // of each column's entries, which are entry_t's
  Array<T> weight;                         // [n_entries]

  size_t size() const { return weight.size(); }
  Matrix<T> weights() { return weight.matrix(size(), 1); }
  ConstMatrix<T> weights() const { return weight.matrix(size(), 1); }
  /// The entries of each row, and of each column: S and S^T for add_weighted.
  Pairs rows() const { return {n_rows, begin.data(), column.data()}; }
  Pairs columns() const { return {n_columns, begin_t.data(), row_t.data(), entry_t.data()}; }
};

/// Returns the matrix of these entries; what lies in one place adds up. Throws beyond 2^31 - 1
/// entries and where a place is out of range.
template <class T>
Sparse<T> make_sparse(Device& device, size_t n_rows, size_t n_columns, std::vector<Entry> entries);

/// Gives S other entries: as many as it has, if it has any, in the same memory.
template <class T>
void replace(Device& device, Sparse<T>& S, std::vector<Entry> entries);

/// Which scaling of the adjacency A of users and items, with D its degrees.
enum class Scaling {
  none,        // A
  symmetric,   // D^-1/2 A D^-1/2
  mean,        // D^-1 A: the mean over a node's neighbours
  with_loops,  // (D + 1)^-1 (A + I)
};

/// Returns the scaled adjacency [n_nodes, n_nodes] of a graph. A node without interactions has a
/// row of zeros, or its loop alone.
template <class T>
Sparse<T> adjacency(Device& device, const Graph<T>& graph, Scaling scaling);

/// y = S x, and its backward d_x = S^T d_y. y [n_rows, d], x [n_columns, d].
template <class T>
void multiply(Ops<T>& ops, Matrix<T> y, const Sparse<T>& S, ConstMatrix<T> x) {
  ops.add_weighted(y, 0, {}, S.weights(), x, S.rows(), 1);
}
template <class T>
void multiply_transposed(Ops<T>& ops, Matrix<T> d_x, const Sparse<T>& S, ConstMatrix<T> d_y) {
  ops.add_weighted(d_x, 0, {}, S.weights(), d_y, S.columns(), 1);
}

/// H = mean(E, S E, .., S^L E) by the weights and the pairs of S's rows, and by the pairs of its
/// columns the backward, d_E = mean(d_H, S^T d_H, ..). All [n, d]; `other` as in sum_layers.
template <class T>
void mean_of_layers(Ops<T>& ops, Matrix<T> H, Matrix<T> other, ConstMatrix<T> E,
                    ConstMatrix<T> weights, const Pairs& pairs, size_t n_layers) {
  const double mean = 1 / static_cast<double>(n_layers + 1);
  if (n_layers == 0) return ops.add(H, 0, E, mean);
  sum_layers<T>(H, other, E, n_layers, [&](Matrix<T> y, ConstMatrix<T> x, bool last) {
    ops.add_weighted(y, last ? mean : 1, E, weights, x, pairs, last ? mean : 1);
  });
}

}  // namespace bm3
