#pragma once
// A block's product of two tiles in shared memory, on tensor cores where there are some.
#include <cuda_pipeline_primitives.h>

#include "ops/cuda/kernel.h"

namespace bm3::cuda {

// ------------------------------------------------------------------------------------ operands

constexpr unsigned side = 64;              // rows, and columns, of a result's tile
constexpr unsigned product_threads = 128;  // four warps, each with a quarter [32, 32] of it
constexpr unsigned stages = 3;             // tiles of an operand on their way or in use
/// How much of the inner size is multiplied at once: 128 bytes of a row.
template <class T>
constexpr unsigned depth = 128 / sizeof(T);
/// Tiles of both operands, [stages][2], in shared memory.
template <class T>
using Tiles = T[stages][2][side * depth<T>];

/// An operand x[rows] of a product, read by a block tile by tile: its inner size runs along its
/// columns, or its rows. What is beyond x, and padding, is 0.
template <class T, bool inner_is_columns, int width>
class Operand {
 public:
  __device__ Operand(Matrix<const T> x, Rows rows)
      : x_(x.at), columns_(static_cast<unsigned>(x.cols)), list_(rows.at),
        n_(static_cast<unsigned>(rows.n)) {}

  /// Turns to the tiles that begin at this row of a result, or column; the first to be read begins
  /// at this place of the inner size.
  __device__ void begin(unsigned outer_first, unsigned inner_first) {
    first_row_ = inner_is_columns ? outer_first : inner_first;
    column_ = (inner_is_columns ? inner_first : outer_first) + column();
    find();
  }
  /// Starts to copy the next tile along the inner size.
  __device__ void read(T* tile) {
    const unsigned bytes = columns_ * sizeof(T);  // of a row, whose multiples take 64 bits
    const char* const base = reinterpret_cast<const char*>(x_ + column_);
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k) {
      const bool is_there = row_[k] != none && column_ < columns_;
      T* const to = tile + (inner_is_columns ? place(row(k), column()) : place(column(), row(k)));
      __pipeline_memcpy_async(to, base + static_cast<size_t>(row_[k]) * bytes, width * sizeof(T),
                              is_there ? 0 : width * sizeof(T));
    }
    if constexpr (inner_is_columns) {
      column_ += depth<T>;
    } else {
      first_row_ += depth<T>;
      find();
    }
  }
  /// Where a tile's number at this place of the outer and of the inner size lies. As in x, but for
  /// bits that are flipped so that the reads of `load` meet no memory bank twice.
  __device__ static unsigned place(unsigned o, unsigned i) {
    return inner_is_columns ? o * depth<T> + (i ^ o / 4 % 2 * (depth<T> / 2))
                            : i * side + (o ^ i / 4 % 4 * 8);
  }
  /// x[p][q] = the number at (o + p, i + q), o and i multiples of 4.
  __device__ static void load(T (&x)[4][4], const T* tile, unsigned o, unsigned i) {
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      const auto four =
          vector_at<4>(tile + (inner_is_columns ? place(o + k, i) : place(o, i + k)));
#pragma unroll
      for (unsigned j = 0; j < 4; ++j) (inner_is_columns ? x[k][j] : x[j][k]) = four.x[j];
    }
  }

 private:
  static constexpr unsigned breadth = inner_is_columns ? depth<T> : side;
  static constexpr unsigned across = breadth / width;  // threads that share a row
  static constexpr unsigned pieces = side * depth<T> / width / product_threads;
  static_assert(product_threads % across == 0);
  static constexpr unsigned none = ~0u;
  /// Row and column of this thread's pieces in a tile: neighbouring rows.
  __device__ static unsigned row(unsigned k) { return threadIdx.x / across * pieces + k; }
  __device__ static unsigned column() { return threadIdx.x % across * width; }

  /// Finds the pieces' rows in a tile that begins at first_row_.
  __device__ void find() {
#pragma unroll
    for (unsigned k = 0; k < pieces; ++k) {
      const unsigned r = first_row_ + row(k);
      row_[k] = r < n_ ? r : none;
      if (list_ && r < n_) row_[k] = static_cast<unsigned>(list_[r]);  // -1 is none
    }
  }

  const T* x_;
  unsigned columns_;
  const int32_t* list_;
  unsigned n_, first_row_ = 0, column_ = 0, row_[pieces];
};

/// Calls use(a's tile, b's tile) for each step, after read(a's tile, b's tile), which starts the
/// copies two steps earlier; all threads of a block call it.
template <class T, class Read, class Use>
__device__ void for_tiles(Tiles<T>& tiles, unsigned steps, const Read& read, const Use& use) {
  constexpr unsigned ahead = stages - 1;
  unsigned to_read = 0, to_use = 0;
  const auto start = [&](unsigned step) {
    if (step < steps) read(tiles[to_read][0], tiles[to_read][1]);
    to_read = to_read == stages - 1 ? 0 : to_read + 1;
    __pipeline_commit();
  };
  for (unsigned step = 0; step < ahead; ++step) start(step);
  for (unsigned step = 0; step < steps; ++step) {
    __pipeline_wait_prior(ahead - 1);
    __syncthreads();  // all see this step's tiles, and have used those that are overwritten now
    start(step + ahead);
    use(tiles[to_use][0], tiles[to_use][1]);
    to_use = to_use == stages - 1 ? 0 : to_use + 1;
  }
}

// ------------------------------------------------------------------------------------ products

/// What a lane has of a warp's part [32, 32] of a result: of rows 4g .. 4g + 3 the columns 8t .. 8t
/// + 7, with g = lane / 4 and t = lane % 4.
template <class T>
struct Sums {
  T x[4][8];
  __device__ static unsigned first_row() { return threadIdx.x % warp / 4 * 4; }
  __device__ static unsigned first_column() { return threadIdx.x % 4 * 8; }
};

/// sums += a b over 16 of the inner size, on tensor cores.
template <class A, class B>
__device__ void add_sixteenth(Sums<float>& sums, const float* tile_A, const float* tile_B,
                              unsigned row, unsigned column, unsigned k);

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <class T>
constexpr bool on_tensor_cores = sizeof(T) == 4;

/// x = big + small, exactly: big is x rounded to 11 bits, small has the other 12, of which tensor
/// cores read 11: all but 2^-22 of x.
__device__ inline void split(uint32_t& big, uint32_t& small, float x) {
  big = (__float_as_uint(x) + 0x1000) & 0xffffe000u;
  small = __float_as_uint(x - __uint_as_float(big));
}
/// c += a b for the warp's a [16, 8] and b [8, 8]; a lane has of c rows g and g + 8 and columns 2t
/// and 2t + 1 (PTX ISA, mma.m16n8k8).
__device__ inline void multiply(float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4],
                                const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// With a = A + a' and b = B + b', big and small, a b = A B + A b' + a' B but for a' b', at most
/// 2^-20 of it: about float32's rounding, from three products in TF32. Which row, column and inner
/// number a lane's operands stand for is free: its neighbours 4g + .., 4t + .. are read at once.
template <class A, class B>
__device__ void add_sixteenth(Sums<float>& sums, const float* tile_A, const float* tile_B,
                              unsigned row, unsigned column, unsigned k) {
  const unsigned g = threadIdx.x % warp / 4, t = threadIdx.x % 4;
  float a[4][4], b[4][4];
  A::load(a, tile_A, row + 4 * g, k + 4 * t);
  B::load(b, tile_B, column + 4 * g, k + 4 * t);
#pragma unroll
  for (unsigned half = 0; half < 2; ++half) {
    uint32_t a_of[2][2][4], b_of[2][4][2];  // big, small
#pragma unroll
    for (unsigned i = 0; i < 2; ++i)
#pragma unroll
      for (unsigned e = 0; e < 4; ++e)
        split(a_of[0][i][e], a_of[1][i][e], a[2 * i + e % 2][2 * half + e / 2]);
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
#pragma unroll
      for (unsigned e = 0; e < 2; ++e)
        split(b_of[0][j][e], b_of[1][j][e], b[j][2 * half + e]);
#pragma unroll
    for (int product = 0; product < 3; ++product)  // the small ones first; none waits for the last
#pragma unroll
      for (unsigned i = 0; i < 2; ++i)
#pragma unroll
        for (unsigned j = 0; j < 4; ++j)
          multiply(sums.x[2 * i][j], sums.x[2 * i][j + 4], sums.x[2 * i + 1][j],
                   sums.x[2 * i + 1][j + 4], a_of[product == 0][i], b_of[product == 1][j]);
  }
}
#else
template <class T>
constexpr bool on_tensor_cores = false;
#endif

/// sums += sum over k < inner of a_rk b_ck, for the warp's part that begins at (row, column) of the
/// tiles; beyond `inner`, up to depth<T>, both are 0.
template <class A, class B, class T>
__device__ void add_product(Sums<T>& sums, const T* tile_A, const T* tile_B, unsigned row,
                            unsigned column, unsigned inner) {
  if constexpr (on_tensor_cores<T>) {
    Sums<T> part{};  // tensor cores do not round to nearest: their chains are kept short
#pragma unroll
    for (unsigned k = 0; k < depth<T>; k += 16)
      add_sixteenth<A, B>(part, tile_A, tile_B, row, column, k);
#pragma unroll
    for (unsigned r = 0; r < 4; ++r)
#pragma unroll
      for (unsigned c = 0; c < 8; ++c) sums.x[r][c] += part.x[r][c];
  } else {
    row += Sums<T>::first_row();
    column += Sums<T>::first_column();
    for (unsigned k = 0; k < inner && k < depth<T>; ++k)
      for (unsigned r = 0; r < 4; ++r)
        for (unsigned c = 0; c < 8; ++c)
          sums.x[r][c] += tile_A[A::place(row + r, k)] * tile_B[B::place(column + c, k)];
  }
}

}  // namespace bm3::cuda
