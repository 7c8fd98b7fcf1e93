#include "layers/graph.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace bm3 {
template <class T>
void replace(Device& device, Graph<T>& graph, const std::vector<Interaction>& interactions) {
  std::vector<std::pair<int32_t, int32_t>> edges;
  for (const auto& [user, item] : interactions) {
    if (user < 0 || static_cast<size_t>(user) >= graph.n_users || item < 0 ||
        static_cast<size_t>(item) >= graph.n_items)
      throw Error("interaction (" + std::to_string(user) + ", " + std::to_string(item) +
                  ") lies outside the graph of " + std::to_string(graph.n_users) + " users and " +
                  std::to_string(graph.n_items) + " items");
    edges.emplace_back(user, item);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  if (graph.neighbour.size() > 0 && graph.neighbour.size() != 2 * edges.size())
    throw Error("a graph of " + std::to_string(graph.neighbour.size() / 2) +
                " edges was given " + std::to_string(edges.size()));
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

template <class T>
Graph<T> make_graph(Device& device, size_t n_users, size_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon) {
  Graph<T> graph{n_users, n_items, {}, {}, {}, degree_epsilon};
  replace(device, graph, train);
  return graph;
}

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

template Graph<float> make_graph<float>(Device&, size_t, size_t,
                                        const std::vector<Interaction>&, double);
template Graph<double> make_graph<double>(Device&, size_t, size_t,
                                          const std::vector<Interaction>&, double);
template std::vector<Interaction> edges_of<float>(const Graph<float>&);
template std::vector<Interaction> edges_of<double>(const Graph<double>&);
template void replace<float>(Device&, Graph<float>&, const std::vector<Interaction>&);
template void replace<double>(Device&, Graph<double>&, const std::vector<Interaction>&);

}  // namespace bm3
