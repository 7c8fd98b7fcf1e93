// Adam, dense and for rows that wait for their next gradient.
#include "ops/cpu/cpu_ops.h"

namespace bm3 {

template <class T>
void CpuOps<T>::adam(Matrix<T> p, Matrix<T> m, Matrix<T> v, ConstMatrix<T> g,
                     const AdamTime<T>& time) {
  BM3_SHAPE(shapes::same(p, m) && shapes::same(p, v) && shapes::same(p, g));
  const AdamStep<T> now = time.schedule[*time.step];
  for_entries(p.size(), [=, constants = time.constants](size_t i) {
    adam_update(p.at[i], m.at[i], v.at[i], g.at[i], constants, now);
  });
}

template <class T>
void CpuOps<T>::adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) {
  shapes::adam_rows(at);
  const auto now = static_cast<uint32_t>(static_cast<int64_t>(*time.step) + lag);
  constexpr size_t tile = 64;  // columns that stay in registers while time passes
  for_rows(at.rows.n, 16, [&](size_t k) {
    if (at.rows[k] < 0) return;
    const auto row = static_cast<size_t>(at.rows[k]);
    uint32_t& last = at.last[row];
    if (last == 0 || last >= now) return;
    for (size_t c = 0; c < at.p.cols; c += tile) {
      const size_t width = std::min(tile, at.p.cols - c);
      T *const p = at.p.row(row) + c, *const m = at.m.row(row) + c, *const v = at.v.row(row) + c;
      for (uint32_t t = last + 1; t <= now; ++t) {
        const AdamStep<T> then = time.schedule[t];
#pragma omp simd
        for (size_t i = 0; i < width; ++i)
          adam_update(p[i], m[i], v[i], T(0), time.constants, then);
      }
    }
    last = now;
  });
}

template <class T>
void CpuOps<T>::adam_rows(const AdamRows<T>& at, ConstMatrix<T> g, const AdamTime<T>& time) {
  shapes::adam_rows(at);
  BM3_SHAPE(at.rows.n == g.rows && at.p.cols == g.cols);
  const AdamStep<T> now = time.schedule[*time.step];
  for_rows(at.rows.n, 16, [&](size_t k) {
    if (at.rows[k] < 0) return;
    const auto row = static_cast<size_t>(at.rows[k]);
    T *const p = at.p.row(row), *const m = at.m.row(row), *const v = at.v.row(row);
    const T* const g_k = g.row(k);
#pragma omp simd
    for (size_t c = 0; c < g.cols; ++c)
      adam_update(p[c], m[c], v[c], g_k[c], time.constants, now);
    at.last[row] = *time.step;
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
