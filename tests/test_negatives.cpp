// Negative items (Rendle et al., 2009): drawn uniformly from the items of the training that the
// user does not have, each by its own key.
#include "layers/negatives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "random_inputs.h"
#include "scratch.h"

namespace bm3::test {
namespace {

/// 40 users: number 0 has all 30 items of the training but one, 7 all but two and 8 none; items 30
/// .. 34 occur in validation alone.
Interactions data() {
  Random random(1);
  Interactions out;
  out.n_users = 40;
  out.n_items = 35;
  for (int32_t user = 0; user < 40; ++user)
    for (int32_t item = 0; item < 30; ++item)
      if (user == 0 ? item != 5 : user == 7 ? item > 1 : user != 8 && random.below(5) == 0)
        out.train.push_back({user, item});
  for (int32_t item = 30; item < 35; ++item) out.valid.push_back({0, item});
  return out;
}

/// Each candidate as often as any other, within five standard deviations; nothing else ever.
TEST(Negatives, AreUniformOverWhatTheUserLacks) {
  constexpr size_t n = 20000;
  const Interactions all = data();
  const Negatives negatives(all);
  for (int32_t user : {0, 7, 8, 20, 39}) {
    std::set<int32_t> candidates;
    for (const auto& x : all.train) candidates.insert(x.item);
    for (const auto& x : all.train)
      if (x.user == user) candidates.erase(x.item);
    const double p = 1 / static_cast<double>(candidates.size());
    std::map<int32_t, size_t> count;
    for (size_t place = 0; place < n; ++place) ++count[negatives.draw(user, 999, 1, place)];
    EXPECT_EQ(count.size(), candidates.size()) << "user " << user;
    for (int32_t item : candidates)
      EXPECT_LE(std::abs(static_cast<double>(count[item]) - n * p), 5 * std::sqrt(n * p * (1 - p)))
          << "user " << user << ", item " << item;
  }
}

/// The same seed, epoch and place give the same item in any order of the calls; others give others.
TEST(Negatives, DependOnTheirKeyAlone) {
  const Negatives negatives(data()), again(data());
  constexpr size_t n = 2000;
  const auto drawn = [&](const Negatives& by, uint64_t seed, size_t epoch, bool backwards) {
    std::vector<int32_t> items(n);
    for (size_t k = 0; k < n; ++k) {
      const size_t place = backwards ? n - 1 - k : k;
      items[place] = by.draw(static_cast<int32_t>(place % 40), seed, epoch, place);
    }
    return items;
  };
  const auto once = drawn(negatives, 1, 1, false);
  EXPECT_EQ(drawn(negatives, 1, 1, true), once);
  EXPECT_EQ(drawn(again, 1, 1, false), once);
  std::vector<Interaction> order(n);
  for (size_t k = 0; k < n; ++k) order[k].user = static_cast<int32_t>(k % 40);
  EXPECT_EQ(negatives.draw(order, 1, 1), once);
  for (const auto& other : {drawn(negatives, 2, 1, false), drawn(negatives, 1, 2, false)}) {
    size_t equal = 0;  // unrelated draws from some 28 items, or from two
    for (size_t k = 0; k < n; ++k) equal += other[k] == once[k];
    EXPECT_LT(equal, n / 10);
  }
}

/// A user who has every item of the training has no negative.
TEST(Negatives, RefuseAUserWhoHasEverything) {
  Interactions all = data();
  for (int32_t item : {0, 1}) all.train.push_back({7, item});
  EXPECT_ERROR(Negatives{all},
               "user 7 has every item of the training: expected one that can be a negative");
}

}  // namespace
}  // namespace bm3::test
