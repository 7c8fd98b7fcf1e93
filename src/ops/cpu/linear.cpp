// Linear layers [Eq. 1, 6]: blocks of rows forward, slices of columns backward.
#include "ops/cpu/product.h"

namespace bm3 {
namespace {

constexpr size_t column_slice = 192;  // columns of x whose part of d_W one thread computes
constexpr size_t near = 8;            // rows between the fetch of a row into cache and its copy
/// Rows of x that are copied at once: as many as leave a panel of d_y in the nearest cache.
constexpr size_t slice_rows = vector_bytes == 64 ? 56 : 168;
/// Columns of d_x that are computed row by row: memory takes 4 KiB of a row at a time.
template <class T>
constexpr size_t piece = 4096 / sizeof(T);

/// part [width, out] = x[rows first .. last]^T d_y in `width` columns of x. A block of rows at a
/// time is copied into one half of `copy` [2 * slice_rows, width], row by row during the product of
/// the block before.
template <class T>
void add_up_rows(T* part, T* copy, ConstMatrix<T> x, Rows rows, size_t column, size_t width,
                 ConstMatrix<T> d_y, size_t first, size_t last) {
  T* next = copy + slice_rows * width;
  size_t done = first;  // rows that are copied
  const auto copy_rows = [&](size_t end) {
    for (; done < std::min(end, last); ++done) {
      const int64_t row = rows[done], soon = done + near < last ? rows[done + near] : -1;
      for (size_t k = 0; soon >= 0 && k < width; k += 64 / sizeof(T))
        __builtin_prefetch(x.row(static_cast<size_t>(soon)) + column + k);
      T* const to = next + (done - first) % slice_rows * width;
      const T* const from = row < 0 ? nullptr : x.row(static_cast<size_t>(row)) + column;
      if (!from) std::fill_n(to, width, T(0));
#pragma omp simd
      for (size_t k = 0; k < (from ? width : 0); ++k) to[k] = from[k];
    }
  };
  copy_rows(first + slice_rows);
  for (size_t r0 = first; r0 < last; r0 += slice_rows) {
    std::swap(copy, next);
    const auto row_of_product = [&](size_t c) {
      copy_rows(r0 + slice_rows + (c + 1) * slice_rows / width);
      return copy + c;
    };
    multiply<T>(part, d_y.cols, row_of_product, width,
                d_y.slice(r0, std::min(slice_rows, last - r0)), width, d_y.cols, r0 > first);
    copy_rows(r0 + 2 * slice_rows);
  }
}

}  // namespace

template <class T>
ConstMatrix<T> CpuOps<T>::transpose(ConstMatrix<T> x) {
  constexpr size_t columns = tile_columns<T>;
  T* const panels = shared_.of((x.rows + columns - 1) / columns * columns * x.cols);
  for_blocks(x.rows, columns, [&](size_t, size_t first, size_t last) {
    T* to = panels + first * x.cols;
    for (size_t k = 0; k < x.cols; ++k)
      for (size_t r = first; r < first + columns; ++r) *to++ = r < last ? x.row(r)[k] : T(0);
  });
  return {panels, x.rows, x.cols};
}

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
    multiply<T>(y.row(first), y.cols, row, 1, W, last - first, y.cols, true);
  });
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CpuOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (d_x.at) {
    const ConstMatrix<T> panels = transpose(W);
    for_blocks(n, row_block, [&](size_t, size_t first, size_t last) {
      for (size_t c = 0; c < in; c += piece<T>)
        for (size_t r = first; r < last; r += tile_rows)
          multiply_transposed<T>(
              d_x.row(r) + c, in, [&](size_t i) { return d_y.row(r + i); },
              std::min(tile_rows, last - r), panels.slice(c, std::min(piece<T>, in - c)));
    });
  }

  // d_W and d_b of each block of rows, one below the other as an [in + 1, out] matrix, then their
  // sum.
  const size_t rows_each = in <= sum_block ? sum_block : std::max<size_t>(n, 1);
  const size_t blocks = (n + rows_each - 1) / rows_each;
  const size_t slices = (in + column_slice - 1) / column_slice;
  const size_t matrix = (in + 1) * out;
  T* const parts = shared_.of(blocks * matrix);
  for_blocks(blocks * slices, 1, [&](size_t task, size_t, size_t) {
    const size_t first = task / slices * rows_each, last = std::min(n, first + rows_each);
    const size_t column = task % slices * column_slice, width = std::min(column_slice, in - column);
    T* const part = blocks == 1 ? d_W.at : parts + task / slices * matrix;
    add_up_rows(part + column * out, scratch(2 * slice_rows * width), x, rows, column, width, d_y,
                first, last);
    if (column > 0 || !d_b.at) return;
    T* const sum = blocks == 1 ? d_b.at : part + in * out;
    std::fill(sum, sum + out, T(0));
    for (size_t r = first; r < last; ++r)
#pragma omp simd
      for (size_t j = 0; j < out; ++j) sum[j] += d_y.row(r)[j];
  });
  if (blocks == 1) return;
  for_blocks(d_b.at ? in + 1 : in, 64, [&](size_t, size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      T* const to = i < in ? d_W.row(i) : d_b.at;
      std::fill(to, to + out, T(0));
      for (size_t block = 0; block < blocks; ++block)
#pragma omp simd
        for (size_t j = 0; j < out; ++j) to[j] += parts[block * matrix + i * out + j];
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
