// Philox4x32-10: the published known answers, and cuRAND's own where the toolkit is installed; and
// negative items (Rendle et al., 2009), which it draws.
#include <cmath>
#include <map>
#include <set>

#include "layers/negatives.h"
#include "random.h"
#include "random_inputs.h"
#include "scratch.h"
#ifdef BM3_TEST_CURAND
#define QUALIFIERS static inline  // the device's functions, for the host
#include <curand_kernel.h>
#endif

namespace bm3::test {
namespace {

using Words = std::vector<uint32_t>;

Words words(const Random4& random) { return {random.x, random.x + 4}; }

/// Random123's kat_vectors, philox4x32 of 10 rounds: counter and key zero, all ones, digits of pi.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(words(philox(0, 0u, 0, 0)), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(philox(~uint64_t{0}, ~0u, ~0u, ~uint64_t{0})),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(philox(0x299f31d0a4093822, 0x03707344u, 0x13198a2e, 0x85a308d3243f6a88)),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

#ifdef BM3_TEST_CURAND
/// The device functions, as the host compiles their header: curand_init(seed, stream << 32 | step,
/// 4 block), as random.h says.
TEST(Philox, EqualsCurandsDeviceFunctions) {
  for (uint64_t seed : {uint64_t{0}, uint64_t{999}, uint64_t{0x9876543210abcdef}})
    for (uint32_t stream : {0u, 2u, 256u, 0xffffffffu})
      for (uint32_t step : {0u, 1u, 0x80000000u})
        for (uint64_t block : {uint64_t{0}, mask_block(7, 3), mask_block(0x3fffffff, 15)}) {
          curandStatePhilox4_32_10_t state;
          curand_init(seed, uint64_t{stream} << 32 | step, 4 * block, &state);
          const uint4 drawn = curand4(&state);
          EXPECT_EQ(words(philox(seed, stream, step, block)),
                    (Words{drawn.x, drawn.y, drawn.z, drawn.w}))
              << seed << ", " << stream << ", " << step << ", " << block;
        }
}
#endif

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
