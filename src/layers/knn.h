#pragma once
// Graphs of items that look alike, by the cosines of their features.
#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "layers/parameters.h"
#include "layers/sparse.h"

namespace bm3 {

/// Groups of rows that are equal to the last bit, in the order of their first rows.
struct EqualRows {
  template <class T>
  EqualRows(const std::vector<T>& x, size_t n) : of(n) {
    std::unordered_map<std::string_view, size_t> known;
    const size_t bytes = x.size() / n * sizeof(T);
    for (size_t r = 0; r < n; ++r) {
      const std::string_view row(reinterpret_cast<const char*>(x.data()) + r * bytes, bytes);
      of[r] = known.emplace(row, first.size()).first->second;
      if (of[r] == first.size()) {
        first.push_back(static_cast<int32_t>(r));
        members.emplace_back();
      }
      members[of[r]].push_back(static_cast<int32_t>(r));
    }
  }
  std::vector<size_t> of;                     // [n] each row's group
  std::vector<int32_t> first;                 // of each group
  std::vector<std::vector<int32_t>> members;  // likewise, ascending
};

/// Returns lists [n, min(k, n)]: for each row of x [n, d] the k rows with the largest cosines, best
/// first. Rows whose directions are equal to the last bit stand by their numbers. A row is in its
/// own list unless k such rows come before it, or it is 0: then the lowest numbers may be. Needs
/// memory for two copies of x; blocks. Products of equal rows may round differently, so equal rows
/// are grouped before.
template <class T>
std::vector<int32_t> nearest_rows(Ops<T>& ops, ConstMatrix<T> x, size_t k) {
  Table<T> unit(ops, x.rows, x.cols);
  ops.normalise_forward(unit, x);
  const EqualRows groups(unit.memory.host(), x.rows);
  const size_t n = groups.first.size(), n_lists = std::min(k, n);
  const Array<int32_t> first(ops, groups.first);
  const Graph<T> none{n, n, {ops, 2 * n + 1}, {ops, 0}, {ops, 2 * n}};
  Table<T> distinct(ops, n, x.cols);
  Table<int32_t> lists(ops, n, n_lists);
  ops.gather_rows(distinct, unit, first.rows());
  ops.top_k(lists, distinct, distinct, {nullptr, n}, none);
  const std::vector<int32_t> of_groups = lists.memory.host();
  std::vector<int32_t> out;
  for (size_t r = 0; r < x.rows; ++r) {
    const size_t end = out.size() + std::min(k, x.rows);
    for (size_t j = 0; out.size() < end; ++j) {
      const int32_t group = of_groups[groups.of[r] * n_lists + j % n_lists];
      // A list is short where numbers are not finite: such a row is its own neighbour.
      for (int32_t row : groups.members[group < 0 ? groups.of[r] : static_cast<size_t>(group)])
        if (out.size() < end) out.push_back(row);
    }
  }
  return out;
}

/// Returns entries of weight 0 [n, n], by row, then by column: row i has the columns lists[i].
inline std::vector<Entry> entries_of(const std::vector<int32_t>& lists, size_t n) {
  std::vector<Entry> out;
  for (size_t e = 0; e < lists.size(); ++e)
    out.push_back({static_cast<int32_t>(e / (lists.size() / n)), lists[e], 0});
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.row, a.column) < std::pair(b.row, b.column);
  });
  return out;
}

/// Sets the weight of each entry (i, j) of K to x_i . x_j, the cosine where rows have length 1.
template <class T>
void weigh_by_products(Ops<T>& ops, Sparse<T>& K, ConstMatrix<T> x) {
  ops.zero(K.weights());
  ops.edge_dot(K.weights(), x, x, K.rows());
}

/// Returns the entries of sum_m alpha_m G_m [n_items, n_items]. G_m joins each item to the k items
/// nearest by e_m; each of its entries is 1/sqrt(r_i r_j), where r is a row's number of entries, k,
/// plus `epsilon`. Rows sum to 1 where the alpha_m do and epsilon is 0.
template <class T>
std::vector<Entry> alike(Ops<T>& ops, const std::vector<Features<T>>& e,
                         const std::vector<double>& alpha, size_t k, double epsilon = 0) {
  std::vector<std::map<int32_t, double>> rows;
  for (size_t m = 0; m < e.size(); ++m) {
    const auto lists = nearest_rows<T>(ops, e[m].value, k);
    rows.resize(e[m].value.rows);
    const size_t count = lists.size() / rows.size();
    for (size_t at = 0; at < lists.size(); ++at)
      rows[at / count][lists[at]] += alpha[m] / (static_cast<double>(count) + epsilon);
  }
  std::vector<Entry> out;
  for (size_t i = 0; i < rows.size(); ++i)
    for (const auto& [j, weight] : rows[i]) out.push_back({static_cast<int32_t>(i), j, weight});
  return out;
}

}  // namespace bm3
