#pragma once
// Products of rows that were rounded for tensor cores and packed as these take them, in groups of
// 32 and steps of 16 of their numbers: estimates of scores.
#include <cstring>

#include "ops/cuda/tile.h"

namespace bm3::cuda {

constexpr unsigned group = 32;  // users, and items, whose scores a warp estimates at once
constexpr unsigned step = 16;   // of their numbers

/// Where the number (r, k) of a group's step lies: as operands of mma.m16n8k8 whose rows and
/// columns are 4g + .. and inner numbers 4t + .. of lane 4g + t, so that a lane reads what it needs
/// at once.
template <bool of_items>
__device__ unsigned place(unsigned r, unsigned k) {
  const unsigned lane = r / 4 * 4 + k / 4, p = r % 4, q = k % 4;
  return of_items ? (p * warp + lane) * 4 + q
                  : ((p / 2 * 2 + q / 2) * warp + lane) * 4 + q % 2 * 2 + p % 2;
}

/// Rounds to the 11 bits that tensor cores read.
__device__ inline float rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x1000) & 0xffffe000u;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}
__device__ inline double rounded(double x) { return x; }
/// Bounds |estimate - a . b| / (|a| |b|) for d numbers each, of which both were rounded; tensor
/// cores' sums lose the last bits.
__device__ inline float estimate_error(size_t d) {
  return 0x1.01p-10f + 0x1p-22f * static_cast<float>(d);
}

/// Packs row x [d], or zeros for none (null), as row r of a group. Returns |x|, rounded up. A warp
/// calls it.
template <bool of_items, class T>
__device__ float pack(T* to, unsigned r, const T* x, size_t d) {
  double squares = 0;
  for (size_t c = threadIdx.x % warp; c < (d + step - 1) / step * step; c += warp) {
    const T x_c = x && c < d ? x[c] : T(0);
    squares += static_cast<double>(x_c) * static_cast<double>(x_c);
    to[c / step * (group * step) + place<of_items>(r, c % step)] = rounded(x_c);
  }
  return static_cast<float>(sqrt(warp_sum(squares))) * 1.000001f;
}

/// sums += a b over a step of a group of users and one of items, packed.
template <class T>
__device__ void add_packed(Sums<T>& sums, const T* a, const T* b) {
  if constexpr (on_tensor_cores<T>) {
    const unsigned lane = threadIdx.x % warp;
    const auto of_lane = [lane](const T* x, unsigned k) {
      return vector_at<4>(reinterpret_cast<const uint32_t*>(x) + (k * warp + lane) * 4);
    };
    Vector<uint32_t, 4> a_of[4], b_of[4];
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) a_of[k] = of_lane(a, k);
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) b_of[k] = of_lane(b, k);
#pragma unroll
    for (unsigned half = 0; half < 2; ++half)
#pragma unroll
      for (unsigned i = 0; i < 2; ++i)
#pragma unroll
        for (unsigned j = 0; j < 4; ++j) {
          const uint32_t b_j[2] = {b_of[j].x[2 * half], b_of[j].x[2 * half + 1]};
          multiply(sums.x[2 * i][j], sums.x[2 * i][j + 4], sums.x[2 * i + 1][j],
                   sums.x[2 * i + 1][j + 4], a_of[2 * i + half].x, b_j);
        }
  } else {
    const unsigned row = sums.first_row(), column = sums.first_column();
    for (unsigned k = 0; k < step; ++k)
      for (unsigned r = 0; r < 4; ++r)
        for (unsigned c = 0; c < 8; ++c)
          sums.x[r][c] += a[place<false>(row + r, k)] * b[place<true>(column + c, k)];
  }
}

}  // namespace bm3::cuda
