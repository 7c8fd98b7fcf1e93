#include "layers/graph.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace bm3 {

template <class T>
Graph<T> make_graph(Device& device, size_t n_users, size_t n_items,
                    const std::vector<Interaction>& train, double degree_epsilon) {
  const size_t n_nodes = n_users + n_items;
  std::vector<std::vector<int32_t>> neighbours(n_nodes);
  for (const auto& [user, item] : train) {
    const auto u = static_cast<size_t>(user), i = static_cast<size_t>(item);
    if (user < 0 || u >= n_users || item < 0 || i >= n_items)
      throw Error("interaction (" + std::to_string(user) + ", " + std::to_string(item) +
                  ") lies outside the graph of " + std::to_string(n_users) + " users and " +
                  std::to_string(n_items) + " items");
    neighbours[u].push_back(static_cast<int32_t>(n_users + i));
    neighbours[n_users + i].push_back(user);
  }
  std::vector<int64_t> begin(n_nodes + 1);
  std::vector<int32_t> neighbour;
  neighbour.reserve(2 * train.size());
  std::vector<T> scale(n_nodes);
  for (size_t r = 0; r < n_nodes; ++r) {
    auto& row = neighbours[r];
    std::sort(row.begin(), row.end());
    row.erase(std::unique(row.begin(), row.end()), row.end());
    neighbour.insert(neighbour.end(), row.begin(), row.end());
    begin[r + 1] = static_cast<int64_t>(neighbour.size());
    if (!row.empty())
      scale[r] = static_cast<T>(1 / std::sqrt(static_cast<double>(row.size()) + degree_epsilon));
  }
  return {n_users, n_items, Array<int64_t>(device, begin), Array<int32_t>(device, neighbour),
          Array<T>(device, scale)};
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

}  // namespace bm3
