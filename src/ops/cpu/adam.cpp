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
void CpuOps<T>::adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                            const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                            size_t d) {
  const auto now = static_cast<uint32_t>(static_cast<int64_t>(*step) + lag);
  constexpr size_t tile = 64;  // columns that stay in registers while time passes
  for_blocks(n, 16, [&](size_t, size_t first_row, size_t last_row) {
    for (size_t k = first_row; k < last_row; ++k) {
      if (at.row(k) < 0) continue;
      uint32_t& last = at.last[at.row(k)];
      if (last == 0 || last >= now) continue;
      const size_t row = at.place(k) * d;
      for (size_t c = row; c < row + d; c += tile) {
        const size_t width = std::min(tile, row + d - c);
        T *const p = at.p + c, *const m = at.m + c, *const v = at.v + c;
        for (uint32_t t = last + 1; t <= now; ++t) {
          const AdamStep<T> then = schedule[t];
#pragma omp simd
          for (size_t i = 0; i < width; ++i) adam_update(p[i], m[i], v[i], T(0), constants, then);
        }
      }
      last = now;
    }
  });
}

template <class T>
void CpuOps<T>::adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                          const AdamStep<T>* schedule, const uint32_t* step, size_t n, size_t d) {
  const AdamStep<T> now = schedule[*step];
  for_blocks(n, 16, [&](size_t, size_t first_row, size_t last_row) {
    for (size_t k = first_row; k < last_row; ++k) {
      if (at.row(k) < 0) continue;
      const size_t row = at.place(k) * d;
      T *const p = at.p + row, *const m = at.m + row, *const v = at.v + row;
#pragma omp simd
      for (size_t c = 0; c < d; ++c) adam_update(p[c], m[c], v[c], g[k * d + c], constants, now);
      at.last[at.row(k)] = *step;
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
