#pragma once
// Products of tiles in shared memory: what linear layers and rankings have in common.
#include "ops/cuda/kernel.h"

namespace bm3::cuda {

// ------------------------------------------------------------------------------------ operands

constexpr unsigned side = 64;  // rows, and columns, of a result's tile
/// How much of the inner size is multiplied at once: 128 bytes of a row.
template <class T>
constexpr unsigned depth = 128 / sizeof(T);

/// An operand x[rows] of a product, read tile by tile by a block of `threads` threads: its inner
/// size runs along its columns, or its rows. A tile of `outer` by `inner` numbers lies in shared
/// memory as it lies in x; what is beyond x, and padding, is 0. The distance between a tile's rows
/// is such that a warp's reads of 8 by 4 numbers meet no memory bank twice.
template <class T, bool inner_is_columns, unsigned outer, unsigned inner, unsigned threads,
          int width>
class Operand {
 public:
  static constexpr unsigned height = inner_is_columns ? outer : inner;
  static constexpr unsigned breadth = inner_is_columns ? inner : outer;
  static constexpr unsigned distance = breadth + (inner_is_columns ? 4 : 8);
  static constexpr unsigned size = height * distance;

  __device__ Operand(Matrix<const T> x, Rows rows) : x_(x), rows_(rows) {}

  /// Reads the tile that begins there, without a wait for it.
  __device__ void read(size_t from_outer, size_t from_inner) {
    const size_t first = inner_is_columns ? from_outer : from_inner;
    const size_t column = inner_is_columns ? from_inner : from_outer;
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k) {
      const auto [r, c] = place(k);
      const int64_t row = first + r < rows_.n ? rows_[first + r] : -1;
      piece_[k] = row >= 0 && column + c < x_.cols
                      ? vector_at<width>(x_.row(static_cast<size_t>(row)) + column + c)
                      : Vector<T, width>{};
    }
  }
  /// Puts what was read into shared memory.
  __device__ void write(T* tile) const {
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k) {
      const auto [r, c] = place(k);
      vector_at<width>(tile + r * distance + c) = piece_[k];
    }
  }
  /// Returns a tile's number at this place of the outer and of the inner size.
  __device__ static T at(const T* tile, unsigned o, unsigned i) {
    return inner_is_columns ? tile[o * distance + i] : tile[i * distance + o];
  }

 private:
  static constexpr unsigned pieces = height * breadth / width / threads;
  static_assert(pieces * width * threads == height * breadth);
  struct Place {
    unsigned row, column;
  };
  __device__ static Place place(unsigned k) {
    const unsigned number = threadIdx.x + k * threads;
    return {number / (breadth / width), number % (breadth / width) * width};
  }
  Matrix<const T> x_;
  Rows rows_;
  Vector<T, width> piece_[pieces];
};

// ------------------------------------------------------------------------------------ products

/// What a lane has of a warp's part [16 m, 8 n] of a result: of each [16, 8], rows g and g + 8 and
/// columns 2t and 2t + 1, with g = lane / 4 and t = lane % 4, as the tensor cores want it (PTX ISA,
/// mma.m16n8k8).
template <class T, int m, int n>
struct Sums {
  T of[m][n][4];
  __device__ static unsigned row(int i, int e) {
    return 16 * i + threadIdx.x % warp / 4 + 8 * (e / 2);
  }
  __device__ static unsigned column(int j, int e) { return 8 * j + threadIdx.x % 4 * 2 + e % 2; }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <class T>
constexpr bool on_tensor_cores = sizeof(T) == 4;

/// x = big + small but for 2^-22 of it, both in TF32, whose fractions have 10 bits.
__device__ inline void split(uint32_t& big, uint32_t& small, float x) {
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(big) : "f"(x));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(small) : "f"(x - __uint_as_float(big)));
}
/// c += a b for the warp's a [16, 8] and b [8, 8].
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// sums += a b over 8 of the inner size, on tensor cores. With a = A + a' and b = B + b', big and
/// small, a b = A B + A b' + a' B but for a' b', 2^-22 of it: float32's rounding, from three
/// products in TF32.
template <int m, int n, class A, class B>
__device__ void add_eighth(Sums<float, m, n>& sums, unsigned k, const A& a, const B& b) {
  const unsigned g = threadIdx.x % warp / 4, t = threadIdx.x % 4;
  uint32_t a_big[m][4], a_small[m][4];
#pragma unroll
  for (int i = 0; i < m; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      split(a_big[i][e], a_small[i][e], a(16 * i + g + 8 * (e % 2), k + t + 4 * (e / 2)));
#pragma unroll
  for (int j = 0; j < n; ++j) {
    uint32_t b_big[2], b_small[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) split(b_big[e], b_small[e], b(8 * j + g, k + t + 4 * e));
#pragma unroll
    for (int i = 0; i < m; ++i) {
      multiply(sums.of[i][j], a_small[i], b_big);
      multiply(sums.of[i][j], a_big[i], b_small);
      multiply(sums.of[i][j], a_big[i], b_big);
    }
  }
}
#else
template <class T>
constexpr bool on_tensor_cores = false;
#endif

/// sums += sum over k < inner of a(row, k) b(column, k), both of a warp's part. `inner` is a
/// multiple of 8.
template <int m, int n, class T, class A, class B>
__device__ void add_product(Sums<T, m, n>& sums, unsigned inner, const A& a, const B& b) {
  if constexpr (on_tensor_cores<T>) {
    Sums<T, m, n> part{};  // tensor cores do not round to nearest: their chains are kept short
#pragma unroll
    for (unsigned k = 0; k < inner; k += 8) add_eighth(part, k, a, b);
#pragma unroll
    for (int i = 0; i < m; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j)
        for (int e = 0; e < 4; ++e) sums.of[i][j][e] += part.of[i][j][e];
  } else {
    for (unsigned k = 0; k < inner; ++k)
#pragma unroll
      for (int i = 0; i < m; ++i)
#pragma unroll
        for (int j = 0; j < n; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            sums.of[i][j][e] += a(sums.row(i, e), k) * b(sums.column(j, e), k);
  }
}

}  // namespace bm3::cuda
