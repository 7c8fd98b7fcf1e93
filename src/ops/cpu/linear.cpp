// Linear layers [Eq. 1, 6]: blocks of rows forward, slices of columns backward.
#include "ops/cpu/gemm.h"

namespace bm3 {
namespace {

constexpr size_t column_slice = 128;  // columns of x whose part of d_W one thread computes

/// to [last - first, width] = columns column .. column + width of x[rows[first..last)].
template <class T>
void copy_rows(T* to, ConstMatrix<T> x, Rows rows, size_t first, size_t last, size_t column,
               size_t width) {
  for (size_t r = first; r < last; ++r, to += width) {
    if (rows[r] < 0) {
      std::fill(to, to + width, T(0));
    } else {
      const T* from = x.row(static_cast<size_t>(rows[r])) + column;
      std::copy(from, from + width, to);
    }
  }
}

}  // namespace

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CpuOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                               ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  for_blocks(y.rows, row_block, [&](size_t, size_t first, size_t last) {
    const T* X = x.row(first);
    if (rows.at) {
      T* copy = scratch(row_block * x.cols);
      copy_rows<T>(copy, x, rows, first, last, 0, x.cols);
      X = copy;
    }
    for (size_t r = first; b.at && r < last; ++r) std::copy(b.at, b.at + b.cols, y.row(r));
    gemm(CblasNoTrans, CblasNoTrans, last - first, y.cols, x.cols, X, x.cols, W.at, W.cols, T(1),
         y.row(first), y.cols);
  });
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CpuOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (d_x.at)
    for_blocks(n, row_block, [&](size_t, size_t first, size_t last) {
      gemm(CblasNoTrans, CblasTrans, last - first, in, out, d_y.row(first), out, W.at, out,
           d_b.at ? T(0) : T(1), d_x.row(first), in);
    });

  // d_W and d_b of each block of rows, one below the other as an [in + 1, out] matrix, then their
  // sum.
  const size_t rows_each = in <= sum_block ? sum_block : std::max<size_t>(n, 1);
  const size_t blocks = (n + rows_each - 1) / rows_each;
  const size_t slices = (in + column_slice - 1) / column_slice;
  const size_t matrix = (in + 1) * out;
  shared_.resize(std::max(shared_.size(), blocks * matrix));
  for_blocks(blocks * slices, 1, [&](size_t task, size_t, size_t) {
    const size_t first = task / slices * rows_each, last = std::min(n, first + rows_each);
    const size_t column = task % slices * column_slice, width = std::min(column_slice, in - column);
    T* part = shared_.data() + task / slices * matrix;
    const T* X = x.row(first) + column;
    if (rows.at) {
      T* copy = scratch((last - first) * width);
      copy_rows<T>(copy, x, rows, first, last, column, width);
      X = copy;
    }
    gemm(CblasTrans, CblasNoTrans, width, out, last - first, X, rows.at ? width : in,
         d_y.row(first), out, T(0), part + column * out, out);
    if (column > 0) return;
    T* sum = part + in * out;
    std::fill(sum, sum + out, T(0));
    for (size_t r = first; r < last; ++r)
      for (size_t j = 0; j < out; ++j) sum[j] += d_y.row(r)[j];
  });
  for_blocks(matrix, 4096, [&](size_t, size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      T sum = 0;
      for (size_t block = 0; block < blocks; ++block) sum += shared_[block * matrix + i];
      if (i < in * out)
        d_W.at[i] = sum;
      else if (d_b.at)
        d_b.at[i - in * out] = sum;
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
