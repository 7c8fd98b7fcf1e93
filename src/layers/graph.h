#pragma once
// LightGCN's layers and read-out over the graph of the training interactions (He et al., SIGIR
// 2020), with BM3's residual [Eq. 3, 4].
#include <algorithm>
#include <cmath>
#include <vector>

#include "data/inter.h"
#include "error.h"
#include "ops/ops.h"

namespace bm3 {

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

/// Gives a graph other edges: as many distinct ones as it has, if it has any, in the same memory.
/// Throws where a number is out of range or there are more or fewer edges than before.
template <class T>
void replace(Device& device, Graph<T>& graph, const std::vector<Interaction>& interactions) {
  std::vector<std::pair<int32_t, int32_t>> edges;
  for (const auto& [user, item] : interactions) {
    if (user < 0 || static_cast<size_t>(user) >= graph.n_users || item < 0 ||
        static_cast<size_t>(item) >= graph.n_items)
      throw Error("interaction (", user, ", ", item, ") lies outside the graph of ",
                  graph.n_users, " users and ", graph.n_items, " items");
    edges.emplace_back(user, item);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  if (graph.neighbour.size() > 0 && graph.neighbour.size() != 2 * edges.size())
    throw Error("a graph of ", graph.neighbour.size() / 2, " edges was given ", edges.size());
  std::vector<int64_t> begin(graph.n_nodes() + 1);
  for (const auto& [user, item] : edges) {
    ++begin[static_cast<size_t>(user) + 1];
    ++begin[graph.n_users + static_cast<size_t>(item) + 1];
  }
  std::vector<T> scale(graph.n_nodes());
  for (size_t r = 0; r < scale.size(); ++r) {
    const auto degree = static_cast<double>(begin[r + 1]);
    if (degree > 0) scale[r] = static_cast<T>(1 / std::sqrt(degree + graph.degree_epsilon));
    begin[r + 1] += begin[r];
  }
  std::vector<int32_t> neighbour(2 * edges.size());
  std::vector<int64_t> next = begin;
  for (const auto& [user, item] : edges) {  // in this order each row is ascending
    const size_t u = static_cast<size_t>(user), i = graph.n_users + static_cast<size_t>(item);
    neighbour[static_cast<size_t>(next[u]++)] = static_cast<int32_t>(i);
    neighbour[static_cast<size_t>(next[i]++)] = user;
  }
  graph.begin.assign(device, begin);
  graph.neighbour.assign(device, neighbour);
  graph.scale.assign(device, scale);
}

/// Returns the graph of the distinct training interactions. D counts a node's distinct neighbours,
/// plus `degree_epsilon` (0 in the papers; the released code adds 1e-7); an isolated node has a
/// zero row. Throws as `replace`.
template <class T>
Graph<T> make_graph(Device& device, size_t n_users, size_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon = 0) {
  Graph<T> graph{n_users, n_items, {}, {}, {}, degree_epsilon};
  replace(device, graph, train);
  return graph;
}

/// Returns the graph's distinct interactions, by user, then by item; blocks.
template <class T>
std::vector<Interaction> edges_of(const Graph<T>& graph) {
  const std::vector<int64_t> begin = graph.begin.host();
  const std::vector<int32_t> neighbour = graph.neighbour.host();
  std::vector<Interaction> out;
  for (size_t u = 0; u < graph.n_users; ++u)
    for (int64_t e = begin[u]; e < begin[u + 1]; ++e)
      out.push_back({static_cast<int32_t>(u), neighbour[static_cast<size_t>(e)] -
                                                  static_cast<int32_t>(graph.n_users)});
  return out;
}

}  // namespace bm3
