#pragma once
// What reads other rows for each row of a sparse matrix: propagation and weighted edges.
#include "ops/cuda/kernel.h"

namespace bm3::cuda {

constexpr unsigned row_lanes = 16;  // a group, which shares a row: 16 bytes each, two rows a warp
constexpr int at_once = 8;          // entries whose rows a group loads together
constexpr unsigned row_blocks = 4;  // of a multiprocessor: the most that every architecture takes
constexpr int64_t long_row = 64;    // rows with more entries are shared by a block's groups
constexpr unsigned spread = 64;     // blocks that take turns with rows: neighbours may all be long

/// Returns the blocks for n rows, a group each.
inline unsigned blocks_of_rows(size_t n, unsigned groups) {
  const unsigned blocks = blocks_of(n, groups);
  return blocks < spread ? blocks : blocks_of(blocks, spread) * spread;
}

/// Calls alone(r, first, last) once in every lane, for the entries of its group's row, and then
/// shared(r, first, last) for each of the block's long rows, for the group's part of the entries;
/// without a row of its own a group has r = -1 and no entries. Blocks number the rows from the last
/// to the first: items have the longest lists, and one that starts late would keep the GPU waiting.
template <unsigned lanes, class Begin, class Alone, class Shared>
__device__ void for_rows_of_block(int64_t n_rows, const Begin& begin, const Alone& alone,
                                  const Shared& shared) {
  constexpr unsigned groups = block_threads / lanes;
  static_assert(groups <= warp);
  const unsigned own = threadIdx.x / lanes, lane = threadIdx.x % warp;
  const unsigned step = gridDim.x < spread ? gridDim.x : spread, turn = blockIdx.x % step;
  const int64_t top = n_rows - 1 - (int64_t{blockIdx.x} - turn) * groups - turn;
  const int64_t row = top - own * step, of_lane = top - lane * step;
  const auto entries = [&](int64_t r) { return r < 0 ? 0 : begin(r + 1) - begin(r); };
  const bool is_long = lane < groups && entries(of_lane) > long_row;
  const bool is_alone = row >= 0 && entries(row) <= long_row;
  const unsigned long_rows = __ballot_sync(full_warp, is_long);  // the same in every warp
  alone(is_alone ? row : -1, is_alone ? begin(row) : 0, is_alone ? begin(row + 1) : 0);
  for (unsigned left = long_rows; left != 0; left &= left - 1) {
    const int64_t r = top - (__ffs(static_cast<int>(left)) - 1) * static_cast<int64_t>(step);
    const int64_t first = begin(r), last = begin(r + 1);
    const int64_t each = (last - first + groups - 1) / groups, from = first + own * each;
    shared(r, from, min(from + each, last));
  }
}

/// Loads columns c .. c + width of `at_once` rows of x [.., d], each below 4 GiB: the numbers `of`
/// that the group's lanes first, first + 1, .. hold; -1 gives zeros. All lanes of the warp take
/// part; those with c >= d read nothing.
template <unsigned lanes, int width, class T>
__device__ void load_rows(Vector<T, width> (&rows)[at_once], const T* x, size_t d, size_t c,
                          int32_t of, int first) {
  const unsigned bytes = static_cast<unsigned>(d * sizeof(T));
  const char* const column = reinterpret_cast<const char*>(x + c);
  const bool has_column = c < d;
#pragma unroll
  for (int i = 0; i < at_once; ++i) {
    const int32_t j = __shfl_sync(full_warp, of, first + i, lanes);
    const auto* at = column + static_cast<size_t>(static_cast<unsigned>(j)) * bytes;
    rows[i] = j >= 0 && has_column ? vector_at<width>(reinterpret_cast<const T*>(at))
                                   : Vector<T, width>{};
  }
}

/// Returns the sum of weight(e) x_row(e) over the group's entries e = first .. last, in their
/// order, in columns c .. c + width of each lane with c < d. All lanes of the warp take part.
template <unsigned lanes, int width, class Of, class T = typename Of::Real>
__device__ Vector<T, width> sum_of_entries(const Of& of, int64_t first, int64_t last, size_t c) {
  const unsigned lane = threadIdx.x % lanes;
  const auto column = [&](int64_t e) { return e < last ? of.column(e) : -1; };
  Vector<T, width> sum{}, x[at_once];
  int32_t next = column(first + lane);
  for (int64_t e = first; __any_sync(full_warp, e < last); e += lanes) {
    const int32_t j = next;
    next = column(e + lanes + lane);
    const T s = j >= 0 ? of.weight(e + lane, j) : T(0);
    for (int k = 0; k < static_cast<int>(lanes) && __any_sync(full_warp, e + k < last);
         k += at_once) {
      load_rows<lanes>(x, of.x, of.d, c, j, k);
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const T s_i = __shfl_sync(full_warp, s, k + i, lanes);
        for (int m = 0; m < width; ++m) sum.x[m] += s_i * x[i].x[m];
      }
    }
  }
  return sum;
}

/// y_r = a(r) sum of the row's entries + b(r) z_r for each row r, in a tile of columns. b(r) = 0
/// leaves z_r unread.
template <unsigned lanes, int width, class Of, class T = typename Of::Real>
__global__ void __launch_bounds__(block_threads, row_blocks) row_sums_kernel(Of of) {
  constexpr unsigned groups = block_threads / lanes;
  __shared__ Vector<T, width> part[groups][lanes];
  const unsigned own = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const size_t c = (static_cast<size_t>(blockIdx.y) * lanes + lane) * width;
  /// Writes the row, if this lane does, with what sum() returns; loads all else before.
  const auto row = [&](bool writes, int64_t r, const auto& sum) {
    const size_t at = static_cast<size_t>(r) * of.d + c;
    const T a = writes ? of.a(r) : T(0), b = writes ? of.b(r) : T(0);
    const Vector<T, width> z = b != T(0) ? vector_at<width>(of.z + at) : Vector<T, width>{};
    Vector<T, width> y = sum();
    for (int m = 0; m < width; ++m) y.x[m] = a * y.x[m] + b * z.x[m];
    if (writes) vector_at<width>(of.y + at) = y;
  };
  for_rows_of_block<lanes>(
      of.n_rows, [&](int64_t r) { return of.begin(r); },
      [&](int64_t r, int64_t first, int64_t last) {
        row(r >= 0 && c < of.d, r,
            [&] { return sum_of_entries<lanes, width>(of, first, last, c); });
      },
      [&](int64_t r, int64_t first, int64_t last) {
        row(own == 0 && c < of.d, r, [&] {
          part[own][lane] = sum_of_entries<lanes, width>(of, first, last, c);
          __syncthreads();
          Vector<T, width> sum{};
          for (unsigned k = 0; own == 0 && k < groups; ++k)
            for (int m = 0; m < width; ++m) sum.x[m] += part[k][lane].x[m];
          __syncthreads();
          return sum;
        });
      });
}

/// Starts row_sums_kernel for `of`; a block's y is its tile of columns.
template <class Of, class T = typename Of::Real>
void sum_rows(cudaStream_t stream, const Of& of, std::initializer_list<const T*> at) {
  by_width<T>(of.d, row_lanes, at, [&](auto width) {
    const dim3 blocks(blocks_of_rows(static_cast<size_t>(of.n_rows), block_threads / row_lanes),
                      blocks_of(of.d, row_lanes * width));
    launch_behind(stream, blocks, block_threads, row_sums_kernel<row_lanes, width, Of>, of);
  });
}

}  // namespace bm3::cuda
