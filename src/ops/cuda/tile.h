#pragma once
// A block's product of two tiles in shared memory, on tensor cores where there are some.
#include "ops/cuda/kernel.h"

namespace bm3::cuda {

// ------------------------------------------------------------------------------------ operands

constexpr unsigned side = 64;              // rows, and columns, of a result's tile
constexpr unsigned product_threads = 128;  // four warps, each with a quarter [32, 32] of it
/// How much of the inner size is multiplied at once: 128 bytes of a row.
template <class T>
constexpr unsigned depth = 128 / sizeof(T);

/// An operand x[rows] of a product, read by a block tile by tile: its inner size runs along its
/// columns, or its rows. A tile of `side` by `depth` numbers lies in shared memory as it lies in x;
/// what is beyond x, and padding, is 0. The distance between a tile's rows is such that a warp's
/// reads of 8 by 4 numbers meet no memory bank twice.
template <class T, bool inner_is_columns, int width>
class Operand {
 public:
  static constexpr unsigned height = inner_is_columns ? side : depth<T>;
  static constexpr unsigned breadth = inner_is_columns ? depth<T> : side;
  static constexpr unsigned distance = breadth + (inner_is_columns ? 4 : 8);
  static constexpr unsigned size = height * distance;

  __device__ Operand(Matrix<const T> x, Rows rows)
      : x_(x.at), columns_(static_cast<unsigned>(x.cols)), list_(rows.at),
        n_(static_cast<unsigned>(rows.n)) {}

  /// Turns to the tiles that begin at this row of a result, or column.
  __device__ void begin(unsigned outer_first) {
    first_ = outer_first;
    if constexpr (inner_is_columns) find(outer_first);
  }
  /// Reads the tile that begins there, without a wait for it.
  __device__ void read(unsigned inner_first) {
    if constexpr (!inner_is_columns) find(inner_first);
    const unsigned c = (inner_is_columns ? inner_first : first_) + column();
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k)
      piece_[k] = row_[k] >= 0 && c < columns_
                      ? vector_at<width>(x_ + static_cast<size_t>(row_[k]) * columns_ + c)
                      : Vector<T, width>{};
  }
  /// Puts what was read into shared memory.
  __device__ void write(T* tile) const {
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k)
      vector_at<width>(tile + row(k) * distance + column()) = piece_[k];
  }
  /// Returns a tile's number at this place of the outer and of the inner size.
  __device__ static T at(const T* tile, unsigned o, unsigned i) {
    return inner_is_columns ? tile[o * distance + i] : tile[i * distance + o];
  }

 private:
  static constexpr unsigned across = breadth / width, at_once = product_threads / across;
  static constexpr unsigned pieces = height / at_once;
  static_assert(at_once * across == product_threads && pieces * at_once == height);
  /// Row and column of this thread's pieces in a tile.
  __device__ static unsigned row(unsigned k) { return threadIdx.x / across + k * at_once; }
  __device__ static unsigned column() { return threadIdx.x % across * width; }

  /// Finds the pieces' rows in a tile that begins at this row; -1 where there is none.
  __device__ void find(unsigned first) {
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k) {
      const unsigned r = first + row(k);
      row_[k] = r < n_ ? static_cast<int32_t>(r) : -1;
      if (list_ && r < n_) row_[k] = list_[r];
    }
  }

  const T* x_;
  unsigned columns_;
  const int32_t* list_;
  unsigned n_, first_ = 0;
  int32_t row_[pieces];
  Vector<T, width> piece_[pieces];
};

// ------------------------------------------------------------------------------------ products

/// What a lane has of a warp's part [32, 32] of a result, which is 2 by 4 pieces [16, 8]: of each,
/// rows g and g + 8 and columns 2t and 2t + 1, with g = lane / 4 and t = lane % 4, as the tensor
/// cores want it (PTX ISA, mma.m16n8k8).
template <class T>
struct Sums {
  static constexpr int m = 2, n = 4;
  T of[m][n][4];
  /// Row and column in the part of element e of piece (i, j).
  __device__ static unsigned row(int i, int e) {
    return 16 * i + threadIdx.x % warp / 4 + 8 * (e / 2);
  }
  __device__ static unsigned column(int j, int e) { return 8 * j + threadIdx.x % 4 * 2 + e % 2; }
  /// Calls body(row, column, sum) for each.
  template <class Body>
  __device__ void for_each(const Body& body) {
#pragma unroll
    for (int i = 0; i < m; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) body(row(i, e), column(j, e), of[i][j][e]);
  }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <class T>
constexpr bool on_tensor_cores = sizeof(T) == 4;

/// x = big + small, exactly, with 11 bits in big (Dekker, 1971) and 12 in small, of which tensor
/// cores read 11: all but 2^-23 of x.
__device__ inline void split(uint32_t& big, uint32_t& small, float x) {
  const float shifted = __fmul_rn(x, 8193), rounded = shifted - (shifted - x);  // 8193 = 2^13 + 1
  big = __float_as_uint(rounded);
  small = __float_as_uint(x - rounded);
}
/// c += a b for the warp's a [16, 8] and b [8, 8].
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// sums += a b over 8 of the inner size, on tensor cores. With a = A + a' and b = B + b', big and
/// small, a b = A B + A b' + a' B but for a' b', at most 2^-22 of it: float32's rounding, from
/// three products in TF32. Numbers from about 2^115 on, whose split overflows, become NaN.
template <class A, class B>
__device__ void add_eighth(Sums<float>& sums, unsigned k, const A& a, const B& b) {
  constexpr int m = Sums<float>::m, n = Sums<float>::n;
  const unsigned g = threadIdx.x % warp / 4, t = threadIdx.x % 4;
  uint32_t a_of[2][m][4], b_of[2][n][2];  // big, small
#pragma unroll
  for (int i = 0; i < m; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      split(a_of[0][i][e], a_of[1][i][e], a(16 * i + g + 8 * (e % 2), k + t + 4 * (e / 2)));
#pragma unroll
  for (int j = 0; j < n; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) split(b_of[0][j][e], b_of[1][j][e], b(8 * j + g, k + t + 4 * e));
#pragma unroll
  for (int product = 0; product < 3; ++product)  // the small ones first; none waits for the last
#pragma unroll
    for (int i = 0; i < m; ++i)
#pragma unroll
      for (int j = 0; j < n; ++j)
        multiply(sums.of[i][j], a_of[product == 0][i], b_of[product == 1][j]);
}
#else
template <class T>
constexpr bool on_tensor_cores = false;
#endif

/// sums += sum over k < inner of a(row, k) b(column, k), both of a warp's part; beyond `inner`, up
/// to depth<T>, both are 0.
template <class T, class A, class B>
__device__ void add_product(Sums<T>& sums, size_t inner, const A& a, const B& b) {
  if constexpr (on_tensor_cores<T>) {
    Sums<T> part{};  // tensor cores do not round to nearest: their chains are kept short
#pragma unroll
    for (unsigned k = 0; k < depth<T>; k += 8) add_eighth(part, k, a, b);
#pragma unroll
    for (int i = 0; i < Sums<T>::m; ++i)
#pragma unroll
      for (int j = 0; j < Sums<T>::n; ++j)
        for (int e = 0; e < 4; ++e) sums.of[i][j][e] += part.of[i][j][e];
  } else {
    for (unsigned k = 0; k < inner && k < depth<T>; ++k)
      sums.for_each([&](unsigned r, unsigned c, T& sum) { sum += a(r, k) * b(c, k); });
  }
}

}  // namespace bm3::cuda
