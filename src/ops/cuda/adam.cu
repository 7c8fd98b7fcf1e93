// Adam, dense and for rows that wait for their next gradient. Compiled without contraction of
// products and sums (--fmad=false), so that `adam_update` has the same bits in each of these
// kernels.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

__global__ void advance_kernel(uint32_t* step) { *step += 1; }

/// Steps first .. last of `width` numbers, each with the gradient g.
template <int width, class T>
__device__ void update(T* p, T* m, T* v, Vector<T, width> g, const AdamTime<T>& time,
                       uint32_t first, uint32_t last) {
  auto &p_i = vector_at<T, width>(p), &m_i = vector_at<T, width>(m), &v_i = vector_at<T, width>(v);
  Vector<T, width> new_p = p_i, new_m = m_i, new_v = v_i;
  for (uint32_t t = first; t <= last; ++t) {
    const AdamStep<T> of_t = time.schedule[t];
    for (int k = 0; k < width; ++k)
      adam_update(new_p.x[k], new_m.x[k], new_v.x[k], g.x[k], time.constants, of_t);
  }
  p_i = new_p;
  m_i = new_m;
  v_i = new_v;
}

/// Vectors first .. of n numbers; the numbers that fill no vector are the last threads' own.
template <int width, class T>
__global__ void adam_kernel(T* p, T* m, T* v, const T* g, AdamTime<T> time, size_t n) {
  const size_t thread = grid_thread(), vectors = n / width;
  const uint32_t now = *time.step;
  if (thread < vectors) {
    const size_t i = thread * width;
    update<width>(p + i, m + i, v + i, vector_at<T, width>(g + i), time, now, now);
  } else if (const size_t i = vectors * width + (thread - vectors); i < n) {
    update<1>(p + i, m + i, v + i, vector_at<T, 1>(g + i), time, now, now);
  }
}

template <class T>
__device__ uint32_t lagged(const AdamTime<T>& time, int lag) {
  return static_cast<uint32_t>(static_cast<int64_t>(*time.step) + lag);
}

/// One thread takes `width` columns of a row. With gradients g [n, d]: step t = *step + lag, and
/// last[row] = t. Without: the steps up to t that the row lacks, if it has a history.
template <int width, class T>
__global__ void adam_rows_kernel(AdamRows<T> at, const T* g, AdamTime<T> time, int lag) {
  const size_t k = matrix_row(), c = matrix_column() * width, d = at.p.cols;
  if (k >= at.rows.n || c >= d || at.rows[k] < 0) return;
  const auto row = static_cast<size_t>(at.rows[k]);
  T *const p = at.p.row(row) + c, *const m = at.m.row(row) + c, *const v = at.v.row(row) + c;
  const uint32_t now = lagged(time, lag);
  if (g) {
    update<width>(p, m, v, vector_at<T, width>(g + k * d + c), time, now, now);
    if (c == 0) at.last[row] = now;
  } else if (const uint32_t last = at.last[row]; last != 0 && last < now) {
    update<width>(p, m, v, Vector<T, width>{}, time, last + 1, now);
  }
}

/// last[row] = *step + lag where that is later and the row has a history: a kernel of its own,
/// after all threads that replay have read last.
template <class T>
__global__ void adam_stamp_kernel(AdamRows<T> at, AdamTime<T> time, int lag) {
  const size_t k = grid_thread();
  if (k >= at.rows.n || at.rows[k] < 0) return;
  const uint32_t now = lagged(time, lag);
  uint32_t& last = at.last[at.rows[k]];
  if (last != 0 && last < now) last = now;
}

template <class T>
void launch_rows(cudaStream_t stream, const AdamRows<T>& at, const T* g, const AdamTime<T>& time,
                 int lag) {
  constexpr int wide = widest<T>;
  const size_t n = at.rows.n, d = at.p.cols;
  if (in_vectors<T>(d, wide, {at.p.at, at.m.at, at.v.at, g}))
    launch_matrix(stream, n, d / wide, adam_rows_kernel<wide, T>, at, g, time, lag);
  else
    launch_matrix(stream, n, d, adam_rows_kernel<1, T>, at, g, time, lag);
}

}  // namespace

template <class T>
void CudaOps<T>::advance(uint32_t* step) {
  start(stream(), 1, 1, advance_kernel, step);
}

template <class T>
void CudaOps<T>::adam(Matrix<T> p, Matrix<T> m, Matrix<T> v, ConstMatrix<T> g,
                      const AdamTime<T>& time) {
  shapes::adam(p, m, v, g);
  const size_t n = p.size();
  constexpr int wide = widest<T>;
  if (in_vectors<T>(0, wide, {p.at, m.at, v.at, g.at}))  // any n: the kernel takes care of the rest
    launch(stream(), blocks_of(n / wide + n % wide, block_threads), adam_kernel<wide, T>, p.at,
           m.at, v.at, g.at, time, n);
  else
    launch(stream(), blocks_of(n, block_threads), adam_kernel<1, T>, p.at, m.at, v.at, g.at, time,
           n);
}

template <class T>
void CudaOps<T>::adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) {
  shapes::adam_rows(at);
  launch_rows<T>(stream(), at, nullptr, time, lag);
  launch(stream(), blocks_of(at.rows.n, block_threads), adam_stamp_kernel<T>, at, time, lag);
}

template <class T>
void CudaOps<T>::adam_rows(const AdamRows<T>& at, ConstMatrix<T> g, const AdamTime<T>& time) {
  shapes::adam_rows(at);
  shapes::rows_of(g, at.p, at.rows);
  launch_rows<T>(stream(), at, g.at, time, 0);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
