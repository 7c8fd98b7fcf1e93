// Batches: distinct rows in the order of first occurrence, groups of pairs, padding.
#include "model/batch.h"

#include "backends.h"
#include "ops/cpu/cpu_ops.h"
#include "random.h"

namespace bm3::test {
namespace {

class PaddedOps : public CpuOps<double> {
 public:
  explicit PaddedOps(size_t padding) : CpuOps<double>(1), padding_(padding) {}
  size_t row_padding() const override { return padding_; }

 private:
  size_t padding_;
};

std::vector<int32_t> numbers(Device& device, const int32_t* from, size_t n) {
  std::vector<int32_t> out(n);
  if (n) device.download(out.data(), from, n * sizeof(int32_t));
  return out;
}

/// Users 4, 2, 4, 4 with items 1, 3, 3, 1: rows (4, 2) and (1, 3); as nodes, items come after the 6
/// users.
TEST(Batches, ByHand) {
  PaddedOps ops(8);
  BatchLoader loader(ops, 6, 5, 10);
  EXPECT_EQ(loader.max_users(), 8u);
  EXPECT_EQ(loader.max_items(), 8u);
  const std::vector<Interaction> pairs = {{4, 1}, {2, 3}, {4, 3}, {4, 1}};
  for (int time = 0; time < 2; ++time) {  // the second batch finds nothing of the first
    const Batch b = loader.load(pairs.data(), pairs.size());
    EXPECT_EQ(b.size, 4u);
    EXPECT_EQ(b.n_users, 8u);
    EXPECT_EQ(b.n_items, 8u);
    EXPECT_EQ(numbers(ops, b.users, 8), (std::vector<int32_t>{4, 2, -1, -1, -1, -1, -1, -1}));
    EXPECT_EQ(numbers(ops, b.items, 8), (std::vector<int32_t>{1, 3, -1, -1, -1, -1, -1, -1}));
    EXPECT_EQ(numbers(ops, b.nodes_of_items, 8),
              (std::vector<int32_t>{7, 9, -1, -1, -1, -1, -1, -1}));
    EXPECT_EQ(b.nodes_of_items, b.users + b.n_users);
    EXPECT_EQ(numbers(ops, b.by_user.begin, 9), (std::vector<int32_t>{0, 3, 4, 4, 4, 4, 4, 4, 4}));
    EXPECT_EQ(numbers(ops, b.by_user.target, 4), (std::vector<int32_t>{0, 1, 0, 1}));
    EXPECT_EQ(numbers(ops, b.by_item.begin, 9), (std::vector<int32_t>{0, 2, 4, 4, 4, 4, 4, 4, 4}));
    EXPECT_EQ(numbers(ops, b.by_item.target, 4), (std::vector<int32_t>{0, 0, 1, 0}));
    // In the second batch, the row of item 3, which is the only item of the one before.
    EXPECT_EQ(numbers(ops, b.carried, 8),
              (std::vector<int32_t>{time == 0 ? -1 : 1, -1, -1, -1, -1, -1, -1, -1}));
    loader.load(pairs.data() + 1, 2);
  }
}

/// The rows' numbers and groups give back the pairs, for random batches of all sizes.
TEST(Batches, HoldTheirPairs) {
  Random random(1);
  size_t batches = 0;
  for (size_t padding : {1, 8, 32})
    for (const auto [users, items, most] : {std::array<size_t, 3>{1, 1, 3}, {5, 300, 40},
                                            {300, 5, 40}, {70, 90, 64}, {1000, 1000, 256}}) {
      PaddedOps ops(padding);
      BatchLoader loader(ops, static_cast<int64_t>(users), static_cast<int64_t>(items), most);
      std::vector<int32_t> before;  // item rows of the batch before
      for (size_t size : {size_t{1}, most / 2, most - 1, most, most}) {
        SCOPED_TRACE(testing::Message() << size << " of " << users << " x " << items);
        std::vector<Interaction> pairs(size);
        for (auto& pair : pairs) pair = {random.below(users), random.below(items)};
        const Batch b = loader.load(pairs.data(), size);
        ASSERT_EQ(b.size, size);
        ASSERT_EQ(b.n_users % padding + b.n_items % padding, 0u);
        ASSERT_LE(b.n_users, loader.max_users());
        ASSERT_LE(b.n_items, loader.max_items());
        const auto user = numbers(ops, b.users, b.n_users), item = numbers(ops, b.items, b.n_items);
        const auto node = numbers(ops, b.nodes_of_items, b.n_items);
        const auto by_user = numbers(ops, b.by_user.begin, b.n_users + 1);
        const auto by_item = numbers(ops, b.by_item.begin, b.n_items + 1);
        const auto met_items = numbers(ops, b.by_user.target, size);
        const auto met_users = numbers(ops, b.by_item.target, size);
        const auto carried = numbers(ops, b.carried, loader.max_items());
        for (size_t r = 0; r < carried.size(); ++r) {
          const bool was = r < before.size() && before[r] >= 0;
          const auto at = std::find(item.begin(), item.end(), was ? before[r] : -2);
          ASSERT_EQ(carried[r], at == item.end() ? -1 : static_cast<int32_t>(at - item.begin()));
        }
        before = item;

        // Expected, straight from the words: rows by first occurrence, then padding.
        std::vector<int32_t> want_users, want_items;
        const auto row_of = [](std::vector<int32_t>& rows, int32_t value) {
          const auto at = std::find(rows.begin(), rows.end(), value);
          if (at == rows.end()) rows.push_back(value);
          return static_cast<int32_t>(std::find(rows.begin(), rows.end(), value) - rows.begin());
        };
        std::vector<std::pair<int32_t, int32_t>> rows;
        for (const auto& pair : pairs)
          rows.push_back({row_of(want_users, pair.user), row_of(want_items, pair.item)});
        ASSERT_LT(b.n_users - want_users.size(), padding);
        ASSERT_LT(b.n_items - want_items.size(), padding);
        want_users.resize(b.n_users, -1);
        want_items.resize(b.n_items, -1);
        EXPECT_EQ(user, want_users);
        EXPECT_EQ(item, want_items);
        for (size_t r = 0; r < b.n_items; ++r)
          EXPECT_EQ(node[r], item[r] < 0 ? -1 : static_cast<int32_t>(users) + item[r]);
        std::vector<int32_t> want_met_items, want_met_users;
        for (size_t r = 0; r < b.n_users; ++r) {
          for (const auto& [u, i] : rows)
            if (u == static_cast<int32_t>(r)) want_met_items.push_back(i);
          EXPECT_EQ(by_user[r + 1], static_cast<int32_t>(want_met_items.size()));
        }
        for (size_t r = 0; r < b.n_items; ++r) {
          for (const auto& [u, i] : rows)
            if (i == static_cast<int32_t>(r)) want_met_users.push_back(u);
          EXPECT_EQ(by_item[r + 1], static_cast<int32_t>(want_met_users.size()));
        }
        EXPECT_EQ(met_items, want_met_items);
        EXPECT_EQ(met_users, want_met_users);
        EXPECT_EQ(by_user[0] + by_item[0], 0);
        EXPECT_EQ(b.by_user.n, b.n_users);
        EXPECT_EQ(b.by_item.n, b.n_items);
        ++batches;
      }
    }
  EXPECT_EQ(batches, 3u * 5 * 5);
}

}  // namespace
}  // namespace bm3::test
