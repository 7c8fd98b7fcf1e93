// Ranking [Eq. 13]: top_k against a full sort by score, equal scores by the lower item number; and
// sums of the metrics of ranked lists (4.3), against a plain loop.
#include "backends.h"
#include "compare.h"
#include "layers/graph.h"
#include "random_inputs.h"

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
            s[i] += double{h_u[static_cast<size_t>(list[r]) * d + c]} * h_i[i * d + c];
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

double gain(size_t rank) { return 1 / std::log2(static_cast<double>(rank) + 1); }

constexpr std::array<size_t, 3> of_lists[] = {  // n, lists, k
    {0, 3, 50},     {1, 1, 1},         {1, 2, 50},         {5, 9, 7},
    {257, 300, 20}, {1025, 1025, 100}, {20011, 20500, 50}, {1000003, 1000, 9}};

/// Lists and held-out items of random lengths, both below 80 so that hits are many.
struct RandomCase {
  std::vector<std::vector<int32_t>> lists, held_out;
  std::vector<int32_t> row;

  RandomCase(Random& random, size_t n, size_t n_lists, size_t k) {
    for (size_t r = 0; r < n_lists; ++r) {
      lists.push_back(random.distinct_rows(k, 80));
      const auto length = static_cast<size_t>(random.below(k + 1));
      if (random.below(3) == 0) std::fill_n(lists[r].begin() + length, k - length, -1);
    }
    for (size_t t = 0; t < n; ++t) {
      const bool shared = n_lists < n;
      row.push_back(shared ? random.below(n_lists)
                           : static_cast<int32_t>(t) + random.below(n_lists - n + 1));
      std::vector<int32_t> items;
      if (!shared) items = random.distinct_rows(80, 80);
      items.resize(static_cast<size_t>(1 + random.below(random.below(4) == 0 ? 75 : 2)), -1);
      items.erase(std::remove(items.begin(), items.end(), -1), items.end());
      if (items.empty()) items.push_back(random.below(80));
      std::sort(items.begin(), items.end());
      held_out.push_back(items);
    }
  }
};

/// A user's Recall, NDCG, Precision and AP at each K, added to the sums [4, 4].
void add_user(std::vector<Sum>& sums, const std::vector<int32_t>& list,
              const std::vector<int32_t>& held_out) {
  const size_t K[] = {5, 10, 20, 50}, n = held_out.size();
  for (size_t c = 0; c < 4; ++c) {
    double hits = 0, dcg = 0, ideal = 0, precisions = 0;
    for (size_t r = 1; r <= K[c] && r <= list.size(); ++r)
      if (std::count(held_out.begin(), held_out.end(), list[r - 1])) {
        dcg += gain(r);
        precisions += ++hits / static_cast<double>(r);
      }
    for (size_t r = 1; r <= std::min(n, K[c]); ++r) ideal += gain(r);
    sums[c] += hits / static_cast<double>(n);
    sums[4 + c] += dcg / ideal;
    sums[8 + c] += hits / static_cast<double>(K[c]);
    sums[12 + c] += precisions / static_cast<double>(std::min(n, K[c]));
  }
}

template <class Backend>
class MetricsTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(MetricsTest, Backends, BackendName);

/// Users who share a list, lists without users, held-out items beyond K.
TYPED_TEST(MetricsTest, SumsArePlainLoops) {
  Random random(1);
  std::vector<double> table = {0};
  for (size_t r = 1; r <= 50; ++r) table.push_back(table.back() + gain(r));
  this->for_each(of_lists, [&](size_t n, size_t lists, size_t k) {
    const RandomCase of(random, n, lists, k);
    std::vector<int32_t> all_lists, all_items;
    std::vector<size_t> begin = {0};
    std::vector<Sum> expected(16);
    for (const auto& list : of.lists) all_lists.insert(all_lists.end(), list.begin(), list.end());
    for (size_t t = 0; t < n; ++t) {
      all_items.insert(all_items.end(), of.held_out[t].begin(), of.held_out[t].end());
      begin.push_back(all_items.size());
      add_user(expected, of.lists[static_cast<size_t>(of.row[t])], of.held_out[t]);
    }
    const auto [sums] = this->same_bytes([&] {
      const auto ideal = this->device(table);
      const auto list = this->device(all_lists), item = this->device(all_items);
      const auto row = this->device(of.row);
      const auto on_begin = this->device(begin);
      const Truth truth{n, row.data(), on_begin.data(), item.data()};
      auto to = this->device(std::vector<double>(16, std::nan("")));
      this->ops->metrics(to.data(), list.matrix(lists, k), truth, ideal.data());
      return std::tuple(to.host());
    });
    EXPECT_SUMS(sums, expected, n + 50);
    EXPECT_TRUE(n < 5 || expected[0].value > 0);
  });
}

}  // namespace
}  // namespace bm3::test
