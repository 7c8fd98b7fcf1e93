#pragma once
// Ranking and its metrics (paper 4.3). Every user is ranked, all of them in one operation: among
// other rows, a product may round in another order.
#include <array>
#include <string>
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

constexpr size_t at10 = 1, at20 = 2;  // places of two cut-offs
static_assert(cutoff(at10) == 10 && cutoff(at20) == 20);

/// Means of user_metric over the users that were evaluated.
struct Metrics {
  std::array<double, n_metrics> values{};  // in the order of user_metric
  size_t n_users = 0;
  double at(Metric metric, size_t c) const {
    return values[static_cast<size_t>(metric) * n_cutoffs + c];
  }
  double recall(size_t c) const { return at(Metric::recall, c); }
  double ndcg(size_t c) const { return at(Metric::ndcg, c); }
};

/// One user's metrics.
struct UserMetrics {
  int32_t user;
  size_t n_items;  // held out
  std::array<double, n_metrics> values;  // as in user_metric
};

/// Returns the name of the m-th metric: "recall@5".
inline std::string metric_name(size_t m) {
  constexpr const char* names[] = {"recall", "ndcg", "precision", "map"};  // in the order of Metric
  return names[m / n_cutoffs] + ("@" + std::to_string(cutoff(m % n_cutoffs)));
}

/// Returns lists [n_users, k] on the device: for each user the k items with the largest
/// s(u, i) = h_u . h_i [Eq. 13], best first, without the items of the user's training; -1 where
/// there are no more. h_u [n_users, w] and h_i [n_items, w] are on the device.
template <class T>
Array<int32_t> rank(Ops<T>& ops, ConstMatrix<T> h_u, ConstMatrix<T> h_i, const Graph<T>& graph,
                    size_t k = longest_list) {
  Array<int32_t> item(ops, graph.n_users * k);
  ops.top_k(item.matrix(graph.n_users, k), h_u, h_i, {nullptr, graph.n_users}, graph);
  return item;
}

/// Ranks by popularity: the number of an item's training interactions.
Array<int32_t> rank_by_popularity(Ops<float>& ops, const Interactions& data,
                                  const Graph<float>& graph);

/// What was held out in a split, on the device.
template <class T>
class Evaluator {
 public:
  /// Takes the pairs of `part`, the validation or the test split of `all`, without users that the
  /// training lacks: they are not evaluated.
  Evaluator(Ops<T>& ops, const std::vector<Interaction>& part, const Interactions& all);

  size_t n_users() const { return user_.size(); }
  /// Returns the metrics of these users, perhaps none, in the lists item [all.n_users, k] on the
  /// device; blocks.
  Metrics metrics(Matrix<const int32_t> item) { return metrics(item, 0, n_users()); }
  /// Returns each of these users' metrics.
  std::vector<UserMetrics> of_each_user(Matrix<const int32_t> item);

 private:
  /// Returns the metrics of n of the users, from the first-th on.
  Metrics metrics(Matrix<const int32_t> item, size_t first, size_t n);

  Ops<T>& ops_;
  Array<int32_t> user_, item_;  // items of user_[t]: item_[begin_[t]] .. item_[begin_[t + 1]]
  Array<size_t> begin_;
  Array<double> ideal_, sums_;
};

}  // namespace bm3
