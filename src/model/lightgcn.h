#pragma once
// LightGCN with the residual to the item embeddings [Eq. 3, 4].
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

/// The graph of the distinct training interactions. D counts a node's distinct neighbours, plus
/// `degree_epsilon` (0 in BM3's text; the released code adds 1e-7); an isolated node has a zero
/// row. Error where a number is out of range.
template <class T>
Graph<T> make_graph(Device& device, int64_t n_users, int64_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon = 0);

/// H [n_nodes, d] = mean(H^0 .. H^L), plus H^0 in the rows of items, with H^0 = E [n_nodes, d] and
/// H^{l+1} = D^-1/2 A D^-1/2 H^l. [Eq. 3, 4] `other` [n_nodes, d] is working memory, unused for
/// L <= 1.
///
/// Horner's rule: with R_0 = E and R_{l+1} = E + D^-1/2 A D^-1/2 R_l, R_L is the sum of all layers,
/// so that each layer is one pass and none is kept.
template <class T>
void lightgcn_forward(Ops<T>& ops, T* H, T* other, const T* E, const Graph<T>& graph,
                      size_t n_layers, size_t d) {
  const T mean = T(1) / static_cast<T>(n_layers + 1);
  if (n_layers == 0) return ops.propagate(H, E, E, T(0), T(1), T(2), graph, d);
  const T* R = E;
  T* next = n_layers % 2 == 1 ? H : other;  // the last of L writes is to H
  for (size_t l = 1; l < n_layers; ++l) {
    ops.propagate(next, R, E, T(1), T(1), T(1), graph, d);
    R = next;
    next = next == H ? other : H;
  }
  ops.propagate(next, R, E, mean, mean, mean + T(1), graph, d);
}

/// d_E [n_nodes, d] from d_H [n_nodes, d]. H = P E with P = (I + S + ... + S^L)/(L+1) + I_items and
/// S symmetric, so P is symmetric and d_E = P^T d_H = P d_H: the forward pass, on the gradient.
template <class T>
void lightgcn_backward(Ops<T>& ops, T* d_E, T* other, const T* d_H, const Graph<T>& graph,
                       size_t n_layers, size_t d) {
  lightgcn_forward(ops, d_E, other, d_H, graph, n_layers, d);
}

}  // namespace bm3
