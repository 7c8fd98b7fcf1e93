#include "evaluate.h"

#include <cmath>
#include <map>
#include <set>

namespace bm3 {
namespace {

/// The DCG of n hits at ranks 1 .. n, for n up to longest_list.
std::vector<double> ideal_dcg() {
  std::vector<double> ideal(longest_list + 1);
  for (size_t n = 1; n <= longest_list; ++n)
    ideal[n] = ideal[n - 1] + 1 / std::log2(static_cast<double>(n) + 1);
  return ideal;
}

}  // namespace

Array<int32_t> rank_by_popularity(Ops<float>& ops, const Interactions& data,
                                  const Graph<float>& graph) {
  std::vector<float> popularity(graph.n_items);
  for (const auto& [user, item] : data.train) ++popularity[item];
  const Array<float> h_u(ops, std::vector<float>(graph.n_users, 1)), h_i(ops, popularity);
  return rank<float>(ops, h_u.matrix(graph.n_users, 1), h_i.matrix(graph.n_items, 1), graph);
}

template <class T>
Evaluator<T>::Evaluator(Ops<T>& ops, const std::vector<Interaction>& part, const Interactions& all)
    : ops_(ops), ideal_(ops, ideal_dcg()), sums_(ops, n_metrics) {
  std::vector<char> trained(all.n_users);
  for (const auto& [user, item] : all.train) trained[user] = 1;
  std::map<int32_t, std::set<int32_t>> held_out;
  for (const auto& [user, item] : part)
    if (trained[user]) held_out[user].insert(item);
  std::vector<int32_t> users, items;
  std::vector<size_t> begin = {0};
  for (const auto& [user, own] : held_out) {
    users.push_back(user);
    items.insert(items.end(), own.begin(), own.end());
    begin.push_back(items.size());
  }
  user_ = {ops, users};
  item_ = {ops, items};
  begin_ = {ops, begin};
}

template <class T>
Metrics Evaluator<T>::metrics(Matrix<const int32_t> item, size_t first, size_t n) {
  if (n == 0) return {};
  ops_.metrics(sums_.data(), item, {n, user_.data() + first, begin_.data() + first, item_.data()},
               ideal_.data());
  Metrics mean;
  mean.n_users = n;
  const std::vector<double> sums = sums_.host();
  for (size_t m = 0; m < n_metrics; ++m) mean.values[m] = sums[m] / static_cast<double>(n);
  return mean;
}

template <class T>
std::vector<UserMetrics> Evaluator<T>::of_each_user(Matrix<const int32_t> item) {
  const auto users = user_.host();
  const auto begin = begin_.host();
  std::vector<UserMetrics> out;
  for (size_t t = 0; t < users.size(); ++t)
    out.push_back({users[t], begin[t + 1] - begin[t], metrics(item, t, 1).values});
  return out;
}

template class Evaluator<float>;
template class Evaluator<double>;

}  // namespace bm3
