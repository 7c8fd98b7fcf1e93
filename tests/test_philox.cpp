// Philox4x32-10: the published known answers, and cuRAND's own where the toolkit is installed.
#include <gtest/gtest.h>

#include "random.h"
#ifdef BM3_TEST_CURAND
#define QUALIFIERS static inline  // the device's functions, for the host
#include <curand_kernel.h>
#endif

#include <vector>

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

}  // namespace
}  // namespace bm3::test
