#pragma once
// Ranking metrics, as the paper's protocol (4.3) and the released code compute them.
#include <array>
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

constexpr std::array<size_t, 4> cutoffs{5, 10, 20, 50};  // K
constexpr size_t longest_list = cutoffs.back();
constexpr size_t at10 = 1, at20 = 2;  // places of two cut-offs
static_assert(cutoffs[at10] == 10 && cutoffs[at20] == 20);

/// Means over the users that were evaluated, one per cut-off.
struct Metrics {
  std::array<double, cutoffs.size()> recall{}, ndcg{}, precision{}, map{};
  size_t n_users = 0;
  bool operator==(const Metrics& o) const {
    return recall == o.recall && ndcg == o.ndcg && precision == o.precision && map == o.map &&
           n_users == o.n_users;
  }
};

/// Ranked lists: for users[r], item[r * k + 0 .. k) best first, -1 where there are no more.
struct Ranking {
  size_t k = 0;
  std::vector<int32_t> users, item;
  std::vector<float> score;
};

/// Held-out items by user: those of users[t] are items[begin[t]] .. items[begin[t + 1]], both
/// ascending.
struct HeldOut {
  std::vector<int32_t> users;
  std::vector<size_t> begin;  // [users + 1]
  std::vector<int32_t> items;
};

/// The pairs of `part`, the validation or the test split of `all`, without users that the training
/// lacks: they are not evaluated.
HeldOut held_out(const std::vector<Interaction>& part, const Interactions& all);

/// Users that are in one of the two, ascending.
std::vector<int32_t> users_of(const HeldOut& a, const HeldOut& b);

/// The k items with the largest s(u, i) = h~_u . h~_i [Eq. 13] for each of `users`, without the
/// items of the user's training. h_u [n_users, d] and h_i [n_items, d] are on the device, and so is
/// `users`' memory taken and released here.
template <class T>
Ranking rank(Ops<T>& ops, const T* h_u, const T* h_i, const std::vector<int32_t>& users,
             const Graph<T>& graph, size_t k, size_t d);

/// The same for ranking by popularity: the number of an item's training interactions.
template <class T>
Ranking rank_by_popularity(Ops<T>& ops, const Interactions& data, const std::vector<int32_t>& users,
                           const Graph<T>& graph, size_t k);

/// Metrics of the users of `truth`, each of whom must be among ranking.users (ascending):
///   Recall@K = hits / held-out;  Precision@K = hits / K;
///   NDCG@K = sum over hits at rank r of 1/log2(r+1), over the same sum for min(held-out, K) hits;
///   MAP@K: mean of (sum over hits at rank r of Precision@r) / min(held-out, K).
Metrics evaluate(const Ranking& ranking, const HeldOut& truth);

}  // namespace bm3
