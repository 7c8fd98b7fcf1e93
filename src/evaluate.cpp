#include "evaluate.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "error.h"

namespace bm3 {

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
Ranking rank(Ops<T>& ops, const T* h_u, const T* h_i, const std::vector<int32_t>& users,
             const Graph<T>& graph, size_t k, size_t d) {
  const Array<int32_t> rows(ops, users);
  Array<int32_t> item(ops, users.size() * k);
  Array<T> score(ops, users.size() * k);
  ops.top_k(item.data(), score.data(), h_u, h_i, rows.data(), graph, k, users.size(), d);
  const std::vector<T> scores = score.host();
  return {k, users, item.host(), std::vector<float>(scores.begin(), scores.end())};
}

template <class T>
Ranking rank_by_popularity(Ops<T>& ops, const Interactions& data, const std::vector<int32_t>& users,
                           const Graph<T>& graph, size_t k) {
  std::vector<T> popularity(static_cast<size_t>(data.n_items));
  for (const auto& [user, item] : data.train) popularity[static_cast<size_t>(item)] += T(1);
  const Array<T> h_u(ops, std::vector<T>(static_cast<size_t>(data.n_users), T(1)));
  const Array<T> h_i(ops, popularity);
  return rank(ops, h_u.data(), h_i.data(), users, graph, k, 1);
}

Metrics evaluate(const Ranking& ranking, const HeldOut& truth) {
  std::array<double, longest_list + 1> ideal{};  // DCG of n hits at ranks 1 .. n
  for (size_t n = 1; n <= longest_list; ++n)
    ideal[n] = ideal[n - 1] + 1 / std::log2(static_cast<double>(n) + 1);

  Metrics sum;
  sum.n_users = truth.users.size();
  size_t row = 0;
  for (size_t t = 0; t < truth.users.size(); ++t) {
    while (row < ranking.users.size() && ranking.users[row] < truth.users[t]) ++row;
    if (row == ranking.users.size() || ranking.users[row] != truth.users[t])
      throw Error("the ranking lacks user " + std::to_string(truth.users[t]));
    const auto first = truth.items.begin() + static_cast<std::ptrdiff_t>(truth.begin[t]);
    const auto last = truth.items.begin() + static_cast<std::ptrdiff_t>(truth.begin[t + 1]);
    const size_t n = truth.begin[t + 1] - truth.begin[t];
    double hits = 0, dcg = 0, precisions = 0;
    size_t rank = 0;
    for (size_t c = 0; c < cutoffs.size(); ++c) {
      for (; rank < std::min(cutoffs[c], ranking.k); ++rank) {
        if (!std::binary_search(first, last, ranking.item[row * ranking.k + rank])) continue;
        hits += 1;
        dcg += ideal[rank + 1] - ideal[rank];
        precisions += hits / static_cast<double>(rank + 1);
      }
      const size_t best = std::min(n, cutoffs[c]);
      sum.recall[c] += hits / static_cast<double>(n);
      sum.precision[c] += hits / static_cast<double>(cutoffs[c]);
      sum.ndcg[c] += dcg / ideal[best];
      sum.map[c] += precisions / static_cast<double>(best);
    }
  }
  for (auto* values : {&sum.recall, &sum.ndcg, &sum.precision, &sum.map})
    for (double& value : *values)
      value = sum.n_users ? value / static_cast<double>(sum.n_users) : 0.0;
  return sum;
}

template Ranking rank(Ops<float>&, const float*, const float*, const std::vector<int32_t>&,
                      const Graph<float>&, size_t, size_t);
template Ranking rank(Ops<double>&, const double*, const double*, const std::vector<int32_t>&,
                      const Graph<double>&, size_t, size_t);
template Ranking rank_by_popularity(Ops<float>&, const Interactions&, const std::vector<int32_t>&,
                                    const Graph<float>&, size_t);

}  // namespace bm3
