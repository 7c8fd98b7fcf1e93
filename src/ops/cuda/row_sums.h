#pragma once
// What reads other rows for each row of a sparse matrix: propagation and weighted edges.
#include "ops/cuda/kernel.h"

namespace bm3::cuda {

constexpr unsigned row_threads = 128;  // of a block: few, since all wait for the longest row
constexpr unsigned row_lanes = 16;     // a group, which shares a row: 16 bytes each
constexpr unsigned groups = row_threads / row_lanes;  // of a block
constexpr unsigned row_blocks = 8;  // of a multiprocessor: the most that every architecture takes
constexpr int at_once = 8;          // entries whose rows a group loads together
constexpr int32_t long_row = 64;    // rows with more entries are shared by a block's groups
constexpr unsigned spread = 64;     // blocks that take turns with rows: neighbours may all be long

/// Returns the blocks for n rows, a group each.
inline unsigned blocks_of_rows(size_t n) {
  const unsigned blocks = blocks_of(n, groups);
  return blocks < spread ? blocks : blocks_of(blocks, spread) * spread;
}

/// Calls alone(r, first, n) once in every lane, for the n entries of its group's row, and then
/// shared(r, first, n) for each of the block's long rows, for the group's part of the entries;
/// without a row of its own a group has r = -1 and no entries. Blocks number the rows from the last
/// to the first: items have the longest lists, and one that starts late would keep the GPU waiting.
template <class Begin, class Alone, class Shared>
__device__ void for_rows_of_block(int64_t n_rows, const Begin& begin, const Alone& alone,
                                  const Shared& shared) {
  static_assert(groups <= warp);
  const unsigned own = threadIdx.x / row_lanes, lane = threadIdx.x % warp;
  const bool few = gridDim.x < spread;
  const unsigned step = few ? gridDim.x : spread, turn = few ? blockIdx.x : blockIdx.x % spread;
  // Rows are numbered by 32 bits, and so are the entries of one.
  const auto top = static_cast<int32_t>(n_rows - 1 - int64_t{blockIdx.x - turn} * groups - turn);
  const auto row_of = [&](unsigned group) { return top - static_cast<int32_t>(group * step); };
  // Lane k knows the list of group k's row.
  const int32_t of_lane = lane < groups ? row_of(lane) : -1;
  const int64_t first = of_lane < 0 ? 0 : begin(of_lane);
  const int32_t n = of_lane < 0 ? 0 : static_cast<int32_t>(begin(of_lane + 1) - first);
  const auto first_of = [&](unsigned group) { return __shfl_sync(full_warp, first, group); };
  const auto n_of = [&](unsigned group) { return __shfl_sync(full_warp, n, group); };
  const int32_t row = row_of(own), n_own = n_of(own);
  const bool is_alone = row >= 0 && n_own <= long_row;
  alone(is_alone ? row : -1, first_of(own), is_alone ? n_own : 0);
  for (unsigned left = __ballot_sync(full_warp, n > long_row); left != 0; left &= left - 1) {
    const unsigned group = static_cast<unsigned>(__ffs(static_cast<int>(left))) - 1;
    const int32_t all = n_of(group), each = (all - 1) / static_cast<int32_t>(groups) + 1;
    const int32_t from = static_cast<int32_t>(own) * each;
    shared(row_of(group), first_of(group) + from, max(0, min(each, all - from)));
  }
}

/// Loads `at_once` rows, `bytes` apart, from this column on: those of the numbers, each a row's,
/// that the group's lanes first, first + 1, .. hold. All lanes of the warp take part.
template <int width, class T>
__device__ void load_rows(Vector<T, width> (&rows)[at_once], const T* column, unsigned bytes,
                          int32_t number, int first) {
#pragma unroll
  for (int i = 0; i < at_once; ++i) {
    const int32_t j = __shfl_sync(full_warp, number, first + i, row_lanes);
    rows[i] = vector_at<width>(reinterpret_cast<const T*>(
        reinterpret_cast<const char*>(column) + size_t{static_cast<unsigned>(j)} * bytes));
  }
}

/// Returns the sum of weight(e) x_row(e) over the group's n entries from `first` on, in their
/// order, in columns c .. c + width of each lane with c < d. All lanes of the warp take part. Where
/// a row has no more entries, its first one goes on with weight 0: no load depends on a condition.
/// What is infinite in the row may therefore become NaN.
template <int width, class Of, class T = typename Of::Real>
__device__ Vector<T, width> sum_of_entries(const Of& of, int64_t first, int32_t n, size_t c) {
  const auto lane = static_cast<int32_t>(threadIdx.x % row_lanes);
  const auto number = [&](int32_t e) { return e < n ? of.column(first + e) : -1; };
  const T* const column = of.x + (c < of.d ? c : 0);
  const auto bytes = static_cast<unsigned>(of.d * sizeof(T));
  Vector<T, width> sum{}, x[at_once];
  int32_t next = number(lane);
  const int32_t some = max(0, __shfl_sync(full_warp, next, 0, row_lanes));
  for (int32_t e = 0; __any_sync(full_warp, e < n); e += row_lanes) {
    const int32_t own = next, j = own < 0 ? some : own;
    next = number(e + static_cast<int32_t>(row_lanes) + lane);
    const T s = own < 0 ? T(0) : of.weight(first + e + lane, own);
    for (int k = 0; k < static_cast<int>(row_lanes) && __any_sync(full_warp, e + k < n);
         k += at_once) {
      load_rows(x, column, bytes, j, k);
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const T s_i = __shfl_sync(full_warp, s, k + i, row_lanes);
        for (int m = 0; m < width; ++m) sum.x[m] += s_i * x[i].x[m];
      }
    }
  }
  return n > 0 ? sum : Vector<T, width>{};
}

/// y_r = a(r) sum of the row's entries + b(r) z_r for each row r, in a tile of columns. b(r) = 0
/// leaves z_r unread.
template <int width, class Of, class T = typename Of::Real>
__global__ void __launch_bounds__(row_threads, row_blocks) row_sums_kernel(Of of) {
  __shared__ Vector<T, width> part[groups][row_lanes];
  const unsigned own = threadIdx.x / row_lanes, lane = threadIdx.x % row_lanes;
  const size_t c = (static_cast<size_t>(blockIdx.y) * row_lanes + lane) * width;
  /// Writes the row, if this lane does, with what sum() returns; loads all else before.
  const auto row = [&](bool writes, int64_t r, const auto& sum) {
    const size_t at = static_cast<size_t>(r) * of.d + c;
    const T a = writes ? of.a(r) : T(0), b = writes ? of.b(r) : T(0);
    const Vector<T, width> z = b != T(0) ? vector_at<width>(of.z + at) : Vector<T, width>{};
    Vector<T, width> y = sum();
    for (int m = 0; m < width; ++m) y.x[m] = a * y.x[m] + b * z.x[m];
    if (writes) store(of.y + at, y);
  };
  for_rows_of_block(
      of.n_rows, [&](int32_t r) { return of.begin(r); },
      [&](int32_t r, int64_t first, int32_t n) {
        row(r >= 0 && c < of.d, r, [&] { return sum_of_entries<width>(of, first, n, c); });
      },
      [&](int32_t r, int64_t first, int32_t n) {
        row(own == 0 && c < of.d, r, [&] {
          part[own][lane] = sum_of_entries<width>(of, first, n, c);
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
    const dim3 blocks(blocks_of_rows(static_cast<size_t>(of.n_rows)),
                      blocks_of(of.d, row_lanes * width));
    launch_behind(stream, blocks, row_threads, row_sums_kernel<width, Of>, of);
  });
}

}  // namespace bm3::cuda
