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

/// Training items of each user, 1 in `one_in`; the last user has all.
class Training {
 public:
  Training(Random& random, size_t users, size_t items, size_t one_in)
      : seen_(users, std::vector<bool>(items)) {
    for (size_t u = 0; u < users; ++u)
      for (size_t i = 0; i < items; ++i)
        if ((users > 1 && u == users - 1) || random.below(one_in) == 0) {
          train.push_back({static_cast<int32_t>(u), static_cast<int32_t>(i)});
          seen_[u][i] = true;
        }
  }
  const std::vector<bool>& of(int32_t user) const { return seen_[static_cast<size_t>(user)]; }
  std::vector<Interaction> train;

 private:
  std::vector<std::vector<bool>> seen_;
};

template <class Backend>
class TopKTest : public OnBackend<Backend> {
 protected:
  using Real = typename Backend::Real;
  /// A case of a shape: users to rank and their lists.
  struct Ranked {
    std::vector<int32_t> list, item;
  };
  Ranked rank(Random& random, const Shape& shape, const Training& training,
              const std::vector<Real>& h_u, const std::vector<Real>& h_i) {
    const auto [users, items, n, d, k] = shape;
    const auto graph = make_graph<Real>(*this->ops, users, items, training.train);
    const auto list = random.indices(n, users);
    auto item = this->device(std::vector<int32_t>(n * k, 77777));
    this->ops->top_k(item.matrix(n, k), this->device(h_u).matrix(users, d),
                     this->device(h_i).matrix(items, d), this->device(list).rows(), graph);
    return {list, item.host()};
  }
  bool too_large(const Shape& shape) const {
    return this->too_many(shape.n) || this->too_many(shape.items);
  }
};
TYPED_TEST_SUITE(TopKTest, Backends, BackendName);

std::string words(const Shape& s) {
  return std::to_string(s.n) + " x " + std::to_string(s.items) + ", d = " + std::to_string(s.d) +
         ", k = " + std::to_string(s.k);
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
  for (const Shape& shape : shapes)
    for (int32_t largest : {0, 1, 100}) {
      if (this->too_large(shape)) continue;
      const auto [users, items, n, d, k] = shape;
      const Training training(random, users, items, 4);
      const auto h_u = whole_numbers<T>(random, users * d, largest);
      const auto h_i = whole_numbers<T>(random, items * d, largest);
      const auto ranked = this->rank(random, shape, training, h_u, h_i);
      std::vector<int32_t> expected;
      std::vector<T> s(items);
      for (int32_t user : ranked.list) {
        std::vector<int32_t> order;
        for (size_t i = 0; i < items; ++i) {
          s[i] = 0;
          for (size_t c = 0; c < d; ++c)
            s[i] += h_u[static_cast<size_t>(user) * d + c] * h_i[i * d + c];
          if (!training.of(user)[i]) order.push_back(static_cast<int32_t>(i));
        }
        const auto score = [&](size_t j) { return s[static_cast<size_t>(order[j])]; };
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
          return s[static_cast<size_t>(a)] > s[static_cast<size_t>(b)];
        });
        for (size_t j = 0; j < k; ++j) {
          expected.push_back(j < order.size() ? order[j] : -1);
          missing += j >= order.size();
          ties += j > 0 && j < order.size() && score(j - 1) == score(j);
        }
      }
      EXPECT_SAME(ranked.item, expected) << words(shape) << ", numbers up to " << largest;
    }
  EXPECT_GT(ties, 1000u);
  EXPECT_GT(missing, 100u);
}

/// With real numbers: h_u . h_i descends but for rounding, no item comes twice, and none is left
/// out that is better than the last by more than rounding.
TYPED_TEST(TopKTest, RealScoresDescend) {
  using T = typename TypeParam::Real;
  Random random(2);
  for (const Shape& shape : shapes) {
    if (this->too_large(shape)) continue;
    const auto [users, items, n, d, k] = shape;
    const Training training(random, users, items, 10);
    const auto h_u = random.numbers<T>(users * d), h_i = random.numbers<T>(items * d);
    const auto ranked = this->rank(random, shape, training, h_u, h_i);
    size_t wrong = 0;
    for (size_t r = 0; r < n; ++r) {
      auto listed = training.of(ranked.list[r]);
      std::vector<Sum> s(items);
      for (size_t i = 0; i < items; ++i)
        for (size_t c = 0; c < d; ++c)
          s[i] += static_cast<double>(h_u[static_cast<size_t>(ranked.list[r]) * d + c]) *
                  static_cast<double>(h_i[i * d + c]);
      const auto above = [&](const Sum& a, const Sum& b) {  // beyond rounding
        return !(a.value - b.value <= rounding<T>(d) * (a.magnitude + b.magnitude));
      };
      Sum last;
      last.value = std::numeric_limits<long double>::infinity();
      for (size_t j = 0; j < k; ++j) {
        const int32_t item = ranked.item[r * k + j];
        const auto i = static_cast<size_t>(item);
        if (item < 0) {
          last.value = -std::numeric_limits<long double>::infinity();
        } else {
          wrong += listed[i] || above(s[i], last);
          listed[i] = true;
          last = s[i];
        }
      }
      for (size_t i = 0; i < items; ++i) wrong += !listed[i] && above(s[i], last);
    }
    EXPECT_EQ(wrong, 0u) << words(shape);
  }
}

}  // namespace
}  // namespace bm3::test
