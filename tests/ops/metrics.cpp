// Sums of the metrics of ranked lists (4.3), against a plain loop.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

double gain(size_t rank) { return 1 / std::log2(static_cast<double>(rank) + 1); }

constexpr std::array<size_t, 3> shapes[] = {  // n, lists, k
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
  this->for_each(shapes, [&](size_t n, size_t lists, size_t k) {
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
