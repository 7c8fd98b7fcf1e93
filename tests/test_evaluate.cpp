// Recall, NDCG, Precision and MAP (4.3) against cases worked out by hand.
#include "evaluate.h"

#include <cmath>
#include <numeric>

#include "backends.h"
#include "error.h"
#include "layers/graph.h"

namespace bm3::test {
namespace {

constexpr double bound = 1e-15;

/// A user's list: item numbers, then -1 up to 50 places.
void add_list(Ranking& ranking, int32_t user, std::vector<int32_t> items) {
  ranking.k = longest_list;
  ranking.users.push_back(user);
  items.resize(longest_list, -1);
  ranking.item.insert(ranking.item.end(), items.begin(), items.end());
}

/// 0, 1, ..., 49, with `hits[k]` = {rank, item} put at their ranks (from 1).
std::vector<int32_t> list_with(const std::vector<std::pair<size_t, int32_t>>& hits) {
  std::vector<int32_t> items(longest_list);
  std::iota(items.begin(), items.end(), 0);
  for (const auto& [rank, item] : hits) items[rank - 1] = item;
  return items;
}

void expect_near(const std::array<double, 4>& got, const std::array<double, 4>& want,
                 const char* what) {
  for (size_t c = 0; c < 4; ++c)
    EXPECT_TRUE(std::abs(got[c] - want[c]) <= bound)
        << what << "@" << cutoffs[c] << ": " << got[c] << ", expected " << want[c];
}

double gain(int rank) { return 1 / std::log2(rank + 1.0); }

template <class Backend>
class MetricsTest : public OnBackend<Backend> {
 protected:
  Metrics evaluate(const Ranking& ranking, const HeldOut& truth) {
    return bm3::evaluate(*this->ops, ranking, truth);
  }
};
TYPED_TEST_SUITE(MetricsTest, Backends, BackendName);

/// Hits at ranks 1, 3, 15 and 50 of five held-out items; one is never found.
///   Recall:    2/5, 2/5, 3/5, 4/5
///   Precision: 2/5, 2/10, 3/20, 4/50
///   NDCG:      (g1 + g3)/G, the same, (g1 + g3 + g15)/G, (g1 + g3 + g15 + g50)/G with g_r =
///              1/log2(r+1): g1 = 1, g3 = 1/2, g15 = 1/4; ideal G = g1 + ... + g5, min(5, K) = 5
///   AP:        Precision at the hits 1/1, 2/3, 3/15, 4/50 over min(5, K) = 5:
///              (1 + 2/3)/5 = 1/3, 1/3, (1 + 2/3 + 1/5)/5 = 28/75, (28/15 + 2/25)/5 = 146/375
TYPED_TEST(MetricsTest, HitsAlongTheList) {
  Ranking ranking;
  add_list(ranking, 7, list_with({{1, 100}, {3, 103}, {15, 101}, {50, 104}}));
  const Metrics m = this->evaluate(ranking, {{7}, {0, 5}, {100, 101, 102, 103, 104}});
  const double ideal = 1 + gain(2) + 0.5 + gain(4) + gain(5);
  EXPECT_EQ(m.n_users, 1u);
  expect_near(m.recall, {0.4, 0.4, 0.6, 0.8}, "Recall");
  expect_near(m.precision, {0.4, 0.2, 0.15, 0.08}, "Precision");
  expect_near(m.ndcg, {1.5 / ideal, 1.5 / ideal, 1.75 / ideal, (1.75 + gain(50)) / ideal}, "NDCG");
  expect_near(m.map, {1.0 / 3, 1.0 / 3, 28.0 / 75, 146.0 / 375}, "MAP");
}

/// Means over users: one with a hit at rank 2, one with none, one with a list of three items only
/// and a hit at rank 3. Users in the ranking alone do not count.
///   Recall (1 + 0 + 1/2)/3 = 1/2;  Precision at K: (1/K + 0 + 1/K)/3
///   NDCG (g2 + 0 + g3/(g1 + g2))/3;  MAP (1/2 + 0 + (1/3)/2)/3 = 2/9
TYPED_TEST(MetricsTest, MeansOverUsersAndShortLists) {
  Ranking ranking;
  add_list(ranking, 1, list_with({{2, 100}}));
  add_list(ranking, 2, list_with({{1, 100}}));
  add_list(ranking, 4, list_with({}));
  add_list(ranking, 5, {8, 9, 100});
  const Metrics m = this->evaluate(ranking, {{1, 4, 5}, {0, 1, 2, 4}, {100, 100, 100, 200}});
  EXPECT_EQ(m.n_users, 3u);
  expect_near(m.recall, {0.5, 0.5, 0.5, 0.5}, "Recall");
  expect_near(m.precision, {2.0 / 15, 2.0 / 30, 2.0 / 60, 2.0 / 150}, "Precision");
  const double ndcg = (gain(2) + 0.5 / (1 + gain(2))) / 3;
  expect_near(m.ndcg, {ndcg, ndcg, ndcg, ndcg}, "NDCG");
  expect_near(m.map, {2.0 / 9, 2.0 / 9, 2.0 / 9, 2.0 / 9}, "MAP");
}

TYPED_TEST(MetricsTest, UsersWithoutAListAreAnErrorAndNobodyIsNone) {
  Ranking ranking;
  add_list(ranking, 1, {});
  EXPECT_THROW(this->evaluate(ranking, {{0}, {0, 1}, {3}}), Error);
  EXPECT_THROW(this->evaluate(ranking, {{2}, {0, 1}, {3}}), Error);
  const Metrics m = this->evaluate({longest_list, {}, {}}, {{}, {0}, {}});
  EXPECT_EQ(m.n_users, 0u);
  expect_near(m.ndcg, {0, 0, 0, 0}, "NDCG");
}

/// Users who do not occur in training are left out; users and their items come in ascending order.
TEST(HeldOutItems, OfTrainedUsersOnly) {
  const Interactions all{4, 9, {{0, 1}, {2, 1}, {3, 0}}, {{2, 8}, {1, 5}, {0, 3}, {2, 4}},
                         {{3, 2}, {1, 1}}};
  const HeldOut valid = held_out(all.valid, all), test = held_out(all.test, all);
  EXPECT_EQ(valid.users, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(valid.begin, (std::vector<size_t>{0, 1, 3}));
  EXPECT_EQ(valid.items, (std::vector<int32_t>{3, 4, 8}));
  EXPECT_EQ(test.users, std::vector<int32_t>{3});
  EXPECT_EQ(users_of(valid, test), (std::vector<int32_t>{0, 2, 3}));
}

template <class Backend>
class RankingTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(RankingTest, Backends, BackendName);

/// Scores to metrics on a case with ties: s(0, i) = 1, 2, 2, 2, 0 and item 1 is in training, so the
/// list is 2, 3, 0, 4; the held-out item 3 stands at rank 2 behind its equal with the lower number.
TYPED_TEST(RankingTest, TiesByLowerItem) {
  using T = typename TypeParam::Real;
  const auto graph = make_graph<T>(*this->ops, 2, 5, {{0, 1}, {1, 0}, {1, 1}, {1, 2}});
  const auto h_u = this->device(std::vector<T>{1, 3});
  const auto h_i = this->device(std::vector<T>{1, 2, 2, 2, 0});
  const Ranking ranking =
      rank<T>(*this->ops, h_u.matrix(2, 1), h_i.matrix(5, 1), {0, 1}, graph, longest_list);
  std::vector<int32_t> expected(2 * longest_list, -1);
  std::copy_n(std::vector<int32_t>{2, 3, 0, 4}.begin(), 4, expected.begin());
  std::copy_n(std::vector<int32_t>{3, 4}.begin(), 2, expected.begin() + longest_list);
  EXPECT_EQ(ranking.item, expected);
  const Metrics m = evaluate(*this->ops, ranking, {{0}, {0, 1}, {3}});
  expect_near(m.recall, {1, 1, 1, 1}, "Recall");
  expect_near(m.map, {0.5, 0.5, 0.5, 0.5}, "MAP");
  expect_near(m.ndcg, {gain(2), gain(2), gain(2), gain(2)}, "NDCG");
}

/// A Ranker and an Evaluator that serve for several epochs: each time the lists and means of that
/// time's scores, which only the sign of h_u tells apart.
TYPED_TEST(RankingTest, AnewInEachEpoch) {
  using T = typename TypeParam::Real;
  const auto graph = make_graph<T>(*this->ops, 3, 4, {{0, 0}, {1, 1}, {2, 2}});
  const auto h_i = this->device(std::vector<T>{1, 2, 3, 4});
  Ranker<T> ranker(*this->ops, graph, {0, 2}, 2);
  Evaluator<T> evaluator(*this->ops, {{2}, {0, 1}, {3}}, ranker.users());
  for (int epoch = 0; epoch < 4; ++epoch) {
    const bool up = epoch % 2 == 0;
    const auto h_u = this->device(std::vector<T>(3, T(up ? 1 : -1)));
    const Matrix<const int32_t> item = ranker.rank(h_u.matrix(3, 1), h_i.matrix(4, 1));
    EXPECT_EQ(evaluator.metrics(item).recall[0], up ? 1 : 0);
    EXPECT_EQ(ranker.lists().item, (up ? std::vector<int32_t>{3, 2, 3, 1}
                                       : std::vector<int32_t>{1, 2, 0, 1}));
  }
}

/// The most popular items first, without the user's own.
TEST(Popularity, RanksWithoutTheUsersOwn) {
  const auto ops = make_cpu_ops<float>(1);
  const Interactions data{3, 4, {{0, 2}, {1, 2}, {2, 2}, {0, 1}, {1, 1}, {2, 3}}, {}, {}};
  const auto graph = make_graph<float>(*ops, 3, 4, data.train);
  const Ranking ranking = rank_by_popularity(*ops, data, {1, 2}, graph, 3);
  EXPECT_EQ(ranking.users, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(ranking.item, (std::vector<int32_t>{3, 0, -1, 1, 0, -1}));
}

}  // namespace
}  // namespace bm3::test
