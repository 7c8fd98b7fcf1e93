// Recall, NDCG, Precision and MAP (4.3) against cases worked out by hand.
#include "evaluate.h"

#include "backends.h"
#include "compare.h"
#include "layers/graph.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

constexpr double bound = 1e-15;

void expect_near(const Metrics& got, Metric metric, const std::array<double, 4>& want) {
  for (size_t c = 0; c < 4; ++c)
    EXPECT_TRUE(std::abs(got.at(metric, c) - want[c]) <= bound)
        << metric_name(static_cast<size_t>(metric) * n_cutoffs + c) << ": " << got.at(metric, c)
        << ", expected " << want[c];
}

double gain(int rank) { return 1 / std::log2(rank + 1.0); }

template <class Backend>
class MetricsTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(MetricsTest, Backends, BackendName);

/// Hits at ranks 1, 3, 15 and 50 of five held-out items; one is never found.
///   Recall:    2/5, 2/5, 3/5, 4/5
///   Precision: 2/5, 2/10, 3/20, 4/50
///   NDCG:      (g1 + g3)/G, the same, (g1 + g3 + g15)/G, (g1 + g3 + g15 + g50)/G with g_r =
///              1/log2(r+1): g1 = 1, g3 = 1/2, g15 = 1/4; ideal G = g1 + ... + g5, min(5, K) = 5
///   AP:        Precision at the hits 1/1, 2/3, 3/15, 4/50 over min(5, K) = 5:
///              (1 + 2/3)/5 = 1/3, 1/3, (1 + 2/3 + 1/5)/5 = 28/75, (28/15 + 2/25)/5 = 146/375
TYPED_TEST(MetricsTest, HitsAlongTheList) {
  const Interactions all{8, 300, {{7, 299}}, {{7, 104}, {7, 103}, {7, 100}, {7, 102}, {7, 101}},
                         {}};
  std::vector<int32_t> lists(8 * longest_list, -1);
  int32_t* const list = &lists[7 * longest_list];
  std::iota(list, list + longest_list, 0);
  for (const auto& [rank, item] : {std::pair{1, 100}, {3, 103}, {15, 101}, {50, 104}})
    list[rank - 1] = item;
  const Array<int32_t> item(*this->ops, lists);
  Evaluator<typename TypeParam::Real> valid(*this->ops, all.valid, all);
  const Metrics m = valid.metrics(item.matrix(8, longest_list));
  const double ideal = 1 + gain(2) + 0.5 + gain(4) + gain(5);
  EXPECT_EQ(m.n_users, 1u);
  expect_near(m, Metric::recall, {0.4, 0.4, 0.6, 0.8});
  expect_near(m, Metric::precision, {0.4, 0.2, 0.15, 0.08});
  expect_near(m, Metric::ndcg, {1.5 / ideal, 1.5 / ideal, 1.75 / ideal, (1.75 + gain(50)) / ideal});
  expect_near(m, Metric::map, {1.0 / 3, 1.0 / 3, 28.0 / 75, 146.0 / 375});
}

/// User 1, who does not occur in training, is left out. The same evaluator serves other lists.
TYPED_TEST(MetricsTest, TrainedUsersOnlyAndAnewInEachEpoch) {
  const Interactions all{3, 9, {{0, 1}, {2, 1}}, {{2, 8}, {1, 5}, {0, 3}, {2, 4}}, {}};
  Evaluator<typename TypeParam::Real> valid(*this->ops, all.valid, all);
  EXPECT_EQ(valid.n_users(), 2u);
  const Array<int32_t> right(*this->ops, std::vector<int32_t>{3, 6, 7, 7, 4, 8}),
      wrong(*this->ops, std::vector<int32_t>{6, 5, 5, 5, 7, 8});
  for (int epoch = 0; epoch < 2; ++epoch) {
    expect_near(valid.metrics(right.matrix(3, 2)), Metric::recall, {1, 1, 1, 1});
    expect_near(valid.metrics(wrong.matrix(3, 2)), Metric::recall, {0.25, 0.25, 0.25, 0.25});
  }
}

/// All users' metrics are the means of each user's. Items 0, 1, ... are user 0's list, the same
/// backwards is user 2's.
TYPED_TEST(MetricsTest, AreTheMeansOfEachUsers) {
  const Interactions all{3, 99, {{0, 1}, {2, 1}}, {{1, 5}, {0, 9}, {2, 8}, {2, 70}}, {}};
  std::vector<int32_t> lists(3 * longest_list);
  for (size_t k = 0; k < longest_list; ++k)
    lists[k] = lists[3 * longest_list - 1 - k] = static_cast<int32_t>(k);
  const Array<int32_t> item(*this->ops, lists);
  Evaluator<typename TypeParam::Real> valid(*this->ops, all.valid, all);
  const auto each = valid.of_each_user(item.matrix(3, longest_list));
  const Metrics means = valid.metrics(item.matrix(3, longest_list));
  ASSERT_EQ(each.size(), 2u);
  for (size_t t = 0; t < 2; ++t) {
    EXPECT_EQ(each[t].user, t == 0 ? 0 : 2);
    EXPECT_EQ(each[t].n_items, t + 1);
    EXPECT_EQ(each[t].values[3], t == 0 ? 1 : 0.5);  // Recall@50: at rank 42 of user 2's
  }
  for (size_t m = 0; m < n_metrics; ++m)
    EXPECT_LE(std::abs((each[0].values[m] + each[1].values[m]) / 2 - means.values[m]), bound)
        << metric_name(m);
}

/// The most popular items first, without the user's own.
TEST(Popularity, RanksWithoutTheUsersOwn) {
  const auto ops = make_cpu_ops<float>(1);
  const Interactions data{3, 4, {{0, 2}, {1, 2}, {2, 2}, {0, 1}, {1, 1}, {2, 3}}, {}, {}};
  const auto graph = make_graph<float>(*ops, 3, 4, data.train);
  std::vector<int32_t> expected(3 * longest_list, -1);
  for (const auto& [place, item] : {std::pair<size_t, int32_t>{0, 3}, {1, 0}, {50, 3}, {51, 0},
                                    {100, 1}, {101, 0}})
    expected[place] = item;
  EXPECT_EQ(rank_by_popularity(*ops, data, graph).host(), expected);
}

}  // namespace
}  // namespace bm3::test
