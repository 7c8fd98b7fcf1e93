// Rows of a batch and the dropout masks of their views [Eq. 5].
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

constexpr size_t lanes = 16;  // blocks of Philox that are drawn side by side
constexpr size_t columns_at_once = 4 * lanes;

/// kept [columns_at_once] = 0 or 1 for the columns of blocks first_block, first_block + 1, ..: the
/// words of `philox`, each round for all lanes.
void draw_columns(uint8_t* kept, uint32_t threshold, uint64_t seed, uint32_t stream, uint32_t step,
                  uint64_t first_block) {
  uint32_t c0[lanes], c1[lanes], c2[lanes], c3[lanes];
#pragma omp simd
  for (uint32_t i = 0; i < lanes; ++i) {
    c0[i] = static_cast<uint32_t>(first_block) + i;
    c1[i] = static_cast<uint32_t>(first_block >> 32);
    c2[i] = step;
    c3[i] = stream;
  }
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (uint32_t round = 0; round < philox_rounds; ++round) {
#pragma omp simd
    for (size_t i = 0; i < lanes; ++i) philox_round(c0[i], c1[i], c2[i], c3[i], k0, k1);
    k0 += philox_step0;
    k1 += philox_step1;
  }
#pragma omp simd
  for (size_t i = 0; i < lanes; ++i) {
    kept[4 * i] = c0[i] >= threshold;
    kept[4 * i + 1] = c1[i] >= threshold;
    kept[4 * i + 2] = c2[i] >= threshold;
    kept[4 * i + 3] = c3[i] >= threshold;
  }
}

}  // namespace

// y = x[rows]
template <class T>
void CpuOps<T>::gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  shapes::rows_of(y, x, rows);
  for_blocks(y.rows, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      if (rows[r] < 0)
        std::fill_n(y.row(r), y.cols, T(0));
      else
        std::copy_n(x.row(static_cast<size_t>(rows[r])), y.cols, y.row(r));
    }
  });
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CpuOps<T>::scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  shapes::rows_of(x, y, rows);
  for_blocks(x.rows, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      if (rows[r] < 0) continue;
      T* const to = y.row(static_cast<size_t>(rows[r]));
      const T* const from = x.row(r);
#pragma omp simd
      for (size_t c = 0; c < x.cols; ++c) to[c] += from[c];
    }
  });
}

template <class T>
void CpuOps<T>::draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) {
  BM3_SHAPE(rows.n == mask.rows);
  const uint32_t threshold = drop_threshold(p);
  for_blocks(mask.rows, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r)
      for (size_t c = 0; c < mask.cols; c += columns_at_once) {
        uint8_t drawn[columns_at_once];
        draw_columns(drawn, threshold, key.seed, key.stream, *key.step,
                     mask_block(rows[r], 0) + c / 4);
        std::copy_n(drawn, std::min(columns_at_once, mask.cols - c), mask.row(r) + c);
      }
  });
}

template <class T>
void CpuOps<T>::draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) {
  BM3_SHAPE(mask.cols == 1);
  *rate = drop_rate(ratio, philox(key.seed, key.stream, *key.step, 0).x[0]);
  const uint32_t threshold = drop_threshold(*rate);
  for_blocks(mask.rows, 256 * columns_at_once, [&](size_t, size_t first, size_t last) {
    for (size_t e = first; e < last; e += columns_at_once) {
      uint8_t drawn[columns_at_once];
      draw_columns(drawn, threshold, key.seed, key.stream, *key.step, edge_block(e / 4));
      std::copy_n(drawn, std::min(columns_at_once, last - e), mask.at + e);
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
