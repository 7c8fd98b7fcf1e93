#include "layers/sparse.h"

#include <algorithm>
#include <cmath>
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

/// The arrays of a Sparse, on the host.
template <class T>
struct Arrays {
  Arrays(size_t n_rows, size_t n_columns, std::vector<Entry> entries) {
    if (entries.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
      throw Error("a sparse matrix of " + std::to_string(entries.size()) +
                  " entries: expected fewer than 2^31");
    for (const Entry& e : entries)
      if (e.row < 0 || static_cast<size_t>(e.row) >= n_rows || e.column < 0 ||
          static_cast<size_t>(e.column) >= n_columns)
        throw Error("entry (" + std::to_string(e.row) + ", " + std::to_string(e.column) +
                    ") lies outside a matrix of " + std::to_string(n_rows) + " rows and " +
                    std::to_string(n_columns) + " columns");
    begin = begins(n_rows, entries, row_of);
    begin_t = begins(n_columns, entries, column_of);
    entries = ordered(ordered(entries, begin_t, column_of), begin, row_of);
    row_t.resize(entries.size());
    entry_t.resize(entries.size());
    std::vector<int32_t> next = begin_t;
    for (size_t k = 0; k < entries.size(); ++k) {
      const Entry& e = entries[k];
      const auto at = static_cast<size_t>(next[static_cast<size_t>(e.column)]++);
      row_t[at] = e.row;
      entry_t[at] = static_cast<int32_t>(k);
      column.push_back(e.column);
      weight.push_back(static_cast<T>(e.weight));
    }
  }
  std::vector<int32_t> begin, column, begin_t, row_t, entry_t;
  std::vector<T> weight;
};

}  // namespace

template <class T>
Sparse<T> make_sparse(Device& device, size_t n_rows, size_t n_columns, std::vector<Entry> entries) {
  const Arrays<T> of(n_rows, n_columns, std::move(entries));
  return {n_rows,
          n_columns,
          Array<int32_t>(device, of.begin),
          Array<int32_t>(device, of.column),
          Array<int32_t>(device, of.begin_t),
          Array<int32_t>(device, of.row_t),
          Array<int32_t>(device, of.entry_t),
          Array<T>(device, of.weight)};
}

template <class T>
void replace(Sparse<T>& S, std::vector<Entry> entries) {
  if (entries.size() != S.size())
    throw Error("a sparse matrix of " + std::to_string(S.size()) + " entries was given " +
                std::to_string(entries.size()));
  const Arrays<T> of(S.n_rows, S.n_columns, std::move(entries));
  S.begin.upload(of.begin);
  S.column.upload(of.column);
  S.begin_t.upload(of.begin_t);
  S.row_t.upload(of.row_t);
  S.entry_t.upload(of.entry_t);
  S.weight.upload(of.weight);
}

std::vector<Entry> adjacency(size_t n_users, size_t n_items,
                             const std::vector<Interaction>& train, Scaling scaling) {
  std::vector<Entry> entries;
  for (const auto& [user, item] : train) {
    const auto node = static_cast<int32_t>(n_users) + item;
    entries.push_back({user, node});
    entries.push_back({node, user});
  }
  const auto place = [](const Entry& e) { return std::pair(e.row, e.column); };
  std::sort(entries.begin(), entries.end(),
            [&](const Entry& a, const Entry& b) { return place(a) < place(b); });
  entries.erase(std::unique(entries.begin(), entries.end(),
                            [&](const Entry& a, const Entry& b) { return place(a) == place(b); }),
                entries.end());
  const bool loops = scaling == Scaling::with_loops;
  std::vector<double> degree(n_users + n_items, loops ? 1 : 0);
  for (const Entry& e : entries) degree.at(static_cast<size_t>(e.row)) += 1;
  for (size_t node = 0; loops && node < degree.size(); ++node)
    entries.push_back({static_cast<int32_t>(node), static_cast<int32_t>(node)});
  for (Entry& e : entries) {
    const double of_row = degree[static_cast<size_t>(e.row)];
    const double of_column = degree[static_cast<size_t>(e.column)];
    e.weight = 1 / (scaling == Scaling::symmetric ? std::sqrt(of_row * of_column) : of_row);
  }
  return entries;
}

template Sparse<float> make_sparse<float>(Device&, size_t, size_t, std::vector<Entry>);
template Sparse<double> make_sparse<double>(Device&, size_t, size_t, std::vector<Entry>);
template void replace<float>(Sparse<float>&, std::vector<Entry>);
template void replace<double>(Sparse<double>&, std::vector<Entry>);

}  // namespace bm3
