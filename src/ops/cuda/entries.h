#pragma once
// Short lists of a user's best items: the order of entries, and sorting 64 of them in registers.
#include <limits>

#include "ops/cuda/kernel.h"

namespace bm3::cuda {

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
struct alignas(2 * sizeof(T)) Entry {  // read and written at once
  T score;
  int32_t item;
};
template <class T>
__device__ Entry<T> nothing() {
  return {-infinity<T>, -1};
}
/// Better first; equal scores by the lower number: the order of any lists of the same entries.
template <class T>
__device__ bool better(const Entry<T>& a, const Entry<T>& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}
template <class T>
__device__ Entry<T> of_lane(const Entry<T>& mine, unsigned other) {  // that is lane ^ other
  return {__shfl_xor_sync(full_warp, mine.score, other),
          __shfl_xor_sync(full_warp, mine.item, other)};
}

/// A whole number that orders as scores do; 0 and -0 have one.
template <class T>
using Key = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <class T>
constexpr Key<T> sign = Key<T>(1) << (8 * sizeof(T) - 1);
template <class T>
__device__ Key<T> key_of(T score) {
  score += T(0);
  Key<T> bits;
  memcpy(&bits, &score, sizeof bits);
  return bits & sign<T> ? ~bits : bits | sign<T>;
}
template <class T>
__device__ T score_of(Key<T> key) {
  const Key<T> bits = key & sign<T> ? key ^ sign<T> : ~key;
  T score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

/// 64 entries of a warp: the one in place 32 i + lane is x[i].
template <class T>
struct Entries {
  Entry<T> x[2];

  /// Puts each two in places that differ by `distance` alone in order, the better one first where
  /// `place & size` is 0, else last.
  __device__ void compare(unsigned size, unsigned distance) {
    const unsigned lane = threadIdx.x % warp;
    if (distance == warp) {  // size is 64: the better one first
      if (better(x[1], x[0])) {
        const Entry<T> first = x[1];
        x[1] = x[0];
        x[0] = first;
      }
      return;
    }
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned place = warp * i + lane;
      const Entry<T> other = of_lane(x[i], distance);
      const bool wants_better = ((place & size) == 0) == ((place & distance) == 0);
      if (better(other, x[i]) == wants_better) x[i] = other;
    }
  }
  /// Sorts what is in ascending and then descending order, the best first.
  __device__ void merge() {
#pragma unroll
    for (unsigned distance = warp; distance > 0; distance /= 2) compare(2 * warp, distance);
  }
  /// Sorts, the best first (Batcher's bitonic sort, 1968).
  __device__ void sort() {
#pragma unroll
    for (unsigned size = 2; size <= 2 * warp; size *= 2)
#pragma unroll
      for (unsigned distance = size / 2; distance > 0; distance /= 2) compare(size, distance);
  }
  /// Keeps the best 64 of these and others, both sorted.
  __device__ void take_best(const Entries& others) {
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
      const Entry<T> last = of_lane(others.x[1 - i], warp - 1);  // in place 63 - (32 i + lane)
      if (better(last, x[i])) x[i] = last;
    }
    merge();
  }
};

}  // namespace bm3::cuda
