// Ranking [Eq. 13]: top_k against a full sort by score, equal scores by the lower item number.
#include "backends.h"
#include "layers/graph.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t users, items, n, d, k;
};
constexpr Shape shapes[] = {{1, 1, 1, 1, 1},      {1, 1, 1, 1, 5},        {3, 7, 0, 2, 5},
                            {3, 7, 10, 1, 10},    {20, 100, 129, 3, 20},  {50, 511, 60, 17, 50},
                            {50, 513, 60, 64, 7}, {9, 2000, 300, 8, 50},  {300, 1537, 257, 5, 50},
                            {5, 20011, 20, 2, 50}, {40, 60, 40, 100, 64}, {6, 45, 12, 300, 50},
                            {7, 4096, 9, 4, 64},  {20, 40, 20011, 3, 10}, {1, 1000003, 1, 2, 50},
                            {3, 4, 1000003, 1, 2}};

template <class Backend>
class TopKTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(TopKTest, Backends, BackendName);

/// Whole numbers up to `largest` make exact scores, with many ties where it is small; -1 stands for
/// reals.
template <class T>
std::vector<T> vectors(Random& random, size_t n, int32_t largest) {
  std::vector<T> x = random.numbers<T>(n);
  for (T& value : x)
    if (largest >= 0)
      value = static_cast<T>(random.below(static_cast<size_t>(2 * largest + 1)) - largest);
  return x;
}

/// The order of a full sort, training items left out, -1 where fewer than k are left: exactly, ties
/// by the lower item, where scores are exact; else the j-th of the list is another item, not listed
/// otherwise, only if its score is the j-th best but for rounding.
TYPED_TEST(TopKTest, EqualsAFullSort) {
  using T = typename TypeParam::Real;
  Random random(1);
  size_t ties = 0, missing = 0, wrong = 0;
  for (const auto [users, items, n, d, k] : shapes)
    for (int32_t largest : {-1, 0, 1, 100}) {
      if (this->too_many(n) || this->too_many(items)) continue;
      SCOPED_TRACE(testing::Message() << n << " x " << items << ", d = " << d << ", k = " << k
                                      << ", numbers up to " << largest);
      std::vector<Interaction> train;  // of each user one item in four; of the last one, all
      std::vector<std::vector<bool>> seen(users, std::vector<bool>(items));
      for (size_t u = 0; u < users; ++u)
        for (size_t i = 0; i < items; ++i)
          if ((users > 1 && u == users - 1) || random.below(4) == 0) {
            train.push_back({static_cast<int32_t>(u), static_cast<int32_t>(i)});
            seen[u][i] = true;
          }
      const auto h_u = vectors<T>(random, users * d, largest);
      const auto h_i = vectors<T>(random, items * d, largest);
      const auto list = random.indices(n, users);
      const auto [item] = this->same_bytes([&] {
        const auto graph = make_graph<T>(*this->ops, users, items, train);
        auto to = this->device(std::vector<int32_t>(n * k, 77777));
        this->ops->top_k(to.matrix(n, k), this->device(h_u).matrix(users, d),
                         this->device(h_i).matrix(items, d), this->device(list).rows(), graph);
        return std::tuple(to.host());
      });
      std::vector<int32_t> expected;
      for (size_t r = 0; r < n; ++r) {
        std::vector<Sum> s(items);
        std::vector<int32_t> order;
        auto listed = seen[static_cast<size_t>(list[r])];
        for (size_t i = 0; i < items; ++i) {
          if (!listed[i]) order.push_back(static_cast<int32_t>(i));
          for (size_t c = 0; c < d; ++c)
            s[i] += static_cast<double>(h_u[static_cast<size_t>(list[r]) * d + c]) *
                    static_cast<double>(h_i[i * d + c]);
        }
        const auto score = [&](int32_t i) { return s[static_cast<size_t>(i)]; };
        std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) {
          return score(i).value > score(j).value;
        });
        for (size_t j = 0; j < k; ++j) {
          const int32_t best = j < order.size() ? order[j] : -1, got = item[r * k + j];
          missing += best < 0;
          ties += j > 0 && best >= 0 && score(order[j - 1]).value == score(best).value;
          expected.push_back(best);
          if (largest >= 0 || best < 0 || got < 0 || got >= static_cast<int32_t>(items)) continue;
          const double about = std::max(score(got).magnitude, score(best).magnitude);
          wrong += listed[static_cast<size_t>(got)] ||
                   !(std::abs(score(got).value - score(best).value) <= 2 * rounding<T>(d) * about);
          listed[static_cast<size_t>(got)] = true;
          expected.back() = got;
        }
      }
      EXPECT_SAME(item, expected);
    }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(ties, 1000u);
  EXPECT_GT(missing, 100u);
}

}  // namespace
}  // namespace bm3::test
