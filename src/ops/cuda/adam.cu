// Adam, dense and for rows that wait for their next gradient. Compiled without contraction of
// products and sums (--fmad=false), so that `adam_update` has the same bits in each of these
// kernels.
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/kernel.h"

namespace bm3 {
namespace {

using namespace cuda;

__global__ void advance_kernel(uint32_t* step) { *step += 1; }

template <int width, class T>
__device__ void update(T* p, T* m, T* v, Vector<T, width> g, const AdamConstants<T>& constants,
                       const AdamStep<T>& now) {
  auto &p_i = vector_at<T, width>(p), &m_i = vector_at<T, width>(m), &v_i = vector_at<T, width>(v);
  Vector<T, width> new_p = p_i, new_m = m_i, new_v = v_i;
  for (int k = 0; k < width; ++k)
    adam_update(new_p.x[k], new_m.x[k], new_v.x[k], g.x[k], constants, now);
  p_i = new_p;
  m_i = new_m;
  v_i = new_v;
}

/// Vectors first .. of n numbers; the numbers that fill no vector are the last threads' own.
template <int width, class T>
__global__ void adam_kernel(T* p, T* m, T* v, const T* g, AdamConstants<T> constants,
                            const AdamStep<T>* schedule, const uint32_t* step, size_t n) {
  const size_t thread = grid_thread(), vectors = n / width;
  const AdamStep<T> now = schedule[*step];
  if (thread < vectors) {
    const size_t i = thread * width;
    update<width>(p + i, m + i, v + i, vector_at<T, width>(g + i), constants, now);
  } else if (const size_t i = vectors * width + (thread - vectors); i < n) {
    update<1>(p + i, m + i, v + i, vector_at<T, 1>(g + i), constants, now);
  }
}

__device__ inline uint32_t lagged(const uint32_t* step, int lag) {
  return static_cast<uint32_t>(static_cast<int64_t>(*step) + lag);
}

/// One thread replays `width` columns of a row; d counts such groups of columns.
template <int width, class T>
__global__ void adam_replay_kernel(AdamRows<T> at, AdamConstants<T> constants,
                                   const AdamStep<T>* schedule, const uint32_t* step, int lag,
                                   size_t n, size_t d) {
  const size_t k = matrix_row(), c = matrix_column();
  if (k >= n || c >= d || at.row(k) < 0) return;
  const uint32_t now = lagged(step, lag), then = at.last[at.row(k)];
  if (then == 0 || then >= now) return;
  const size_t i = (at.place(k) * d + c) * width;
  auto &p = vector_at<T, width>(at.p + i), &m = vector_at<T, width>(at.m + i);
  auto& v = vector_at<T, width>(at.v + i);
  Vector<T, width> new_p = p, new_m = m, new_v = v;
  for (uint32_t t = then + 1; t <= now; ++t) {
    const AdamStep<T> of_t = schedule[t];
    for (int j = 0; j < width; ++j)
      adam_update(new_p.x[j], new_m.x[j], new_v.x[j], T(0), constants, of_t);
  }
  p = new_p;
  m = new_m;
  v = new_v;
}

/// last[row] = *step + lag where that is later and the row has a history: a kernel of its own,
/// after all threads of `adam_replay_kernel` have read last.
template <class T>
__global__ void adam_stamp_kernel(AdamRows<T> at, const uint32_t* step, int lag, size_t n) {
  const size_t k = grid_thread();
  if (k >= n || at.row(k) < 0) return;
  const uint32_t now = lagged(step, lag);
  uint32_t& last = at.last[at.row(k)];
  if (last != 0 && last < now) last = now;
}

template <int width, class T>
__global__ void adam_rows_kernel(AdamRows<T> at, const T* g, AdamConstants<T> constants,
                                 const AdamStep<T>* schedule, const uint32_t* step, size_t n,
                                 size_t d) {
  const size_t k = matrix_row(), c = matrix_column();
  if (k >= n || c >= d || at.row(k) < 0) return;
  const size_t i = (at.place(k) * d + c) * width;
  update<width>(at.p + i, at.m + i, at.v + i, vector_at<T, width>(g + (k * d + c) * width),
                constants, schedule[*step]);
  if (c == 0) at.last[at.row(k)] = *step;
}

}  // namespace

template <class T>
void CudaOps<T>::advance(uint32_t* step) {
  start(stream(), 1, 1, advance_kernel, step);
}

template <class T>
void CudaOps<T>::adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
                      const AdamStep<T>* schedule, const uint32_t* step, size_t n) {
  constexpr int wide = widest<T>;
  if (in_vectors<T>(0, wide, {p, m, v, g}))  // any n: the kernel takes care of the rest
    launch(stream(), blocks_of(n / wide + n % wide, block_threads), adam_kernel<wide, T>, p, m, v,
           g, constants, schedule, step, n);
  else
    launch(stream(), blocks_of(n, block_threads), adam_kernel<1, T>, p, m, v, g, constants,
           schedule, step, n);
}

template <class T>
void CudaOps<T>::adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                             const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                             size_t d) {
  constexpr int wide = widest<T>;
  if (in_vectors<T>(d, wide, {at.p, at.m, at.v}))
    launch_matrix(stream(), n, d / wide, adam_replay_kernel<wide, T>, at, constants, schedule,
                  step, lag, n, d / wide);
  else
    launch_matrix(stream(), n, d, adam_replay_kernel<1, T>, at, constants, schedule, step, lag, n,
                  d);
  launch(stream(), blocks_of(n, block_threads), adam_stamp_kernel<T>, at, step, lag, n);
}

template <class T>
void CudaOps<T>::adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                           const AdamStep<T>* schedule, const uint32_t* step, size_t n, size_t d) {
  constexpr int wide = widest<T>;
  if (in_vectors<T>(d, wide, {at.p, at.m, at.v, g}))
    launch_matrix(stream(), n, d / wide, adam_rows_kernel<wide, T>, at, g, constants, schedule,
                  step, n, d / wide);
  else
    launch_matrix(stream(), n, d, adam_rows_kernel<1, T>, at, g, constants, schedule, step, n, d);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
