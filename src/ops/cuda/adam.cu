// Adam, dense and for rows that wait for their next gradient. Compiled without contraction of
// products and sums (--fmad=false), so that `adam_update` has the same bits in each of these
// kernels.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

/// Steps first .. last of `width` numbers, each with the gradient g.
template <int width, class T>
__device__ void update(T* p, T* m, T* v, Vector<T, width> g, const AdamTime<T>& time,
                       uint32_t first, uint32_t last) {
  auto &p_i = vector_at<width>(p), &m_i = vector_at<width>(m), &v_i = vector_at<width>(v);
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

template <int width, class T>
__global__ void adam_kernel(T* p, T* m, T* v, const T* g, AdamTime<T> time, size_t n) {
  const size_t i = grid_thread() * width;
  const uint32_t now = *time.step;
  if (i < n) update<width>(p + i, m + i, v + i, vector_at<width>(g + i), time, now, now);
}

/// One thread takes `width` columns of a row. With gradients g [n, d]: step t = *step + lag, and
/// last[row] = t. Without: the steps up to t that the row lacks, if it has a history.
template <int width, class T>
__global__ void adam_rows_kernel(AdamRows<T> at, const T* g, AdamTime<T> time, int lag) {
  const size_t k = matrix_row(), c = matrix_column() * width, d = at.p.cols;
  if (k >= at.rows.n || c >= d || at.rows[k] < 0) return;
  const auto row = static_cast<size_t>(at.rows[k]);
  T *const p = at.p.row(row) + c, *const m = at.m.row(row) + c, *const v = at.v.row(row) + c;
  const uint32_t now = *time.step + static_cast<uint32_t>(lag);
  if (g) {
    update<width>(p, m, v, vector_at<width>(g + k * d + c), time, now, now);
    if (c == 0) at.last[row] = now;
  } else if (const uint32_t last = at.last[row]; last != 0 && last < now) {
    update<width>(p, m, v, Vector<T, width>{}, time, last + 1, now);
  }
}

template <class T>
void launch_rows(cudaStream_t stream, const AdamRows<T>& at, const T* g, const AdamTime<T>& time,
                 int lag) {
  by_width<T>(at.p.cols, 1, {at.p.at, at.m.at, at.v.at, g}, [&](auto width) {
    launch_matrix(stream, at.rows.n, at.p.cols / width, adam_rows_kernel<width, T>, at, g, time,
                  lag);
  });
}

}  // namespace

template <class T>
void CudaOps<T>::adam(Matrix<T> p, Matrix<T> m, Matrix<T> v, ConstMatrix<T> g,
                      const AdamTime<T>& time) {
  BM3_SHAPE(shapes::same(p, m) && shapes::same(p, v) && shapes::same(p, g));
  by_width<T>(p.size(), 1, {p.at, m.at, v.at, g.at}, [&](auto width) {
    launch(this->stream_for(p, m, v, g, time.step), blocks_of(p.size() / width, block_threads),
           block_threads, adam_kernel<width, T>, p.at, m.at, v.at, g.at, time, p.size());
  });
}

template <class T>
void CudaOps<T>::adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) {
  shapes::adam_rows(at);
  const cudaStream_t stream = this->stream_for(at, time.step);
  launch_rows<T>(stream, at, nullptr, time, lag);
  // last[row] = *step + lag where that is later and the row has a history: after all threads that
  // replay have read last.
  for_each_entry(stream, at.rows.n, 1, [=] __device__(size_t k, size_t) {
    if (at.rows[k] < 0) return;
    const uint32_t now = *time.step + static_cast<uint32_t>(lag);
    uint32_t& last = at.last[at.rows[k]];
    if (last != 0 && last < now) last = now;
  });
}

template <class T>
void CudaOps<T>::adam_rows(const AdamRows<T>& at, ConstMatrix<T> g, const AdamTime<T>& time) {
  shapes::adam_rows(at);
  BM3_SHAPE(at.rows.n == g.rows && at.p.cols == g.cols);
  launch_rows<T>(this->stream_for(at, g, time.step), at, g.at, time, 0);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
