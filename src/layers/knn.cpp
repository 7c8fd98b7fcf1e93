#include "layers/knn.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>

namespace bm3 {

namespace {

/// Rows that are the same to the last bit, in groups by their first.
struct Groups {
  template <class T>
  Groups(const std::vector<T>& x, size_t n) : of(n) {
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

}  // namespace

// Products of the same rows may round in different ways, so that ties are found before them.
template <class T>
std::vector<int32_t> nearest_rows(Ops<T>& ops, ConstMatrix<T> x, size_t k) {
  Table<T> unit(ops, x.rows, x.cols);
  ops.normalise_forward(unit, x);
  const Groups groups(unit.memory.host(), x.rows);
  const size_t n = groups.first.size(), n_lists = std::min(k, n);
  const Array<int32_t> first(ops, groups.first);
  const Graph<T> none{n, n, Array<int64_t>(ops, 2 * n + 1), Array<int32_t>(ops, 0),
                      Array<T>(ops, 2 * n)};
  Table<T> distinct(ops, n, x.cols);
  Table<int32_t> lists(ops, n, n_lists);
  ops.gather_rows(distinct, unit, first.rows());
  ops.top_k(lists, distinct, distinct, {nullptr, n}, none);
  const std::vector<int32_t> of_groups = lists.memory.host();
  std::vector<int32_t> out;
  for (size_t r = 0; r < x.rows; ++r) {
    const size_t end = out.size() + std::min(k, x.rows);
    for (size_t j = 0; out.size() < end; ++j)
      for (int32_t row : groups.members[static_cast<size_t>(of_groups[groups.of[r] * n_lists + j])])
        if (out.size() < end) out.push_back(row);
  }
  return out;
}

std::vector<Entry> entries_of(const std::vector<int32_t>& lists, size_t n) {
  std::vector<Entry> out;
  for (size_t e = 0; e < lists.size(); ++e)
    out.push_back({static_cast<int32_t>(e / (lists.size() / n)), lists[e], 0});
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.row, a.column) < std::pair(b.row, b.column);
  });
  return out;
}

template <class T>
std::vector<Entry> alike(Ops<T>& ops, const std::vector<Features<T>>& e,
                         const std::vector<double>& alpha, size_t k, double epsilon) {
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

template std::vector<int32_t> nearest_rows<float>(Ops<float>&, ConstMatrix<float>, size_t);
template std::vector<int32_t> nearest_rows<double>(Ops<double>&, ConstMatrix<double>, size_t);
template std::vector<Entry> alike<float>(Ops<float>&, const std::vector<Features<float>>&,
                                         const std::vector<double>&, size_t, double);
template std::vector<Entry> alike<double>(Ops<double>&, const std::vector<Features<double>>&,
                                          const std::vector<double>&, size_t, double);

}  // namespace bm3
