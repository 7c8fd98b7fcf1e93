// Batches: distinct rows in the order of first occurrence, groups of pairs, padding.
#include "model/batch.h"

#include "backends.h"
#include "ops/cpu/cpu_ops.h"
#include "random_inputs.h"

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

using Rows = std::vector<int32_t>;
using RowPairs = std::vector<std::pair<int32_t, int32_t>>;

/// The place of `value` in `rows`, added where it is new.
int32_t row_of(Rows& rows, int32_t value) {
  const auto at = static_cast<size_t>(std::find(rows.begin(), rows.end(), value) - rows.begin());
  if (at == rows.size()) rows.push_back(value);
  return static_cast<int32_t>(at);
}

/// `rows` are the distinct numbers `wanted`, in this order, and as little padding as can be.
void expect_rows(const Rows& rows, Rows wanted, size_t padding) {
  ASSERT_EQ(rows.size() % padding, 0u);
  ASSERT_LT(rows.size() - wanted.size(), padding);
  wanted.resize(rows.size(), -1);
  EXPECT_EQ(rows, wanted);
}

/// Group r holds the second rows of the pairs whose first row is r, in their order.
void expect_groups(Device& device, const Pairs& groups, size_t n, const RowPairs& pairs) {
  ASSERT_EQ(groups.n, n);
  const Rows begin = numbers(device, groups.begin, n + 1);
  Rows wanted;
  EXPECT_EQ(begin[0], 0);
  for (size_t r = 0; r < n; ++r) {
    for (const auto& [first, second] : pairs)
      if (first == static_cast<int32_t>(r)) wanted.push_back(second);
    EXPECT_EQ(begin[r + 1], static_cast<int32_t>(wanted.size()));
  }
  EXPECT_EQ(numbers(device, groups.target, pairs.size()), wanted);
}

/// carried[r] is where the item of row r of the batch before lies now.
void expect_carried(const Rows& carried, const Rows& before, const Rows& item) {
  for (size_t r = 0; r < carried.size(); ++r) {
    const bool was = r < before.size() && before[r] >= 0;
    const auto at = std::find(item.begin(), item.end(), was ? before[r] : -2);
    ASSERT_EQ(carried[r], at == item.end() ? -1 : static_cast<int32_t>(at - item.begin()));
  }
}

/// Expected, straight from the words: rows by first occurrence, then padding.
void expect_batch(Device& device, const Batch& b, const std::vector<Interaction>& pairs,
                  int64_t n_users, size_t padding) {
  Rows users, items;
  RowPairs by_user, by_item;
  for (const auto& pair : pairs) {
    by_user.push_back({row_of(users, pair.user), row_of(items, pair.item)});
    by_item.push_back({by_user.back().second, by_user.back().first});
  }
  ASSERT_EQ(b.size, pairs.size());
  const Rows item = numbers(device, b.items, b.n_items);
  const Rows node = numbers(device, b.nodes_of_items, b.n_items);
  expect_rows(numbers(device, b.users, b.n_users), users, padding);
  expect_rows(item, items, padding);
  for (size_t r = 0; r < b.n_items; ++r)
    EXPECT_EQ(node[r], item[r] < 0 ? -1 : static_cast<int32_t>(n_users) + item[r]);
  expect_groups(device, b.by_user, b.n_users, by_user);
  expect_groups(device, b.by_item, b.n_items, by_item);
}

/// The rows' numbers and groups give back the pairs, for random batches of all sizes.
TEST(Batches, HoldTheirPairs) {
  Random random(1);
  size_t batches = 0;
  for (size_t padding : {1, 8, 32})
    for (const auto [users, items, most] : {std::array<size_t, 3>{1, 1, 3}, {5, 300, 40},
                                            {300, 5, 40}, {70, 90, 64}, {1000, 1000, 256}}) {
      PaddedOps ops(padding);
      const auto n_users = static_cast<int64_t>(users), n_items = static_cast<int64_t>(items);
      BatchLoader loader(ops, n_users, n_items, most);
      Rows before;  // item rows of the batch before
      for (size_t size : {size_t{1}, most / 2, most - 1, most, most}) {
        SCOPED_TRACE(testing::Message() << size << " of " << users << " x " << items);
        std::vector<Interaction> pairs(size);
        for (auto& pair : pairs) pair = {random.below(users), random.below(items)};
        const Batch b = loader.load(pairs.data(), size);
        ASSERT_LE(b.n_users, loader.max_users());
        ASSERT_LE(b.n_items, loader.max_items());
        expect_batch(ops, b, pairs, n_users, padding);
        const Rows item = numbers(ops, b.items, b.n_items);
        expect_carried(numbers(ops, b.carried, loader.max_items()), before, item);
        before = item;
        ASSERT_FALSE(HasFailure());
        ++batches;
      }
    }
  EXPECT_EQ(batches, 3u * 5 * 5);
}

}  // namespace
}  // namespace bm3::test
