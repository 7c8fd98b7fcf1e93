#include "layers/sparse.h"

#include <limits>

#include "error.h"

namespace bm3 {
namespace {

/// Where the segments of n keys begin.
template <class Key>
std::vector<int32_t> begins(size_t n, const std::vector<Entry>& entries, const Key& key) {
  std::vector<int32_t> begin(n + 1);
  for (const Entry& e : entries) ++begin[static_cast<size_t>(key(e)) + 1];
  for (size_t k = 0; k < n; ++k) begin[k + 1] += begin[k];
  return begin;
}

/// Returns the entries in the order of their keys, in their old order where these are equal.
template <class Key>
std::vector<Entry> ordered(const std::vector<Entry>& entries, std::vector<int32_t> begin,
                           const Key& key) {
  std::vector<Entry> out(entries.size());
  for (const Entry& e : entries)
    out[static_cast<size_t>(begin[static_cast<size_t>(key(e))]++)] = e;
  return out;
}

int32_t row_of(const Entry& e) { return e.row; }
int32_t column_of(const Entry& e) { return e.column; }

}  // namespace

template <class T>
void replace(Device& device, Sparse<T>& S, std::vector<Entry> entries) {
  if (entries.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    throw Error("a sparse matrix of " + std::to_string(entries.size()) +
                " entries: expected fewer than 2^31");
  if (S.size() > 0 && entries.size() != S.size())
    throw Error("a sparse matrix of " + std::to_string(S.size()) + " entries was given " +
                std::to_string(entries.size()));
  for (const Entry& e : entries)
    if (e.row < 0 || static_cast<size_t>(e.row) >= S.n_rows || e.column < 0 ||
        static_cast<size_t>(e.column) >= S.n_columns)
      throw Error("entry (" + std::to_string(e.row) + ", " + std::to_string(e.column) +
                  ") lies outside a matrix of " + std::to_string(S.n_rows) + " rows and " +
                  std::to_string(S.n_columns) + " columns");
  const auto begin = begins(S.n_rows, entries, row_of);
  const auto begin_t = begins(S.n_columns, entries, column_of);
  entries = ordered(ordered(entries, begin_t, column_of), begin, row_of);
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

template <class T>
Sparse<T> make_sparse(Device& device, size_t n_rows, size_t n_columns, std::vector<Entry> entries) {
  Sparse<T> S{n_rows, n_columns, {}, {}, {}, {}, {}, {}};
  replace(device, S, std::move(entries));
  return S;
}

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

template Sparse<float> adjacency<float>(Device&, const Graph<float>&, Scaling);
template Sparse<double> adjacency<double>(Device&, const Graph<double>&, Scaling);
template Sparse<float> make_sparse<float>(Device&, size_t, size_t, std::vector<Entry>);
template Sparse<double> make_sparse<double>(Device&, size_t, size_t, std::vector<Entry>);
template void replace<float>(Device&, Sparse<float>&, std::vector<Entry>);
template void replace<double>(Device&, Sparse<double>&, std::vector<Entry>);

}  // namespace bm3
