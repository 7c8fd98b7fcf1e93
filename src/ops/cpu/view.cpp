// Rows of a batch and their dropout views [Eq. 5].
#include "ops/cpu/cpu_ops.h"

namespace bm3 {

// y = x[rows]
template <class T>
void CpuOps<T>::gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) {
  for_blocks(n, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      if (rows[r] < 0)
        std::fill(y + r * d, y + (r + 1) * d, T(0));
      else
        std::copy_n(x + static_cast<size_t>(rows[r]) * d, d, y + r * d);
    }
  });
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CpuOps<T>::scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) {
  for_blocks(n, 256, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      if (rows[r] < 0) continue;
      T* to = y + static_cast<size_t>(rows[r]) * d;
#pragma omp simd
      for (size_t c = 0; c < d; ++c) to[c] += x[r * d + c];
    }
  });
}

template <class T>
void CpuOps<T>::draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p,
                          uint64_t seed, uint32_t stream, const uint32_t* step) {
  const uint32_t threshold = drop_threshold(p);
  const size_t column_blocks = (d + 3) / 4;
  for_blocks(n, 256, [&](size_t, size_t first, size_t last) {
    std::vector<uint8_t> words(column_blocks * 4);
    for (size_t r = first; r < last; ++r) {
#pragma omp simd
      for (size_t block = 0; block < column_blocks; ++block) {
        const Random4 random =
            philox(seed, stream, *step, mask_block(rows[r], static_cast<int64_t>(block)));
        for (size_t lane = 0; lane < 4; ++lane)
          words[4 * block + lane] = random.x[lane] >= threshold;
      }
      std::copy_n(words.begin(), d, mask + r * d);
    }
  });
}

// view = h * mask / (1 - p)
template <class T>
void CpuOps<T>::make_view(T* view, const T* h, const uint8_t* mask, double p, size_t n, size_t d) {
  const T kept = static_cast<T>(1 / (1 - p));
  for_blocks(n * d, 16384, [&](size_t, size_t first, size_t last) {
#pragma omp simd
    for (size_t i = first; i < last; ++i) view[i] = mask[i] ? h[i] * kept : T(0);
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
