// Rows and entries of matrices: columns, sums, leaky ReLU, rows of length 1.
#include "ops/cpu/cpu_ops.h"

namespace bm3 {

template <class T>
void CpuOps<T>::copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) {
  BM3_SHAPE(y.rows == x.rows && to + n <= y.cols && from + n <= x.cols);
  for_rows(y.rows, pair_block, [&](size_t r) { std::copy_n(x.row(r) + from, n, y.row(r) + to); });
}

// y = b y + a x
template <class T>
void CpuOps<T>::add(Matrix<T> y, double b, ConstMatrix<T> x, double a) {
  BM3_SHAPE(shapes::same(y, x));
  const T of_x = static_cast<T>(a), of_y = static_cast<T>(b);
  if (b == 0)
    for_entries(y.size(), [=](size_t i) { y.at[i] = of_x * x.at[i]; });
  else
    for_entries(y.size(), [=](size_t i) { y.at[i] = of_y * y.at[i] + of_x * x.at[i]; });
}

// y = x > 0 ? x : 0.01 x
template <class T>
void CpuOps<T>::leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  for_entries(y.size(), [=](size_t i) { y.at[i] = x.at[i] * leaky_slope(x.at[i]); });
}

// dy/dx = 1 where y > 0, else 0.01
template <class T>
void CpuOps<T>::leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, y));
  for_entries(y.size(), [=](size_t i) { d_x.at[i] = d_y.at[i] * leaky_slope(y.at[i]); });
}

// y = x / |x|
template <class T>
void CpuOps<T>::normalise_forward(Matrix<T> y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(y, x));
  for_rows(y.rows, pair_block, [&](size_t r) {
    const T length = length_of(dot(x.row(r), x.row(r), x.cols));
    for (size_t c = 0; c < x.cols; ++c) y.row(r)[c] = x.row(r)[c] / length;
  });
}

// y = x / |x|:  d_x = (d_y - y (y . d_y)) / |x|
template <class T>
void CpuOps<T>::normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) {
  BM3_SHAPE(shapes::same(d_x, d_y) && shapes::same(d_x, x));
  for_rows(x.rows, pair_block, [&](size_t r) {
    const T length = length_of(dot(x.row(r), x.row(r), x.cols));
    const T on_x = radial_part(dot(x.row(r), d_y.row(r), x.cols), length);
    for (size_t c = 0; c < x.cols; ++c)
      d_x.row(r)[c] = d_y.row(r)[c] / length - on_x * x.row(r)[c];
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
