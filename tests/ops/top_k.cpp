// Ranking [Eq. 13]: top_k against a full sort by score, equal scores by the lower item number.
#include <numeric>

#include "backends.h"
#include "model/lightgcn.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

template <class Backend>
class TopKTest : public OnBackend<Backend> {
 protected:
  using Real = typename Backend::Real;
  struct Lists {
    std::vector<int32_t> item;
    std::vector<Real> score;
  };
  Lists top_k(const std::vector<Real>& h_u, const std::vector<Real>& h_i,
              const std::vector<int32_t>& users, const Graph<Real>& graph, size_t k, size_t d) {
    const size_t n = users.size();
    auto item = this->device(std::vector<int32_t>(n * k, 77777));
    auto score = this->garbage(n * k);
    const auto on_u = this->device(h_u), on_i = this->device(h_i);
    const auto on_users = this->device(users);
    this->ops->top_k(item.data(), score.data(), on_u.data(), on_i.data(), on_users.data(), graph, k,
                     n, d);
    return {item.host(), score.host()};
  }
};
TYPED_TEST_SUITE(TopKTest, Backends, BackendName);

struct Shape {
  size_t users, items, n, d, k;
};
constexpr Shape shapes[] = {{1, 1, 1, 1, 1},      {1, 1, 1, 1, 5},        {3, 7, 0, 2, 5},
                            {3, 7, 10, 1, 10},    {20, 100, 129, 3, 20},  {50, 511, 60, 17, 50},
                            {50, 513, 60, 64, 7}, {9, 2000, 300, 8, 50},  {300, 1537, 257, 5, 50},
                            {5, 20011, 20, 2, 50}, {40, 60, 40, 100, 64}, {6, 45, 12, 4, 50},
                            {7, 4096, 9, 4, 64},  {20, 40, 20011, 3, 10}, {1, 1000003, 1, 2, 50},
                            {3, 4, 1000003, 1, 2}};

/// Interactions of a user with each item in 1 of `one_in`; the last user has all.
std::vector<Interaction> random_training(Random& random, size_t users, size_t items,
                                         size_t one_in) {
  std::vector<Interaction> train;
  for (size_t u = 0; u < users; ++u)
    for (size_t i = 0; i < items; ++i)
      if ((users > 1 && u == users - 1) || random.below(one_in) == 0)
        train.push_back({static_cast<int32_t>(u), static_cast<int32_t>(i)});
  return train;
}

std::vector<bool> seen_by(int32_t user, size_t items, const std::vector<Interaction>& train) {
  std::vector<bool> seen(items);
  for (const auto& x : train)
    if (x.user == user) seen[static_cast<size_t>(x.item)] = true;
  return seen;
}

/// Whole numbers, so that scores are exact: few of them for massive ties, many for few ties.
template <class T>
std::vector<T> whole_numbers(Random& random, size_t n, int32_t largest) {
  std::vector<T> x(n);
  for (T& value : x)
    value = static_cast<T>(random.below(static_cast<size_t>(2 * largest + 1)) - largest);
  return x;
}

/// Exactly the order of a full sort, training items left out, -1 where fewer than k are left.
TYPED_TEST(TopKTest, EqualsAFullSort) {
  using T = typename TypeParam::Real;
  Random random(1);
  size_t ties = 0, missing = 0;
  for (const auto [users, items, n, d, k] : shapes)
    for (int32_t largest : {0, 1, 100}) {
      if (this->too_many(n) || this->too_many(items)) continue;
      SCOPED_TRACE(testing::Message() << n << " x " << items << ", d = " << d << ", k = " << k
                                      << ", numbers up to " << largest);
      const auto train = random_training(random, users, items, 4);
      const auto graph = make_graph<T>(*this->ops, static_cast<int64_t>(users),
                                       static_cast<int64_t>(items), train);
      const auto h_u = whole_numbers<T>(random, users * d, largest);
      const auto h_i = whole_numbers<T>(random, items * d, largest);
      std::vector<int32_t> list(n), item, all(items);
      std::vector<T> score;
      for (int32_t& user : list) user = random.below(users);
      std::iota(all.begin(), all.end(), 0);
      for (int32_t user : list) {
        const auto seen = seen_by(user, items, train);
        std::vector<T> s(items);
        for (size_t i = 0; i < items; ++i)
          for (size_t c = 0; c < d; ++c)
            s[i] += h_u[static_cast<size_t>(user) * d + c] * h_i[i * d + c];
        std::vector<int32_t> order;
        for (int32_t i : all)
          if (!seen[static_cast<size_t>(i)]) order.push_back(i);
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
          return s[static_cast<size_t>(a)] > s[static_cast<size_t>(b)];
        });
        for (size_t j = 0; j < k; ++j) {
          item.push_back(j < order.size() ? order[j] : -1);
          score.push_back(j < order.size() ? s[static_cast<size_t>(order[j])] : T(0));
          missing += j >= order.size();
          ties += j > 0 && j < order.size() && score[score.size() - 2] == score.back();
        }
      }
      const auto got = this->top_k(h_u, h_i, list, graph, k, d);
      EXPECT_EQ(got.item, item);
      EXPECT_EQ(got.score, score);
    }
  EXPECT_GT(ties, 1000u);
  EXPECT_GT(missing, 100u);
}

/// With real numbers: scores within rounding of h_u . h_i, in descending order, none twice, and no
/// item left out that is better than the last by more than rounding.
TYPED_TEST(TopKTest, RealScores) {
  using T = typename TypeParam::Real;
  Random random(2);
  for (const auto [users, items, n, d, k] : shapes) {
    if (this->too_many(n) || this->too_many(items)) continue;
    SCOPED_TRACE(testing::Message() << n << " x " << items << ", d = " << d << ", k = " << k);
    const auto train = random_training(random, users, items, 10);
    const auto graph = make_graph<T>(*this->ops, static_cast<int64_t>(users),
                                     static_cast<int64_t>(items), train);
    const auto h_u = random.numbers<T>(users * d), h_i = random.numbers<T>(items * d);
    std::vector<int32_t> list(n);
    for (int32_t& user : list) user = random.below(users);
    const auto got = this->top_k(h_u, h_i, list, graph, k, d);
    size_t wrong = 0;
    for (size_t r = 0; r < n; ++r) {
      auto listed = seen_by(list[r], items, train);
      std::vector<Sum> s(items);
      for (size_t i = 0; i < items; ++i)
        for (size_t c = 0; c < d; ++c)
          s[i] += static_cast<double>(h_u[static_cast<size_t>(list[r]) * d + c]) *
                  static_cast<double>(h_i[i * d + c]);
      double last = std::numeric_limits<double>::infinity();
      for (size_t j = 0; j < k; ++j) {
        const int32_t item = got.item[r * k + j];
        const auto score = static_cast<double>(got.score[r * k + j]);
        if (item < 0) {
          last = -std::numeric_limits<double>::infinity();
          continue;
        }
        const auto i = static_cast<size_t>(item);
        wrong += listed[i] || !(score <= last) ||
                 !(std::abs(score - s[i].value) <= rounding<T>(d) * s[i].magnitude);
        listed[i] = true;
        last = score;
      }
      for (size_t i = 0; i < items; ++i)
        wrong += !listed[i] && !(s[i].value <= last + rounding<T>(d) * s[i].magnitude);
    }
    EXPECT_EQ(wrong, 0u);
  }
}

}  // namespace
}  // namespace bm3::test
