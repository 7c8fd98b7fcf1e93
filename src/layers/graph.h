#pragma once
// LightGCN's layers and read-out over the graph of the training interactions (He et al., SIGIR
// 2020), with BM3's residual [Eq. 3, 4].
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

/// Returns the graph of the distinct training interactions. D counts a node's distinct neighbours,
/// plus `degree_epsilon` (0 in the papers; the released code adds 1e-7); an isolated node has a
/// zero row. Throws where a number is out of range.
template <class T>
Graph<T> make_graph(Device& device, size_t n_users, size_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon = 0);

/// Returns the graph's distinct interactions, by user, then by item; blocks.
template <class T>
std::vector<Interaction> edges_of(const Graph<T>& graph);

/// Gives a graph other edges: as many distinct ones as it has, if it has any, in the same memory.
template <class T>
void replace(Device& device, Graph<T>& graph, const std::vector<Interaction>& edges);

/// H = E + S E + .. + S^L E for L > 0 by Horner's rule: with R_0 = E and R_{l+1} = E + S R_l, H is
/// R_L, so that each layer is one pass and none is kept. layer(y, x, last) writes y = E + S x; the
/// last may scale it. `other`, of H's shape, is working memory, unused for L <= 1.
template <class T, class Layer>
void sum_layers(Matrix<T> H, Matrix<T> other, ConstMatrix<T> E, size_t n_layers,
                const Layer& layer) {
  ConstMatrix<T> R = E;
  for (size_t l = 1; l <= n_layers; ++l) {
    const Matrix<T> next = (n_layers - l) % 2 == 0 ? H : other;  // H is the last
    layer(next, R, l == n_layers);
    R = next;
  }
}

/// H [n_nodes, d] = mean(H^0 .. H^L), plus residual * H^0 in the rows of items, with H^0 = E and
/// H^{l+1} = D^-1/2 A D^-1/2 H^l. [Eq. 3, 4] `other` as in sum_layers.
template <class T>
void lightgcn_forward(Ops<T>& ops, Matrix<T> H, Matrix<T> other, ConstMatrix<T> E,
                      const Graph<T>& graph, size_t n_layers, double residual) {
  const T mean = T(1) / static_cast<T>(n_layers + 1), of_items = mean + static_cast<T>(residual);
  if (n_layers == 0) return ops.propagate(H, E, E, T(0), mean, of_items, graph);
  sum_layers<T>(H, other, E, n_layers, [&](Matrix<T> y, ConstMatrix<T> x, bool last) {
    const T scale = last ? mean : T(1);
    ops.propagate(y, x, E, scale, scale, last ? of_items : T(1), graph);
  });
}

/// d_E [n_nodes, d] from d_H [n_nodes, d]. H = P E with P = (I + S + ... + S^L)/(L+1) + residual
/// I_items and S symmetric, so P is symmetric and d_E = P^T d_H = P d_H: the forward pass, on the
/// gradient.
template <class T>
void lightgcn_backward(Ops<T>& ops, Matrix<T> d_E, Matrix<T> other, ConstMatrix<T> d_H,
                       const Graph<T>& graph, size_t n_layers, double residual) {
  lightgcn_forward(ops, d_E, other, d_H, graph, n_layers, residual);
}

}  // namespace bm3
