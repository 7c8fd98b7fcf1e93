// Rows and entries of matrices: columns, sums, leaky ReLU, rows of length 1.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

/// Returns x . y of two rows, the same in every lane of the warp.
template <class T>
__device__ T dot_of_warp(const T* x, const T* y, size_t d) {
  T sum = 0;
  for (size_t c = threadIdx.x % warp; c < d; c += warp) sum += x[c] * y[c];
  return warp_sum(sum);
}

}  // namespace

template <class T>
void CudaOps<T>::copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) {
  BM3_SHAPE(y.rows == x.rows && to + n <= y.cols && from + n <= x.cols);
  for_each_entry(this->stream_for(y, x), y.rows, n, [=] __device__(size_t r, size_t c) {
    y.row(r)[to + c] = x.row(r)[from + c];
  });
}

// y = b y + a x
template <class T>
void CudaOps<T>::add(Matrix<T> y, double b, ConstMatrix<T> x, double a) {
  BM3_SHAPE(shapes::same(y, x));
  const T of_y = static_cast<T>(b), of_x = static_cast<T>(a);
  for_each_entry(this->stream_for(y, x), y.rows, y.cols, [=] __device__(size_t r, size_t c) {
    T& out = y.row(r)[c];
    out = of_y == T(0) ? of_x * x.row(r)[c] : of_y * out + of_x * x.row(r)[c];
  });
}

// y = x > 0 ? x : 0.01 x
template <class T>
void CudaOps<T>::leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  for_each_entry(this->stream_for(y, x), y.rows, y.cols, [=] __device__(size_t r, size_t c) {
    y.row(r)[c] = x.row(r)[c] * leaky_slope(x.row(r)[c]);
  });
}

// dy/dx = 1 where y > 0, else 0.01
template <class T>
void CudaOps<T>::leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, y));
  for_each_entry(this->stream_for(d_x, d_y, y), y.rows, y.cols, [=] __device__(size_t r, size_t c) {
    d_x.row(r)[c] = d_y.row(r)[c] * leaky_slope(y.row(r)[c]);
  });
}

// y = x / |x|
template <class T>
void CudaOps<T>::normalise_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  for_each_row(this->stream_for(y, x), x.rows, [=] __device__(size_t r, unsigned lane) {
    const T length = length_of(dot_of_warp(x.row(r), x.row(r), x.cols));
    for (size_t c = lane; c < x.cols; c += warp) y.row(r)[c] = x.row(r)[c] / length;
  });
}

// y = x / |x|:  d_x = (d_y - y (y . d_y)) / |x|
template <class T>
void CudaOps<T>::normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, x));
  for_each_row(this->stream_for(d_x, d_y, x), x.rows, [=] __device__(size_t r, unsigned lane) {
    const T length = length_of(dot_of_warp(x.row(r), x.row(r), x.cols));
    const T on_x = radial_part(dot_of_warp(x.row(r), d_y.row(r), x.cols), length);
    for (size_t c = lane; c < x.cols; c += warp)
      d_x.row(r)[c] = d_y.row(r)[c] / length - on_x * x.row(r)[c];
  });
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
