// Batches: distinct rows in the order of first occurrence, groups of pairs, negatives, padding.
#include "layers/batch.h"

#include "backends.h"
#include "compare.h"
#include "ops/cpu/cpu_ops.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

using Numbers = std::vector<int32_t>;

class PaddedOps : public CpuOps<double> {
 public:
  explicit PaddedOps(size_t padding) : CpuOps<double>(1), padding_(padding) {}
  size_t row_padding() const override { return padding_; }
  Numbers numbers(const int32_t* from, size_t n) {
    return host<int32_t>(*this, Matrix<const int32_t>{from, 1, n});
  }
  Numbers numbers(Rows rows) { return numbers(rows.at, rows.n); }

 private:
  size_t padding_;
};

/// The distinct numbers of `all`, in order, and as little padding as can be.
Numbers distinct(const Numbers& all, size_t padding) {
  Numbers rows;
  for (int32_t x : all)
    if (std::find(rows.begin(), rows.end(), x) == rows.end()) rows.push_back(x);
  while (rows.size() % padding != 0) rows.push_back(-1);
  return rows;
}
/// For each of `all`, its place in `rows`.
Numbers places(const Numbers& all, const Numbers& rows) {
  Numbers out;
  for (int32_t x : all)
    out.push_back(static_cast<int32_t>(std::find(rows.begin(), rows.end(), x) - rows.begin()));
  return out;
}

/// The pairs k with row_of[k] = r for r = 0, 1, .. n_rows - 1, each row's in their order.
struct Groups {
  Numbers begin = {0}, pair;
  Groups(const Numbers& row_of, size_t n_rows) {
    for (size_t r = 0; r < n_rows; ++r) {
      for (size_t k = 0; k < row_of.size(); ++k)
        if (row_of[k] == static_cast<int32_t>(r)) pair.push_back(static_cast<int32_t>(k));
      begin.push_back(static_cast<int32_t>(pair.size()));
    }
  }
  /// of[k] of the pairs, in their order here.
  Numbers in_order(const Numbers& of) const {
    Numbers out;
    for (int32_t k : pair) out.push_back(of[static_cast<size_t>(k)]);
    return out;
  }
};

/// `b` holds these pairs and, unless there are none, negatives: rows by first occurrence, positives
/// first, then padding; groups in the order of the pairs.
void expect_batch(PaddedOps& ops, const Batch& b, const Numbers& user, const Numbers& item,
                  const Numbers& negative, int32_t n_users) {
  const size_t padding = ops.row_padding(), size = user.size();
  Numbers both = item;
  both.insert(both.end(), negative.begin(), negative.end());
  const Numbers users = distinct(user, padding), items = distinct(both, padding);
  Numbers nodes = users;
  for (int32_t i : items) nodes.push_back(i < 0 ? -1 : n_users + i);
  ASSERT_EQ(b.size, size);
  EXPECT_SAME(ops.numbers(b.users), users);
  EXPECT_SAME(ops.numbers(b.items), items);
  EXPECT_SAME(ops.numbers(b.nodes), nodes);

  const Numbers user_row = places(user, users), item_row = places(item, items);
  const Groups by_user(user_row, users.size());
  Numbers all(size);
  std::iota(all.begin(), all.end(), 0);
  const Numbers edge = places(all, by_user.pair);
  const auto expect_groups = [&](const Pairs& pairs, const Groups& groups, const Numbers& target) {
    ASSERT_EQ(pairs.n, groups.begin.size() - 1);
    EXPECT_SAME(ops.numbers(pairs.begin, pairs.n + 1), groups.begin);
    EXPECT_SAME(ops.numbers(pairs.target, size), groups.in_order(target));
    if (&groups != &by_user) {
      EXPECT_SAME(ops.numbers(pairs.edge, size), groups.in_order(edge));
    }
  };
  expect_groups(b.by_user, by_user, item_row);
  expect_groups(b.by_item, Groups(item_row, items.size()), user_row);
  if (negative.empty()) return;
  const Numbers negative_row = places(negative, items);
  expect_groups(b.by_negative, Groups(negative_row, items.size()), user_row);
  expect_groups(b.triples.by_user, by_user, item_row);
  EXPECT_SAME(ops.numbers(b.triples.negative, size), by_user.in_order(negative_row));
}

/// Random batches of all sizes.
TEST(Batches, HoldTheirTriples) {
  Random random(1);
  const size_t cases[][3] = {
      {1, 1, 3}, {5, 300, 40}, {300, 5, 40}, {70, 90, 64}, {1000, 1000, 256}};
  for (bool negatives : {false, true})
    for (size_t padding : {1, 8, 32})
      for (const auto& [users, items, most] : cases) {
        PaddedOps ops(padding);
        BatchLoader loader(ops, users, items, most, negatives);
        for (size_t size : {size_t{1}, most / 2, most - 1, most, most}) {
          SCOPED_TRACE(testing::Message() << size << " of " << users << " x " << items
                                          << (negatives ? ", negatives" : ""));
          const Numbers user = random.indices(size, users), item = random.indices(size, items);
          const Numbers negative = random.indices(negatives ? size : 0, items);
          std::vector<Interaction> pairs;
          for (size_t k = 0; k < size; ++k) pairs.push_back({user[k], item[k]});
          const Batch b = loader.load(pairs.data(), negative.data(), size);
          ASSERT_LE(b.users.n, loader.max_users());
          ASSERT_LE(b.items.n, loader.max_items());
          ASSERT_EQ((loader.max_users() + loader.max_items()) % padding, 0u);
          expect_batch(ops, b, user, item, negative, static_cast<int32_t>(users));
          ASSERT_FALSE(HasFailure());
        }
      }
}

}  // namespace
}  // namespace bm3::test
