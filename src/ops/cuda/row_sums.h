#pragma once
// Sums of other rows for each row of a sparse matrix: propagation and weighted edges.
#include "ops/cuda/kernel.h"

namespace bm3::cuda {

constexpr int64_t long_row = 64;  // rows with more entries are shared by a block's warps
/// Entries whose rows are loaded together: what the registers hold at four blocks a multiprocessor,
/// the most that every architecture takes.
template <class T>
constexpr int at_once = 32 / sizeof(T);

/// sum of weight(e) x_row(e) over the entries e = first .. last, in columns c .. c + width of each
/// lane with c < d. All loads of a batch of entries are under way before the first is added.
template <int width, class Of, class T = typename Of::Real>
__device__ Vector<T, width> sum_of_entries(const Of& of, int64_t first, int64_t last, size_t c) {
  Vector<T, width> sum{};
  if (c >= of.d) return sum;
  constexpr int n = at_once<T>;
  for (int64_t e = first; e < last; e += n) {
    int32_t j[n];
    T s[n];
    Vector<T, width> x[n];
#pragma unroll
    for (int k = 0; k < n; ++k) j[k] = e + k < last ? of.column(e + k) : -1;
#pragma unroll
    for (int k = 0; k < n; ++k) {
      s[k] = j[k] >= 0 ? of.weight(e + k, j[k]) : T(0);
      x[k] = j[k] >= 0 ? vector_at<width>(of.x + static_cast<size_t>(j[k]) * of.d + c)
                       : Vector<T, width>{};
    }
#pragma unroll
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < width; ++i) sum.x[i] += s[k] * x[k].x[i];
  }
  return sum;
}

/// Calls of.write(row, c, sum of the row's entries) for each row and lane: a warp a row, then all
/// warps together each of the block's long rows. `write` takes a function that returns the sum, so
/// that it can load before. The last rows come first: items have the longest lists, and one that
/// starts late would keep the GPU waiting.
template <int width, class Of, class T = typename Of::Real>
__global__ void __launch_bounds__(block_threads, 4) row_sums_kernel(Of of) {
  __shared__ Vector<T, width> part[warps_of_block][warp];
  const unsigned own = threadIdx.x / warp, lane = threadIdx.x % warp;
  const int64_t top = of.n_rows - 1 - static_cast<int64_t>(blockIdx.x) * warps_of_block;
  const int64_t row = top - own, of_lane = top - lane;  // the block's rows: top, top - 1, ..
  const bool is_long = lane < warps_of_block && of_lane >= 0 &&
                       of.begin(of_lane + 1) - of.begin(of_lane) > long_row;
  const unsigned long_rows = __ballot_sync(full_warp, is_long);  // the same in every warp
  for (size_t tile = 0; tile < of.d; tile += warp * width) {
    const size_t c = tile + lane * width;
    if (row >= 0 && (long_rows >> own & 1) == 0 && c < of.d)
      of.template write<width>(row, c, [&] {
        return sum_of_entries<width>(of, of.begin(row), of.begin(row + 1), c);
      });
    for (unsigned left = long_rows; left != 0; left &= left - 1) {
      const int64_t r = top - (__ffs(static_cast<int>(left)) - 1);
      const int64_t first = of.begin(r), last = of.begin(r + 1);
      const int64_t each = (last - first + warps_of_block - 1) / warps_of_block;
      const int64_t from = first + own * each;
      part[own][lane] = sum_of_entries<width>(of, from, min(from + each, last), c);
      __syncthreads();
      if (own == 0 && c < of.d)
        of.template write<width>(r, c, [&] {
          Vector<T, width> sum = part[0][lane];
          for (unsigned k = 1; k < warps_of_block; ++k)
            for (int i = 0; i < width; ++i) sum.x[i] += part[k][lane].x[i];
          return sum;
        });
      __syncthreads();
    }
  }
}

}  // namespace bm3::cuda
