#pragma once
// Ranking and its metrics (paper 4.3): what an epoch's evaluation holds on the device.
#include <array>
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

constexpr std::array<size_t, n_cutoffs> cutoffs{cutoff(0), cutoff(1), cutoff(2), cutoff(3)};  // K
constexpr size_t at10 = 1, at20 = 2;  // places of two cut-offs
static_assert(cutoffs[at10] == 10 && cutoffs[at20] == 20);

/// Means of user_metric over the users that were evaluated, one per cut-off.
struct Metrics {
  std::array<double, cutoffs.size()> recall{}, ndcg{}, precision{}, map{};
  size_t n_users = 0;
  bool operator==(const Metrics& o) const {
    return recall == o.recall && ndcg == o.ndcg && precision == o.precision && map == o.map &&
           n_users == o.n_users;
  }
};

struct NamedMetric {
  const char* name;
  std::array<double, cutoffs.size()> Metrics::*values;
};
constexpr NamedMetric named_metrics[] = {{"recall", &Metrics::recall},
                                         {"ndcg", &Metrics::ndcg},
                                         {"precision", &Metrics::precision},
                                         {"map", &Metrics::map}};

/// Ranked lists on the host: for users[r], item[r * k + 0 .. k) best first, -1 where there are no
/// more.
struct Ranking {
  size_t k = 0;
  std::vector<int32_t> users, item;
};

/// Held-out items by user: those of users[t] are items[begin[t]] .. items[begin[t + 1]], both
/// ascending.
struct HeldOut {
  std::vector<int32_t> users;
  std::vector<size_t> begin;  // [users + 1]
  std::vector<int32_t> items;
};

/// Returns the pairs of `part`, the validation or the test split of `all`, without users that the
/// training lacks: they are not evaluated.
HeldOut held_out(const std::vector<Interaction>& part, const Interactions& all);

/// Returns the users that are in one of the two, ascending.
std::vector<int32_t> users_of(const HeldOut& a, const HeldOut& b);

/// Ranks the same users after every epoch; its memory on the device is taken once.
template <class T>
class Ranker {
 public:
  Ranker(Ops<T>& ops, const Graph<T>& graph, const std::vector<int32_t>& users, size_t k);

  /// Returns item [users, k] on the device, until the next call: for each user the k items with the
  /// largest s(u, i) = h_u . h_i [Eq. 13], without the items of the user's training. h_u
  /// [n_users, w] and h_i [n_items, w] are on the device.
  Matrix<const int32_t> rank(ConstMatrix<T> h_u, ConstMatrix<T> h_i);
  /// Returns the last lists on the host.
  Ranking lists() const;
  const std::vector<int32_t>& users() const { return users_; }

 private:
  Ops<T>& ops_;
  const Graph<T>& graph_;
  std::vector<int32_t> users_;
  size_t k_;
  Array<int32_t> rows_, item_;
};

/// Ranks once.
template <class T>
Ranking rank(Ops<T>& ops, ConstMatrix<T> h_u, ConstMatrix<T> h_i, const std::vector<int32_t>& users,
             const Graph<T>& graph, size_t k) {
  Ranker<T> ranker(ops, graph, users, k);
  ranker.rank(h_u, h_i);
  return ranker.lists();
}

/// Ranks by popularity: the number of an item's training interactions.
template <class T>
Ranking rank_by_popularity(Ops<T>& ops, const Interactions& data, const std::vector<int32_t>& users,
                           const Graph<T>& graph, size_t k);

/// What was held out, on the device, beside the lists that it is compared with.
template <class T>
class Evaluator {
 public:
  /// Takes lists of the users `ranked`, ascending. Throws when one of `truth` is not among them.
  Evaluator(Ops<T>& ops, const HeldOut& truth, const std::vector<int32_t>& ranked);

  /// Returns the metrics of the users of `truth` for item [ranked, k] on the device; blocks.
  Metrics metrics(Matrix<const int32_t> item);

 private:
  Ops<T>& ops_;
  size_t n_users_;
  Array<int32_t> row_, item_;
  Array<size_t> begin_;
  Array<double> ideal_, sums_;
};

/// Returns the metrics of lists on the host.
template <class T>
Metrics evaluate(Ops<T>& ops, const Ranking& ranking, const HeldOut& truth);

}  // namespace bm3
