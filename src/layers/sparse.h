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

/// Puts the entries in the order of their keys below n, in their old order where these are equal.
/// Returns where each key's begin [n + 1].
inline std::vector<int32_t> order_by(int32_t Entry::*key, size_t n, std::vector<Entry>& entries) {
  std::vector<int32_t> begin(n + 1);
  for (const Entry& e : entries) ++begin[static_cast<size_t>(e.*key) + 1];
  for (size_t k = 0; k < n; ++k) begin[k + 1] += begin[k];
  std::vector<Entry> out(entries.size());
  std::vector<int32_t> next = begin;
  for (const Entry& e : entries)
    out[static_cast<size_t>(next[static_cast<size_t>(e.*key)]++)] = e;
  entries = std::move(out);
  return begin;
}

/// Gives S other entries: as many as it has, if it has any, in the same memory; what lies in one
/// place adds up. Throws beyond 2^31 - 1 entries and where a place is out of range.
template <class T>
void replace(Device& device, Sparse<T>& S, std::vector<Entry> entries) {
  if (entries.size() > INT32_MAX)
    throw Error("a sparse matrix of ", entries.size(), " entries: expected fewer than 2^31");
  if (S.size() > 0 && entries.size() != S.size())
    throw Error("a sparse matrix of ", S.size(), " entries was given ", entries.size());
  for (const Entry& e : entries)
    if (e.row < 0 || static_cast<size_t>(e.row) >= S.n_rows || e.column < 0 ||
        static_cast<size_t>(e.column) >= S.n_columns)
      throw Error("entry (", e.row, ", ", e.column, ") lies outside a matrix of ", S.n_rows,
                  " rows and ", S.n_columns, " columns");
  const auto begin_t = order_by(&Entry::column, S.n_columns, entries);
  const auto begin = order_by(&Entry::row, S.n_rows, entries);
  std::vector<int32_t> column, row_t(entries.size()), entry_t(entries.size()), next = begin_t;
  std::vector<T> weight;
  for (size_t k = 0; k < entries.size(); ++k) {
    const Entry& e = entries[k];
    const auto at = static_cast<size_t>(next[static_cast<size_t>(e.column)]++);
    row_t[at] = e.row;
    entry_t[at] = static_cast<int32_t>(k);
    column.push_back(e.column);
    weight.push_back(static_cast<T>(e.weight));
  }
  S.begin.assign(device, begin);
  S.column.assign(device, column);
  S.begin_t.assign(device, begin_t);
  S.row_t.assign(device, row_t);
  S.entry_t.assign(device, entry_t);
  S.weight.assign(device, weight);
}

/// Returns the matrix of these entries. Throws as `replace`.
template <class T>
Sparse<T> make_sparse(Device& device, size_t n_rows, size_t n_columns, std::vector<Entry> entries) {
  Sparse<T> S{n_rows, n_columns, {}, {}, {}, {}, {}, {}};
  replace(device, S, std::move(entries));
  return S;
}

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
Sparse<T> adjacency(Device& device, const Graph<T>& graph, Scaling scaling) {
  const auto begin = graph.begin.host();
  const auto neighbour = graph.neighbour.host();
  const auto scale = graph.scale.host();
  std::vector<Entry> entries;
  for (size_t r = 0; r < graph.n_nodes(); ++r) {
    const auto row = static_cast<int32_t>(r);
    const auto degree = static_cast<double>(begin[r + 1] - begin[r]);
    if (scaling == Scaling::with_loops) entries.push_back({row, row, 1 / (degree + 1)});
    for (auto k = static_cast<size_t>(begin[r]); k < static_cast<size_t>(begin[r + 1]); ++k) {
      const auto of_column = static_cast<double>(scale[static_cast<size_t>(neighbour[k])]);
      entries.push_back({row, neighbour[k],
                         scaling == Scaling::none        ? 1
                         : scaling == Scaling::symmetric ? static_cast<double>(scale[r]) * of_column
                         : scaling == Scaling::mean      ? 1 / degree
                                                         : 1 / (degree + 1)});
    }
  }
  return make_sparse<T>(device, graph.n_nodes(), graph.n_nodes(), std::move(entries));
}

/// y = S x. y [n_rows, d], x [n_columns, d].
template <class T>
void multiply(Ops<T>& ops, Matrix<T> y, const Sparse<T>& S, ConstMatrix<T> x) {
  ops.add_weighted(y, 0, {}, S.weights(), x, S.rows(), 1);
}

/// H = mean(E, S E, .., S^L E), with S's weights and the pairs of its rows. With the pairs of its
/// columns it is the backward pass, d_E = mean(d_H, S^T d_H, ..). All [n, d]; `other` as in
/// sum_layers.
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
