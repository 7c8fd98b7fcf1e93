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

/// Users 4, 2, 4, 4 with items 1, 3, 3, 1 and negatives 0, 1, 0, 3: rows (4, 2) and (1, 3, 0); as
/// nodes, items come after the 6 users. Pairs by user: (4, 1), (4, 3), (4, 1), (2, 3).
TEST(Batches, ByHand) {
  PaddedOps ops(4);
  BatchLoader loader(ops, 6, 5, 10, true);
  EXPECT_EQ(loader.max_users(), 8u);
  EXPECT_EQ(loader.max_items(), 8u);
  const std::vector<Interaction> pairs = {{4, 1}, {2, 3}, {4, 3}, {4, 1}};
  const Numbers negatives = {0, 1, 0, 3};
  for (int time = 0; time < 2; ++time) {  // the second batch finds nothing of the first
    const Batch b = loader.load(pairs.data(), negatives.data(), pairs.size());
    EXPECT_EQ(b.size, 4u);
    EXPECT_EQ(ops.numbers(b.users), (Numbers{4, 2, -1, -1}));
    EXPECT_EQ(ops.numbers(b.items), (Numbers{1, 3, 0, -1}));
    EXPECT_EQ(ops.numbers(b.nodes), (Numbers{4, 2, -1, -1, 7, 9, 6, -1}));
    EXPECT_EQ(ops.numbers(b.by_user.begin, 5), (Numbers{0, 3, 4, 4, 4}));
    EXPECT_EQ(ops.numbers(b.by_user.target, 4), (Numbers{0, 1, 0, 1}));
    EXPECT_EQ(b.triples.by_user.begin, b.by_user.begin);
    EXPECT_EQ(b.triples.by_user.target, b.by_user.target);
    EXPECT_EQ(ops.numbers(b.triples.negative, 4), (Numbers{2, 2, 1, 0}));
    EXPECT_EQ(ops.numbers(b.by_item.begin, 5), (Numbers{0, 2, 4, 4, 4}));
    EXPECT_EQ(ops.numbers(b.by_item.target, 4), (Numbers{0, 0, 1, 0}));
    EXPECT_EQ(ops.numbers(b.by_item.edge, 4), (Numbers{0, 2, 3, 1}));
    EXPECT_EQ(ops.numbers(b.by_negative.begin, 5), (Numbers{0, 1, 2, 4, 4}));
    EXPECT_EQ(ops.numbers(b.by_negative.target, 4), (Numbers{1, 0, 0, 0}));
    EXPECT_EQ(ops.numbers(b.by_negative.edge, 4), (Numbers{3, 2, 0, 1}));
    loader.load(pairs.data() + 1, negatives.data() + 1, 2);
  }
}

/// The distinct numbers of `all`, in order, and as little padding as can be.
Numbers distinct(const Numbers& all, size_t padding) {
  Numbers rows;
  for (int32_t x : all)
    if (std::find(rows.begin(), rows.end(), x) == rows.end()) rows.push_back(x);
  while (rows.size() % padding != 0) rows.push_back(-1);
  return rows;
}

/// A user, a positive item and, where there are any, a negative item: -1 where there are none.
using Triple = std::array<int32_t, 3>;

/// What a batch says of its triples in the order of their users' rows, from its rows and groups.
std::vector<Triple> triples_of(PaddedOps& ops, const Batch& b) {
  const Numbers users = ops.numbers(b.users), items = ops.numbers(b.items);
  const Numbers begin = ops.numbers(b.by_user.begin, users.size() + 1);
  const Numbers positive = ops.numbers(b.by_user.target, b.size);
  const Numbers negative = ops.numbers(b.triples.negative, b.triples.negative ? b.size : 0);
  std::vector<Triple> out;
  for (size_t r = 0; r < users.size(); ++r)
    for (auto e = static_cast<size_t>(begin[r]); e < static_cast<size_t>(begin[r + 1]); ++e)
      out.push_back({users[r], items[static_cast<size_t>(positive[e])],
                     negative.empty() ? -1 : items[static_cast<size_t>(negative[e])]});
  return out;
}

/// Each item's group names the edges of the triples in which it is the k-th, each once, and the
/// rows of their users.
void expect_groups(PaddedOps& ops, const Batch& b, const Pairs& groups, size_t k,
                   const std::vector<Triple>& triples) {
  ASSERT_EQ(groups.n, b.items.n);
  const Numbers items = ops.numbers(b.items), users = ops.numbers(b.users);
  const Numbers begin = ops.numbers(groups.begin, groups.n + 1);
  const Numbers target = ops.numbers(groups.target, b.size);
  const Numbers edge = ops.numbers(groups.edge, b.size);
  EXPECT_EQ(begin[0], 0);
  EXPECT_EQ(begin.back(), static_cast<int32_t>(triples.size()));
  Numbers edges = edge, all(b.size);
  std::sort(edges.begin(), edges.end());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_SAME(edges, all);
  size_t wrong = 0;
  for (size_t r = 0; r < groups.n; ++r)
    for (auto e = static_cast<size_t>(begin[r]); e < static_cast<size_t>(begin[r + 1]); ++e) {
      const Triple& triple = triples.at(static_cast<size_t>(edge[e]));
      wrong += triple[k] != items[r] || triple[0] != users.at(static_cast<size_t>(target[e]));
    }
  EXPECT_EQ(wrong, 0u) << (k == 1 ? "positives" : "negatives");
}

/// `b` holds exactly these triples: rows by first occurrence, positives first, then padding.
void expect_batch(PaddedOps& ops, const Batch& b, const std::vector<Triple>& wanted, int32_t users,
                  bool negatives) {
  Numbers column[3], nodes;
  for (const Triple& triple : wanted)
    for (size_t k = 0; k < 3; ++k) column[k].push_back(triple[k]);
  if (negatives) column[1].insert(column[1].end(), column[2].begin(), column[2].end());
  nodes = distinct(column[0], ops.row_padding());
  EXPECT_SAME(ops.numbers(b.users), nodes);
  const Numbers items = distinct(column[1], ops.row_padding());
  EXPECT_SAME(ops.numbers(b.items), items);
  for (int32_t item : items) nodes.push_back(item < 0 ? -1 : users + item);
  EXPECT_SAME(ops.numbers(b.nodes), nodes);
  ASSERT_EQ(b.size, wanted.size());

  std::vector<Triple> by_user;
  for (int32_t user : distinct(column[0], 1))
    std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(by_user),
                 [&](const Triple& triple) { return triple[0] == user; });
  const std::vector<Triple> triples = triples_of(ops, b);
  EXPECT_TRUE(triples == by_user);
  expect_groups(ops, b, b.by_item, 1, triples);
  if (negatives) expect_groups(ops, b, b.by_negative, 2, triples);
}

/// Rows, groups and edges give back the triples, for random batches of all sizes.
TEST(Batches, HoldTheirTriples) {
  Random random(1);
  size_t batches = 0;
  for (bool negatives : {false, true})
    for (size_t padding : {1, 8, 32})
      for (const auto [users, items, most] : {std::array<size_t, 3>{1, 1, 3}, {5, 300, 40},
                                              {300, 5, 40}, {70, 90, 64}, {1000, 1000, 256}}) {
        PaddedOps ops(padding);
        BatchLoader loader(ops, users, items, most, negatives);
        for (size_t size : {size_t{1}, most / 2, most - 1, most, most}) {
          SCOPED_TRACE(testing::Message() << size << " of " << users << " x " << items
                                          << (negatives ? ", negatives" : ""));
          std::vector<Interaction> pairs(size);
          for (auto& pair : pairs) pair = {random.below(users), random.below(items)};
          const Numbers negative = random.indices(size, items);
          std::vector<Triple> wanted;
          for (size_t k = 0; k < size; ++k)
            wanted.push_back({pairs[k].user, pairs[k].item, negatives ? negative[k] : -1});
          const Batch b = loader.load(pairs.data(), negatives ? negative.data() : nullptr, size);
          ASSERT_LE(b.users.n, loader.max_users());
          ASSERT_LE(b.items.n, loader.max_items());
          expect_batch(ops, b, wanted, static_cast<int32_t>(users), negatives);
          ASSERT_FALSE(HasFailure());
          ++batches;
        }
      }
  EXPECT_EQ(batches, 2u * 3 * 5 * 5);
}

}  // namespace
}  // namespace bm3::test
