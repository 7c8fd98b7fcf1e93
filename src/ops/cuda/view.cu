// Rows of a batch and the dropout masks of their views [Eq. 5].
#include <curand_kernel.h>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

/// y [n, d] = x[rows] in vectors E; `distance`: from row to row of x.
template <class E>
__global__ void copy_rows_kernel(Matrix<E> y, const E* x, size_t distance, Rows rows) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= y.rows || c >= y.cols) return;
  y.row(r)[c] = rows[r] < 0 ? E{} : x[static_cast<size_t>(rows[r]) * distance + c];
}

/// One thread draws four neighbouring columns.
__global__ void draw_mask_kernel(Matrix<uint8_t> mask, Rows rows, uint32_t threshold, DrawKey key) {
  const size_t r = matrix_row(), block = matrix_column();
  if (r >= mask.rows || block >= (mask.cols + 3) / 4) return;
  // The words of random.h's `philox`. What cuRAND computes ahead is not used, so that the compiler
  // leaves one evaluation of the generator.
  curandStatePhilox4_32_10_t state;
  curand_init(key.seed, uint64_t{key.stream} << 32 | *key.step,
              4 * mask_block(rows[r], static_cast<int64_t>(block)), &state);
  const uint4 random = curand4(&state);
  const uint32_t words[] = {random.x, random.y, random.z, random.w};
  for (size_t lane = 0; lane < 4 && 4 * block + lane < mask.cols; ++lane)
    mask.row(r)[4 * block + lane] = words[lane] >= threshold;
}

/// One thread draws four neighbouring edges.
__global__ void draw_edges_kernel(Matrix<uint8_t> mask, double* rate, double ratio, DrawKey key) {
  const size_t block = grid_thread();
  const double own = drop_rate(ratio, philox(key.seed, key.stream, *key.step, 0).x[0]);
  if (block == 0) *rate = own;
  if (4 * block >= mask.rows) return;
  const uint32_t threshold = drop_threshold(own);
  const Random4 random = philox(key.seed, key.stream, *key.step, edge_block(block));
  for (size_t lane = 0; lane < 4 && 4 * block + lane < mask.rows; ++lane)
    mask.at[4 * block + lane] = random.x[lane] >= threshold;
}

}  // namespace

template <class T>
void CudaOps<T>::copy_rows(Matrix<T> y, const T* x, size_t distance, Rows rows) {
  by_width<T>(y.cols, 1, {y.at, x}, [&](auto width) {
    using E = Vector<T, width>;
    const Matrix<E> out{reinterpret_cast<E*>(y.at), y.rows, y.cols / width};
    launch_matrix(stream(), out.rows, out.cols, copy_rows_kernel<E>, out,
                  reinterpret_cast<const E*>(x), distance / width, rows);
  });
}

// y = x[rows]
template <class T>
void CudaOps<T>::gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  shapes::rows_of(y, x, rows);
  copy_rows(y, x.at, x.cols, rows);
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CudaOps<T>::scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  shapes::rows_of(x, y, rows);
  for_each_entry(stream(), x.rows, x.cols, [=] __device__(size_t r, size_t c) {
    if (rows[r] >= 0) y.row(static_cast<size_t>(rows[r]))[c] += x.row(r)[c];
  });
}

template <class T>
void CudaOps<T>::draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) {
  BM3_SHAPE(rows.n == mask.rows);
  launch_matrix(stream(), mask.rows, (mask.cols + 3) / 4, draw_mask_kernel, mask, rows,
                drop_threshold(p), key);
}

template <class T>
void CudaOps<T>::draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) {
  BM3_SHAPE(mask.cols == 1);
  launch(stream(), std::max(1u, blocks_of(mask.rows, 4 * block_threads)), block_threads,
         draw_edges_kernel, mask, rate, ratio, key);  // also without edges: it draws the rate
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
