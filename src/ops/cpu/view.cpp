// Rows of a batch and the dropout masks of their views [Eq. 5].
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

constexpr size_t runs = 4, blocks_of_run = 16;  // of Philox, which are drawn side by side
constexpr size_t blocks_at_once = runs * blocks_of_run;
constexpr size_t columns_of_run = 4 * blocks_of_run;

/// kept [runs, columns_of_run] = 0 or 1 for the columns of blocks first[run], first[run] + 1, ..
void draw_runs(uint8_t* kept, uint32_t threshold, const DrawKey& key,
               const uint64_t (&first)[runs]) {
  const uint32_t step = *key.step;
#pragma omp simd
  for (uint32_t i = 0; i < blocks_at_once; ++i) {
    const uint64_t block = first[i / blocks_of_run] + i % blocks_of_run;
    const Random4 random = philox(key.seed, key.stream, step, block);
    for (size_t k = 0; k < 4; ++k) kept[4 * i + k] = random.x[k] >= threshold;
  }
}

}  // namespace

// y = x[rows]
template <class T>
void CpuOps<T>::gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  BM3_SHAPE(rows.n == y.rows && x.cols == y.cols);
  for_rows(y.rows, 256, [&](size_t r) {
    if (rows[r] < 0)
      std::fill_n(y.row(r), y.cols, T(0));
    else
      std::copy_n(x.row(static_cast<size_t>(rows[r])), y.cols, y.row(r));
  });
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CpuOps<T>::scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  BM3_SHAPE(rows.n == x.rows && x.cols == y.cols);
  for_rows(x.rows, 256, [&](size_t r) {
    if (rows[r] < 0) return;
    T* const to = y.row(static_cast<size_t>(rows[r]));
    const T* const from = x.row(r);
#pragma omp simd
    for (size_t c = 0; c < x.cols; ++c) to[c] += from[c];
  });
}

template <class T>
void CpuOps<T>::draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) {
  BM3_SHAPE(rows.n == mask.rows);
  const uint32_t threshold = drop_threshold(p);
  for_blocks(mask.rows, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; r += runs)
      for (size_t c = 0; c < mask.cols; c += columns_of_run) {
        uint8_t drawn[4 * blocks_at_once];
        uint64_t block[runs];
        for (size_t k = 0; k < runs; ++k)
          block[k] = mask_block(rows[std::min(r + k, last - 1)], 0) + c / 4;
        draw_runs(drawn, threshold, key, block);
        for (size_t k = 0; k < std::min(runs, last - r); ++k)
          std::copy_n(drawn + k * columns_of_run, std::min(columns_of_run, mask.cols - c),
                      mask.row(r + k) + c);
      }
  });
}

template <class T>
void CpuOps<T>::draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) {
  BM3_SHAPE(mask.cols == 1);
  *rate = drop_rate(ratio, philox(key.seed, key.stream, *key.step, 0).x[0]);
  const uint32_t threshold = drop_threshold(*rate);
  for_blocks(mask.rows, 64 * 4 * blocks_at_once, [&](size_t, size_t first, size_t last) {
    for (size_t e = first; e < last; e += 4 * blocks_at_once) {
      uint8_t drawn[4 * blocks_at_once];
      uint64_t block[runs];
      for (size_t k = 0; k < runs; ++k) block[k] = edge_block(e / 4 + k * blocks_of_run);
      draw_runs(drawn, threshold, key, block);
      std::copy_n(drawn, std::min(4 * blocks_at_once, last - e), mask.at + e);
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
