// Ranking [Eq. 13]: top_k against a full sort by score, equal scores by the lower item number.
#include "backends.h"
#include "layers/graph.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 5> shapes[] = {  // n lists, users, items, d, k
    {1, 1, 1, 1, 1},       {1, 1, 1, 1, 5},        {0, 3, 7, 2, 5},       {10, 3, 7, 1, 10},
    {129, 20, 100, 3, 20}, {60, 50, 511, 17, 50},  {60, 50, 513, 64, 7},  {40, 9, 2000, 8, 50},
    {257, 300, 1537, 5, 5}, {20, 5, 20011, 2, 50}, {40, 40, 60, 100, 64}, {12, 6, 45, 300, 50},
    {9, 7, 4096, 4, 64},   {2051, 20, 40, 3, 10}, {1, 1, 1000003, 2, 50}, {1000003, 3, 4, 1, 2}};

template <class Backend>
class TopKTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(TopKTest, Backends, BackendName);

/// Multiples of `unit` up to `largest` make exact scores, with many ties where it is small; -1
/// stands for reals.
struct Kind {
  int32_t largest;
  double unit;  // a power of two
};
constexpr Kind kinds[] = {{-1, 1}, {1, 1}, {100, 0x1p-26}, {100, 0x1p12}};
template <class T>
std::vector<T> vectors(Random& random, size_t n, const Kind& of) {
  std::vector<T> x = random.numbers<T>(n);
  for (T& value : x)
    if (of.largest >= 0)
      value = static_cast<T>(of.unit) *
              static_cast<T>(random.below(static_cast<size_t>(2 * of.largest + 1)) - of.largest);
  return x;
}

/// None, one in a hundred or one in four items of a user; of several users the last has all.
std::vector<Interaction> random_train(Random& random, size_t users, size_t items) {
  std::vector<Interaction> train;
  for (size_t u = 0; u < users; ++u)
    for (size_t i = 0; i < items; ++i)
      if ((users > 1 && u == users - 1) || (u % 3 > 0 && random.below(u % 3 == 1 ? 100 : 4) == 0))
        train.push_back({static_cast<int32_t>(u), static_cast<int32_t>(i)});
  return train;
}

/// The order of a full sort, training items left out, -1 where fewer than k are left: exactly, ties
/// by the lower item, where scores are exact; else the j-th of the list is another item, not listed
/// otherwise, only if its score is the j-th best but for rounding.
TYPED_TEST(TopKTest, EqualsAFullSort) {
  using T = typename TypeParam::Real;
  Random random(1);
  size_t ties = 0, missing = 0, wrong = 0;
  this->for_each(shapes, [&](size_t n, size_t users, size_t items, size_t d, size_t k) {
    if (items > TypeParam::most_rows) return;
    for (const Kind& kind : kinds) {
      SCOPED_TRACE(testing::Message() << kind.largest << " times " << kind.unit);
      const auto train = random_train(random, users, items);
      const auto h_u = vectors<T>(random, users * d, kind);
      const auto h_i = vectors<T>(random, items * d, kind);
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
        std::vector<bool> listed(items);
        for (const auto& x : train)
          if (x.user == list[r]) listed[static_cast<size_t>(x.item)] = true;
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
          if (kind.largest >= 0 || best < 0 || got < 0 || got >= static_cast<int32_t>(items))
            continue;
          const double about = std::max(score(got).magnitude, score(best).magnitude);
          wrong += listed[static_cast<size_t>(got)] ||
                   !(std::abs(score(got).value - score(best).value) <= 2 * rounding<T>(d) * about);
          listed[static_cast<size_t>(got)] = true;
          expected.back() = got;
        }
      }
      EXPECT_SAME(item, expected);
    }
  });
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(ties, 1000u);
  EXPECT_GT(missing, 100u);
}

}  // namespace
}  // namespace bm3::test
