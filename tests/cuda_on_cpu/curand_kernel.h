#pragma once
// cuRAND's Philox on the CPU, by ours: tests/test_random.cpp compares the two. See cuda_runtime.h.
#include "cuda_runtime.h"
#include "random.h"

struct curandStatePhilox4_32_10_t {
  uint64_t seed, subsequence, offset;
};
inline void curand_init(uint64_t seed, uint64_t subsequence, uint64_t offset,
                        curandStatePhilox4_32_10_t* state) {
  *state = {seed, subsequence, offset};
}
inline uint4 curand4(curandStatePhilox4_32_10_t* state) {
  const bm3::Random4 r =
      bm3::philox(state->seed, static_cast<uint32_t>(state->subsequence >> 32),
                  static_cast<uint32_t>(state->subsequence), state->offset / 4);
  return {r.x[0], r.x[1], r.x[2], r.x[3]};
}
