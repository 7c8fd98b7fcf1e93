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
/// The places of the numbers `all`, by the places of their rows, and within a row in their order.
Numbers by_row(const Numbers& all, const Numbers& rows) {
  const auto place = [&](int32_t k) {
    return std::find(rows.begin(), rows.end(), all[static_cast<size_t>(k)]);
  };
  Numbers order(all.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return place(a) < place(b); });
  return order;
}
/// from[k] for each of `places`.
Numbers taken(const Numbers& from, const Numbers& places) {
  Numbers out;
  for (int32_t k : places) out.push_back(from.at(static_cast<size_t>(k)));
  return out;
}

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

  const Numbers edges = by_row(user, users);  // the pairs in by_user's order
  const auto expect_pairs = [&](const Pairs& pairs, const Numbers& rows, const Numbers& of_row,
                                const Numbers& targets, const Numbers& of_target) {
    ASSERT_EQ(pairs.n, rows.size());
    Numbers begin = {0};
    for (int32_t row : rows)
      begin.push_back(begin.back() +
                      static_cast<int32_t>(std::count(of_row.begin(), of_row.end(), row)));
    EXPECT_SAME(ops.numbers(pairs.begin, pairs.n + 1), begin);
    const Numbers order = by_row(of_row, rows);
    EXPECT_SAME(taken(targets, ops.numbers(pairs.target, size)), taken(of_target, order));
    if (&rows == &items) {
      EXPECT_SAME(taken(edges, ops.numbers(pairs.edge, size)), order);
    }
  };
  expect_pairs(b.by_user, users, user, items, item);
  expect_pairs(b.by_item, items, item, users, user);
  if (negative.empty()) return;
  expect_pairs(b.by_negative, items, negative, users, user);
  expect_pairs(b.triples.by_user, users, user, items, item);
  EXPECT_SAME(taken(items, ops.numbers(b.triples.negative, size)), taken(negative, edges));
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
        size_t t = 0;
        for (size_t size : {size_t{1}, most / 2, most - 1, most, most}) {
          SCOPED_TRACE(testing::Message() << size << " of " << users << " x " << items
                                          << (negatives ? ", negatives" : ""));
          const Numbers user = random.indices(size, users), item = random.indices(size, items);
          const Numbers negative = random.indices(negatives ? size : 0, items);
          std::vector<Interaction> pairs;
          for (size_t k = 0; k < size; ++k) pairs.push_back({user[k], item[k]});
          const Batch b = loader.load(++t, pairs.data(), negative.data(), size);
          ASSERT_LE(b.users.n, loader.max_users());
          ASSERT_LE(b.items.n, loader.max_items());
          ASSERT_EQ((loader.max_users() + loader.max_items()) % padding, 0u);
          EXPECT_EQ(*b.step, t);
          expect_batch(ops, b, user, item, negative, static_cast<int32_t>(users));
          ASSERT_FALSE(HasFailure());
        }
      }
}

}  // namespace
}  // namespace bm3::test
