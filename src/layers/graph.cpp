#include "layers/graph.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace bm3 {
namespace {

/// The arrays of a Graph, on the host.
template <class T>
struct Arrays {
  Arrays(size_t n_users, size_t n_items, std::vector<Interaction> edges, double degree_epsilon) {
    for (const auto& [user, item] : edges)
      if (user < 0 || static_cast<size_t>(user) >= n_users || item < 0 ||
          static_cast<size_t>(item) >= n_items)
        throw Error("interaction (" + std::to_string(user) + ", " + std::to_string(item) +
                    ") lies outside the graph of " + std::to_string(n_users) + " users and " +
                    std::to_string(n_items) + " items");
    const auto place = [](const Interaction& x) { return std::pair(x.user, x.item); };
    std::sort(edges.begin(), edges.end(), [&](const Interaction& a, const Interaction& b) {
      return place(a) < place(b);
    });
    edges.erase(std::unique(edges.begin(), edges.end(),
                            [&](const Interaction& a, const Interaction& b) {
                              return place(a) == place(b);
                            }),
                edges.end());
    begin.resize(n_users + n_items + 1);
    for (const auto& [user, item] : edges) {
      ++begin[static_cast<size_t>(user) + 1];
      ++begin[n_users + static_cast<size_t>(item) + 1];
    }
    scale.resize(n_users + n_items);
    for (size_t r = 0; r < scale.size(); ++r) {
      const auto degree = static_cast<double>(begin[r + 1]);
      if (degree > 0) scale[r] = static_cast<T>(1 / std::sqrt(degree + degree_epsilon));
      begin[r + 1] += begin[r];
    }
    neighbour.resize(2 * edges.size());
    std::vector<int64_t> next = begin;
    for (const auto& [user, item] : edges) {  // in this order each row is ascending
      const size_t u = static_cast<size_t>(user), i = n_users + static_cast<size_t>(item);
      neighbour[static_cast<size_t>(next[u]++)] = static_cast<int32_t>(i);
      neighbour[static_cast<size_t>(next[i]++)] = user;
    }
  }
  std::vector<int64_t> begin;
  std::vector<int32_t> neighbour;
  std::vector<T> scale;
};

}  // namespace

template <class T>
Graph<T> make_graph(Device& device, size_t n_users, size_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon) {
  const Arrays<T> of(n_users, n_items, train, degree_epsilon);
  return {n_users,
          n_items,
          Array<int64_t>(device, of.begin),
          Array<int32_t>(device, of.neighbour),
          Array<T>(device, of.scale),
          degree_epsilon};
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

template <class T>
void replace(Graph<T>& graph, std::vector<Interaction> edges) {
  const Arrays<T> of(graph.n_users, graph.n_items, std::move(edges), graph.degree_epsilon);
  if (of.neighbour.size() != graph.neighbour.size())
    throw Error("a graph of " + std::to_string(graph.neighbour.size() / 2) +
                " edges was given " + std::to_string(of.neighbour.size() / 2));
  graph.begin.upload(of.begin);
  graph.neighbour.upload(of.neighbour);
  graph.scale.upload(of.scale);
}

template Graph<float> make_graph<float>(Device&, size_t, size_t,
                                        const std::vector<Interaction>&, double);
template Graph<double> make_graph<double>(Device&, size_t, size_t,
                                          const std::vector<Interaction>&, double);
template std::vector<Interaction> edges_of<float>(const Graph<float>&);
template std::vector<Interaction> edges_of<double>(const Graph<double>&);
template void replace<float>(Graph<float>&, std::vector<Interaction>);
template void replace<double>(Graph<double>&, std::vector<Interaction>);

}  // namespace bm3
