#pragma once
// Products of rows that were rounded to float16 and packed as tensor cores take them, in groups of
// 32 and steps of 16 of their numbers: estimates of scores.
#include <cuda_fp16.h>

#include <cmath>

#include "ops/cuda/tile.h"

namespace bm3::cuda {

constexpr unsigned group = 32;  // users, and items, whose scores a warp estimates at once
constexpr unsigned step = 16;   // of their numbers
constexpr float largest_half = 65504;

/// What estimates are products of.
template <class T>
using Packed = std::conditional_t<sizeof(T) == 4, __half, T>;

/// Where the number (r, k) of a group's step lies: as operands of mma.m16n8k16 whose rows and
/// columns are 4g + .. and inner numbers 4t + .. of lane 4g + t, so that a lane reads 16 bytes at
/// once.
template <bool of_items>
__device__ unsigned place(unsigned r, unsigned k) {
  const unsigned lane = r / 4 * 4 + k / 4, p = r % 4, q = k % 4;
  return (p / 2 * warp + lane) * 8 + (of_items ? p % 2 * 4 + q : q / 2 * 4 + p % 2 * 2 + q % 2);
}

__device__ inline __half rounded(float x) {
  return __float2half_rn(fminf(fmaxf(x, -largest_half), largest_half));
}
__device__ inline double rounded(double x) { return x; }
/// Bounds |estimate - u . i| for rows of d numbers that are this long. Rounding is off by 2^-11 of
/// a number or, where it is tiny, by 2^-25; tensor cores' sums lose the last bits.
__device__ inline float estimate_error(float u, float i, size_t d) {
  const auto n = static_cast<float>(d);
  if (fmaxf(u, i) > largest_half) return INFINITY;
  return u * i * (0x1.01p-10f + 0x1p-22f * n) + 0x1.01p-25f * sqrtf(n) * (u + i) + 0x1p-49f * n;
}

/// Packs row x [d], or zeros for none (null), as row r of a group. Returns |x|, rounded up. A warp
/// calls it.
template <bool of_items, class T>
__device__ float pack(Packed<T>* to, unsigned r, const T* x, size_t d) {
  double squares = 0;
  for (size_t c = threadIdx.x % warp; c < (d + step - 1) / step * step; c += warp) {
    const T x_c = x && c < d ? x[c] : T(0);
    squares += static_cast<double>(x_c) * static_cast<double>(x_c);
    to[c / step * (group * step) + place<of_items>(r, c % step)] = rounded(x_c);
  }
  return static_cast<float>(sqrt(warp_sum(squares))) * 1.000001f;
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
/// c += a b for the warp's a [16, 16] and b [16, 8]; a lane has of c rows g and g + 8 and columns
/// 2t and 2t + 1, of a rows g and g + 8 by turns (PTX ISA, mma.m16n8k16 of .f16).
__device__ inline void multiply_halves(float& c0, float& c1, float& c2, float& c3,
                                       const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// sums += a b over a step of a group of users and one of items, packed.
__device__ inline void add_packed(Sums<float>& sums, const __half* a, const __half* b) {
  const unsigned lane = threadIdx.x % warp;
  const auto of_lane = [lane](const __half* x, unsigned k) {
    return vector_at<4>(reinterpret_cast<const uint32_t*>(x) + (k * warp + lane) * 4);
  };
  const Vector<uint32_t, 4> a_of[2] = {of_lane(a, 0), of_lane(a, 1)},
                            b_of[2] = {of_lane(b, 0), of_lane(b, 1)};
#pragma unroll
  for (unsigned i = 0; i < 2; ++i)
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      const uint32_t b_j[2] = {b_of[j / 2].x[j % 2 * 2], b_of[j / 2].x[j % 2 * 2 + 1]};
      multiply_halves(sums.x[2 * i][j], sums.x[2 * i][j + 4], sums.x[2 * i + 1][j],
                      sums.x[2 * i + 1][j + 4], a_of[i].x, b_j);
    }
}
#endif

__device__ inline float number(__half x) { return __half2float(x); }
__device__ inline double number(double x) { return x; }
template <class T>
__device__ void add_packed(Sums<T>& sums, const Packed<T>* a, const Packed<T>* b) {
  const unsigned row = sums.first_row(), column = sums.first_column();
  for (unsigned k = 0; k < step; ++k)
    for (unsigned r = 0; r < 4; ++r)
      for (unsigned c = 0; c < 8; ++c)
        sums.x[r][c] += number(a[place<false>(row + r, k)]) * number(b[place<true>(column + c, k)]);
}

}  // namespace bm3::cuda
