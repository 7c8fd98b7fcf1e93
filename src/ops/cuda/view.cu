// Rows of a batch and the dropout masks of their views [Eq. 5].
#include <curand_kernel.h>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/kernel.h"

namespace bm3 {
namespace {

using namespace cuda;

/// y [n, d] = x[rows] in elements E: numbers, or vectors of them.
template <class E>
__global__ void gather_rows_kernel(E* y, const E* x, const int32_t* rows, size_t n, size_t d) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= n || c >= d) return;
  y[r * d + c] = rows[r] < 0 ? E{} : x[static_cast<size_t>(rows[r]) * d + c];
}

template <class T>
__global__ void scatter_add_rows_kernel(T* y, const T* x, const int32_t* rows, size_t n,
                                        size_t d) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < n && c < d && rows[r] >= 0) y[static_cast<size_t>(rows[r]) * d + c] += x[r * d + c];
}

/// y[rows] = x, likewise.
template <class E>
__global__ void scatter_rows_kernel(E* y, const E* x, const int32_t* rows, size_t n, size_t d) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < n && c < d && rows[r] >= 0) y[static_cast<size_t>(rows[r]) * d + c] = x[r * d + c];
}

/// One thread draws four neighbouring columns.
__global__ void draw_mask_kernel(uint8_t* mask, const int32_t* rows, size_t n, size_t d,
                                 uint32_t threshold, uint64_t seed, uint32_t stream,
                                 const uint32_t* step) {
  const size_t r = matrix_row(), block = matrix_column();
  if (r >= n || block >= (d + 3) / 4) return;
  // The words of random.h's `philox`. What cuRAND computes ahead is not used, so that the compiler
  // leaves one evaluation of the generator.
  curandStatePhilox4_32_10_t state;
  curand_init(seed, uint64_t{stream} << 32 | *step,
              4 * mask_block(rows[r], static_cast<int64_t>(block)), &state);
  const uint4 random = curand4(&state);
  const uint32_t words[] = {random.x, random.y, random.z, random.w};
  for (size_t lane = 0; lane < 4 && 4 * block + lane < d; ++lane)
    mask[r * d + 4 * block + lane] = words[lane] >= threshold;
}

}  // namespace

// y = x[rows]
template <class T>
void CudaOps<T>::gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) {
  constexpr size_t width = widest<T>;
  using Wide = Vector<T, width>;
  if (in_vectors<T>(d, width, {y, x}))
    launch_matrix(stream(), n, d / width, gather_rows_kernel<Wide>, reinterpret_cast<Wide*>(y),
                  reinterpret_cast<const Wide*>(x), rows, n, d / width);
  else
    launch_matrix(stream(), n, d, gather_rows_kernel<T>, y, x, rows, n, d);
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CudaOps<T>::scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) {
  launch_matrix(stream(), n, d, scatter_add_rows_kernel<T>, y, x, rows, n, d);
}

// y[rows] = x
template <class T>
void CudaOps<T>::scatter_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) {
  constexpr size_t width = widest<T>;
  using Wide = Vector<T, width>;
  if (in_vectors<T>(d, width, {y, x}))
    launch_matrix(stream(), n, d / width, scatter_rows_kernel<Wide>, reinterpret_cast<Wide*>(y),
                  reinterpret_cast<const Wide*>(x), rows, n, d / width);
  else
    launch_matrix(stream(), n, d, scatter_rows_kernel<T>, y, x, rows, n, d);
}

template <class T>
void CudaOps<T>::draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p,
                           uint64_t seed, uint32_t stream_number, const uint32_t* step) {
  launch_matrix(stream(), n, (d + 3) / 4, draw_mask_kernel, mask, rows, n, d, drop_threshold(p),
                seed, stream_number, step);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
