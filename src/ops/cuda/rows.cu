// Rows and entries of matrices: columns, sums, leaky ReLU, rows of length 1.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

template <class T>
__global__ void copy_columns_kernel(Matrix<T> y, size_t to, Matrix<const T> x, size_t from,
                                    size_t n) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < y.rows && c < n) y.row(r)[to + c] = x.row(r)[from + c];
}

template <class T>
__global__ void add_kernel(Matrix<T> y, T b, Matrix<const T> x, T a) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= y.rows || c >= y.cols) return;
  T& out = y.row(r)[c];
  out = b == T(0) ? a * x.row(r)[c] : b * out + a * x.row(r)[c];
}

/// y = x times the slope at `sign`.
template <class T>
__global__ void leaky_relu_kernel(Matrix<T> y, Matrix<const T> x, Matrix<const T> sign) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < y.rows && c < y.cols) y.row(r)[c] = x.row(r)[c] * leaky_slope(sign.row(r)[c]);
}

/// Returns x . y of two rows, the same in every lane of the warp.
template <class T>
__device__ T dot_of_warp(const T* x, const T* y, size_t d) {
  T sum = 0;
  for (size_t c = threadIdx.x % warp; c < d; c += warp) sum += x[c] * y[c];
  return warp_sum(sum);
}

/// A warp a row.
template <class T>
__global__ void normalise_forward_kernel(Matrix<T> y, Matrix<const T> x) {
  const size_t r = grid_warp();
  if (r >= x.rows) return;
  const T length = length_of(dot_of_warp(x.row(r), x.row(r), x.cols));
  for (size_t c = threadIdx.x % warp; c < x.cols; c += warp) y.row(r)[c] = x.row(r)[c] / length;
}

/// A warp a row.
template <class T>
__global__ void normalise_backward_kernel(Matrix<T> d_x, Matrix<const T> d_y, Matrix<const T> x) {
  const size_t r = grid_warp();
  if (r >= x.rows) return;
  const T length = length_of(dot_of_warp(x.row(r), x.row(r), x.cols));
  const T on_x = radial_part(dot_of_warp(x.row(r), d_y.row(r), x.cols), length);
  for (size_t c = threadIdx.x % warp; c < x.cols; c += warp)
    d_x.row(r)[c] = d_y.row(r)[c] / length - on_x * x.row(r)[c];
}

}  // namespace

template <class T>
void CudaOps<T>::copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) {
  BM3_SHAPE(y.rows == x.rows && to + n <= y.cols && from + n <= x.cols);
  launch_matrix(stream(), y.rows, n, copy_columns_kernel<T>, y, to, x, from, n);
}

// y = b y + a x
template <class T>
void CudaOps<T>::add(Matrix<T> y, double b, ConstMatrix<T> x, double a) {
  BM3_SHAPE(shapes::same(y, x));
  launch_matrix(stream(), y.rows, y.cols, add_kernel<T>, y, static_cast<T>(b), x,
                static_cast<T>(a));
}

// y = x > 0 ? x : 0.01 x
template <class T>
void CudaOps<T>::leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  launch_matrix(stream(), y.rows, y.cols, leaky_relu_kernel<T>, y, x, x);
}

// dy/dx = 1 where y > 0, else 0.01
template <class T>
void CudaOps<T>::leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, y));
  launch_matrix(stream(), y.rows, y.cols, leaky_relu_kernel<T>, d_x, d_y, y);
}

// y = x / |x|
template <class T>
void CudaOps<T>::normalise_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  launch(stream(), blocks_of(x.rows, warps_of_block), block_threads, normalise_forward_kernel<T>, y,
         x);
}

// y = x / |x|:  d_x = (d_y - y (y . d_y)) / |x|
template <class T>
void CudaOps<T>::normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, x));
  launch(stream(), blocks_of(x.rows, warps_of_block), block_threads, normalise_backward_kernel<T>,
         d_x, d_y, x);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
