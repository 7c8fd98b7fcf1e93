#pragma once
// Graphs of items that look alike, by the cosines of their features.
#include <vector>

#include "layers/parameters.h"
#include "layers/sparse.h"

namespace bm3 {

/// Returns lists [n, min(k, n)]: for each row of x [n, d] the k rows with the largest cosines, best
/// first, as a rule itself; rows of one direction by their numbers. Needs memory for two copies of
/// x; blocks.
template <class T>
std::vector<int32_t> nearest_rows(Ops<T>& ops, ConstMatrix<T> x, size_t k);

/// Returns entries of weight 0 [n, n], by row, then by column: row i has the columns lists[i].
std::vector<Entry> entries_of(const std::vector<int32_t>& lists, size_t n);

/// The weight of each entry of K (i, j) = x_i . x_j, the cosine where rows have length 1.
template <class T>
void weigh_by_products(Ops<T>& ops, Sparse<T>& K, ConstMatrix<T> x) {
  ops.zero(K.weight.data(), K.size() * sizeof(T));
  ops.edge_dot(K.weights(), x, x, K.rows(), 1);
}

/// Returns the entries of sum_m alpha_m G_m [n_items, n_items], where G_m joins each item to the k
/// items nearest by e_m, and its entry is 1/sqrt(r_i r_j) with the numbers r = k of the rows'
/// entries, to which `epsilon` is added. Rows sum to 1 where the alpha_m do.
template <class T>
std::vector<Entry> alike(Ops<T>& ops, const std::vector<Features<T>>& e,
                         const std::vector<double>& alpha, size_t k, double epsilon = 0);

}  // namespace bm3
