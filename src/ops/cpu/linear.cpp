// Linear layers [Eq. 1, 6]: blocks of rows forward, slices of columns backward.
#include "ops/cpu/product.h"

namespace bm3 {
namespace {

constexpr size_t column_slice = 126;  // columns of x whose part of d_W one thread computes
static_assert(2 * column_slice == depth_block);

/// part [width, out] = x[rows first .. last]^T d_y in `width` columns of x. A block of rows at a
/// time is copied into `copy` [depth_block, width], while the next one is fetched into cache.
template <class T>
void add_up_rows(T* part, T* copy, ConstMatrix<T> x, Rows rows, size_t column, size_t width,
                 ConstMatrix<T> d_y, size_t first, size_t last) {
  for (size_t r0 = first; r0 < last; r0 += depth_block) {
    const size_t n = std::min(depth_block, last - r0);
    for (size_t r = 0; r < n; ++r) {
      const int64_t row = rows[r0 + r];
      if (row < 0)
        std::fill_n(copy + r * width, width, T(0));
      else
        std::copy_n(x.row(static_cast<size_t>(row)) + column, width, copy + r * width);
    }
    const auto row_of_product = [&](size_t c) {
      const size_t ahead = r0 + depth_block + 2 * c;
      for (size_t r = ahead; r < std::min(last, ahead + 2); ++r)
        for (size_t k = 0; rows[r] >= 0 && k < width; k += 64 / sizeof(T))
          __builtin_prefetch(x.row(static_cast<size_t>(rows[r])) + column + k);
      return copy + c;
    };
    multiply<T>(part, d_y.cols, row_of_product, width, {d_y.row(r0), d_y.cols, 1}, width, d_y.cols,
                n, r0 > first);
  }
}

}  // namespace

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CpuOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                               ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  const std::vector<T> zeros(rows.at ? x.cols : 0);
  for_blocks(y.rows, row_block, [&](size_t, size_t first, size_t last) {
    const auto row = [&](size_t r) {
      const int64_t from = rows[first + r];
      return from < 0 ? zeros.data() : x.row(static_cast<size_t>(from));
    };
    for (size_t r = first; b.at && r < last; ++r) std::copy(b.at, b.at + b.cols, y.row(r));
    multiply<T>(y.row(first), y.cols, row, 1, {W.at, W.cols, 1}, last - first, y.cols, x.cols,
                true);
  });
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CpuOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (d_x.at) {
    shared_.resize(std::max(shared_.size(), W.size()));  // W^T
    for_blocks(in, row_block, [&](size_t, size_t first, size_t last) {
      for (size_t i = first; i < last; ++i)
        for (size_t j = 0; j < out; ++j) shared_[j * in + i] = W.row(i)[j];
    });
    for_blocks(n, row_block, [&](size_t, size_t first, size_t last) {
      multiply<T>(d_x.row(first), in, [&](size_t r) { return d_y.row(first + r); }, 1,
                  {shared_.data(), in, 1}, last - first, in, out, false);
    });
  }

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
    add_up_rows(part + column * out, scratch(depth_block * width), x, rows, column, width, d_y,
                first, last);
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
