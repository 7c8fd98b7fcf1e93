// Adam, dense and for rows that wait for their next gradient.
#include "ops/cpu/cpu_ops.h"

namespace bm3 {

template <class T>
void CpuOps<T>::adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
                     const AdamStep<T>* schedule, const uint32_t* step, size_t n) {
  const AdamStep<T> now = schedule[*step];
  for_blocks(n, 16384, [&](size_t, size_t first, size_t last) {
#pragma omp simd
    for (size_t i = first; i < last; ++i) adam_update(p[i], m[i], v[i], g[i], constants, now);
  });
}

template <class T>
void CpuOps<T>::adam_replay(T* p, T* m, T* v, uint32_t* last, const int32_t* rows,
                            const AdamConstants<T>& constants, const AdamStep<T>* schedule,
                            const uint32_t* step, int lag, size_t n, size_t d) {
  const auto now = static_cast<uint32_t>(static_cast<int64_t>(*step) + lag);
  constexpr size_t tile = 64;  // columns that stay in registers while time passes
  for_blocks(n, 16, [&](size_t, size_t first_row, size_t last_row) {
    for (size_t k = first_row; k < last_row; ++k) {
      if (rows && rows[k] < 0) continue;
      const size_t r = rows ? static_cast<size_t>(rows[k]) : k;
      if (last[r] == 0 || last[r] >= now) continue;
      for (size_t c = r * d; c < (r + 1) * d; c += tile) {
        const size_t width = std::min(tile, (r + 1) * d - c);
        for (uint32_t t = last[r] + 1; t <= now; ++t) {
          const AdamStep<T> then = schedule[t];
#pragma omp simd
          for (size_t i = 0; i < width; ++i)
            adam_update(p[c + i], m[c + i], v[c + i], T(0), constants, then);
        }
      }
      last[r] = now;
    }
  });
}

template <class T>
void CpuOps<T>::adam_rows(T* p, T* m, T* v, uint32_t* last, const int32_t* rows, const T* g,
                          const AdamConstants<T>& constants, const AdamStep<T>* schedule,
                          const uint32_t* step, size_t n, size_t d) {
  const AdamStep<T> now = schedule[*step];
  for_blocks(n, 16, [&](size_t, size_t first_row, size_t last_row) {
    for (size_t k = first_row; k < last_row; ++k) {
      if (rows[k] < 0) continue;
      const size_t r = static_cast<size_t>(rows[k]) * d;
#pragma omp simd
      for (size_t c = 0; c < d; ++c)
        adam_update(p[r + c], m[r + c], v[r + c], g[k * d + c], constants, now);
      last[rows[k]] = *step;
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
