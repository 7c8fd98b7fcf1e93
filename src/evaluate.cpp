#include "evaluate.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "error.h"

namespace bm3 {
namespace {

/// Where each of `users` stands among `ranked`; both ascending.
std::vector<int32_t> rows_of(const std::vector<int32_t>& users,
                             const std::vector<int32_t>& ranked) {
  std::vector<int32_t> rows;
  for (int32_t user : users) {
    const auto at = std::lower_bound(ranked.begin(), ranked.end(), user);
    if (at == ranked.end() || *at != user)
      throw Error("the ranking lacks user " + std::to_string(user));
    rows.push_back(static_cast<int32_t>(at - ranked.begin()));
  }
  return rows;
}

/// The DCG of n hits at ranks 1 .. n, for n up to longest_list.
std::vector<double> ideal_dcg() {
  std::vector<double> ideal(longest_list + 1);
  for (size_t n = 1; n <= longest_list; ++n)
    ideal[n] = ideal[n - 1] + 1 / std::log2(static_cast<double>(n) + 1);
  return ideal;
}

}  // namespace

HeldOut held_out(const std::vector<Interaction>& part, const Interactions& all) {
  std::vector<char> trained(static_cast<size_t>(all.n_users));
  for (const auto& [user, item] : all.train) trained[static_cast<size_t>(user)] = 1;
  std::vector<Interaction> kept;
  for (const Interaction& x : part)
    if (trained[static_cast<size_t>(x.user)]) kept.push_back(x);
  std::sort(kept.begin(), kept.end(), [](const Interaction& a, const Interaction& b) {
    return a.user != b.user ? a.user < b.user : a.item < b.item;
  });
  HeldOut out;
  for (const auto& [user, item] : kept) {
    if (out.users.empty() || out.users.back() != user) {
      out.users.push_back(user);
      out.begin.push_back(out.items.size());
    }
    out.items.push_back(item);
  }
  out.begin.push_back(out.items.size());
  return out;
}

std::vector<int32_t> users_of(const HeldOut& a, const HeldOut& b) {
  std::vector<int32_t> users;
  std::set_union(a.users.begin(), a.users.end(), b.users.begin(), b.users.end(),
                 std::back_inserter(users));
  return users;
}

template <class T>
Ranker<T>::Ranker(Ops<T>& ops, const Graph<T>& graph, const std::vector<int32_t>& users, size_t k)
    : ops_(ops),
      graph_(graph),
      users_(users),
      k_(k),
      rows_(ops, users),
      item_(ops, users.size() * k) {}

template <class T>
Matrix<const int32_t> Ranker<T>::rank(ConstMatrix<T> h_u, ConstMatrix<T> h_i) {
  const Matrix<int32_t> item = item_.matrix(users_.size(), k_);
  ops_.top_k(item, h_u, h_i, rows_.rows(), graph_);
  return item;
}

template <class T>
Ranking Ranker<T>::lists() const {
  return {k_, users_, item_.host()};
}

template <class T>
Ranking rank_by_popularity(Ops<T>& ops, const Interactions& data, const std::vector<int32_t>& users,
                           const Graph<T>& graph, size_t k) {
  std::vector<T> popularity(graph.n_items);
  for (const auto& [user, item] : data.train) popularity[static_cast<size_t>(item)] += T(1);
  const Array<T> h_u(ops, std::vector<T>(graph.n_users, T(1))), h_i(ops, popularity);
  return rank<T>(ops, h_u.matrix(graph.n_users, 1), h_i.matrix(graph.n_items, 1), users, graph, k);
}

template <class T>
Evaluator<T>::Evaluator(Ops<T>& ops, const HeldOut& truth, const std::vector<int32_t>& ranked)
    : ops_(ops),
      n_users_(truth.users.size()),
      row_(ops, rows_of(truth.users, ranked)),
      item_(ops, truth.items),
      begin_(ops, truth.begin),
      ideal_(ops, ideal_dcg()),
      sums_(ops, n_metrics) {}

template <class T>
Metrics Evaluator<T>::metrics(Matrix<const int32_t> item) {
  ops_.metrics(sums_.data(), item, {n_users_, row_.data(), begin_.data(), item_.data()},
               ideal_.data());
  Metrics mean;
  mean.n_users = n_users_;
  const std::vector<double> sums = sums_.host();
  size_t at = 0;
  for (auto* values : {&mean.recall, &mean.ndcg, &mean.precision, &mean.map})  // as in Metric
    for (double& value : *values)
      value = sums[at++] / static_cast<double>(std::max<size_t>(n_users_, 1));
  return mean;
}

template <class T>
Metrics evaluate(Ops<T>& ops, const Ranking& ranking, const HeldOut& truth) {
  const Array<int32_t> item(ops, ranking.item);
  return Evaluator<T>(ops, truth, ranking.users)
      .metrics(item.matrix(ranking.users.size(), ranking.k));
}

template class Ranker<float>;
template class Ranker<double>;
template class Evaluator<float>;
template class Evaluator<double>;
template Ranking rank_by_popularity(Ops<float>&, const Interactions&, const std::vector<int32_t>&,
                                    const Graph<float>&, size_t);
template Metrics evaluate(Ops<float>&, const Ranking&, const HeldOut&);
template Metrics evaluate(Ops<double>&, const Ranking&, const HeldOut&);

}  // namespace bm3
