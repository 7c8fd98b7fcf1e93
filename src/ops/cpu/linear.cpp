// Linear layers [Eq. 1, 6]: blocks of rows, and slices of columns for the weights' gradient.
#include "ops/cpu/product.h"

namespace bm3 {
namespace {

/// Columns of d_x that are computed row by row: memory takes 4 KiB of a row at a time.
template <class T>
constexpr size_t piece = 4096 / sizeof(T);
/// Numbers of d_W that a thread adds up at a time: its cache holds them, and where d_W has 64
/// columns, x is read 4 KiB of a row at a time, too.
template <class T>
constexpr size_t slice_size = 64 * piece<T>;
/// d_W of at most `most_columns` rows is a sum over blocks of x's rows, `most_blocks` at most, none
/// but the last with fewer than `fewest_rows`.
constexpr size_t most_columns = 512, fewest_rows = 256, most_blocks = 32;
/// Rows of d_y that stay in registers, with two vectors of each.
constexpr size_t outer_rows = vector_bytes == 64 ? 10 : 6;

/// sum [width, out] += x^T d_y for outer_rows rows of x [width] and d_y [out], in the n_vectors
/// vectors of columns from j on. d_y stays in registers, while x and the sum are read along their
/// rows.
template <size_t n_vectors, class T>
void add_outer(T* sum, size_t out, size_t j, const T* const* x, size_t width, const T* const* d_y) {
  using V = typename Lanes<T>::Vector;
  const T* row[outer_rows];  // as x, but `sum` cannot overlap it
  V y[outer_rows][n_vectors];
  for (size_t r = 0; r < outer_rows; ++r) {
    row[r] = x[r];
    for (size_t v = 0; v < n_vectors; ++v) y[r][v] = reinterpret_cast<const V*>(d_y[r] + j)[v];
  }
  for (size_t c = 0; c < width; ++c) {
    V* const at = reinterpret_cast<V*>(sum + c * out + j);
    V s[n_vectors];
    for (size_t v = 0; v < n_vectors; ++v) s[v] = at[v];
    for (size_t r = 0; r < outer_rows; ++r)
      for (size_t v = 0; v < n_vectors; ++v) s[v] += row[r][c] * y[r][v];
    for (size_t v = 0; v < n_vectors; ++v) at[v] = s[v];
  }
}

/// sum [width, d_y.cols] = x[rows first .. last]^T d_y in `width` columns of x from `column` on,
/// for whole vectors of columns of d_y.
template <class T>
void add_up_rows(T* sum, ConstMatrix<T> x, Rows rows, size_t column, size_t width,
                 ConstMatrix<T> d_y, size_t first, size_t last) {
  const size_t out = d_y.cols;
  const std::vector<T> zeros(std::max(width, out));
  std::fill_n(sum, width * out, T(0));
  for (size_t r = first; r < last; r += outer_rows) {
    const T *of_x[outer_rows], *of_y[outer_rows];
    for (size_t i = 0; i < outer_rows; ++i) {
      const int64_t row = r + i < last ? rows[r + i] : -1;
      of_x[i] = row < 0 ? zeros.data() : x.row(static_cast<size_t>(row)) + column;
      of_y[i] = r + i < last ? d_y.row(r + i) : zeros.data();
    }
    for (size_t j = 0; j < out; j += 2 * lanes<T>)
      if (out - j > lanes<T>) add_outer<2>(sum, out, j, of_x, width, of_y);
      else add_outer<1>(sum, out, j, of_x, width, of_y);
  }
}

/// Returns n, rounded up to the numbers of whole vectors.
template <class T>
size_t whole_vectors(size_t n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

/// Whether none of the vectors from here on lies across two cache lines: those take twice as long.
bool begins_line(const void* at) { return reinterpret_cast<uintptr_t>(at) % 64 == 0; }

}  // namespace

template <class T>
Panels<T> CpuOps<T>::panels(ConstMatrix<T> x, bool transposed) {
  const size_t depth = transposed ? x.cols : x.rows, n = transposed ? x.rows : x.cols;
  if (!transposed && n <= tile_columns<T> && n % lanes<T> == 0 && begins_line(x.at))
    return {x.at, depth, n};
  T* const at = shared_.of(depth * whole_vectors<T>(n));
  for_blocks(n, tile_columns<T>, [&](size_t, size_t first, size_t last) {
    T* to = at + first * depth;
    for (size_t k = 0; k < depth; ++k)
      for (size_t j = first; j < first + whole_vectors<T>(last - first); ++j)
        *to++ = j >= last ? T(0) : transposed ? x.row(j)[k] : x.row(k)[j];
  });
  return {at, depth, n};
}

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CpuOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                               ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  const std::vector<T> zeros(rows.at ? x.cols : 0);
  const Panels<T> of_W = panels(W, false);
  for_blocks(y.rows, row_block, [&](size_t, size_t first, size_t last) {
    const auto row = [&](size_t r) {
      const int64_t from = rows[first + r];
      return from < 0 ? zeros.data() : x.row(static_cast<size_t>(from));
    };
    for (size_t r = first; b.at && r < last; ++r) std::copy(b.at, b.at + b.cols, y.row(r));
    multiply<true>(y.row(first), y.cols, row, last - first, of_W);
  });
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CpuOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows, in = W.rows;
  if (d_x.at) {
    const Panels<T> of_W = panels(W, true);
    for_blocks(n, row_block, [&](size_t, size_t first, size_t last) {
      for (size_t c = 0; c < in; c += piece<T>)
        for (size_t r = first; r < last; r += tile_rows)
          multiply<false>(d_x.row(r) + c, in, [&](size_t i) { return d_y.row(r + i); },
                          std::min(tile_rows, last - r),
                          of_W.columns(c, std::min(piece<T>, in - c)));
    });
  }
  weights_backward(d_W, d_b, d_y, x, rows);
}

// d_W and d_b of each block of rows, one below the other as an [in + 1, whole] matrix, then their
// sum.
template <class T>
void CpuOps<T>::weights_backward(Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y, ConstMatrix<T> x,
                                 Rows rows) {
  const size_t n = d_y.rows, in = x.cols, out = d_y.cols;
  const size_t whole = whole_vectors<T>(out);
  std::vector<T> filled_up(whole > out ? n * whole : 0);  // d_y, then zeros
  for (size_t r = 0; whole > out && r < n; ++r) std::copy_n(d_y.row(r), out, &filled_up[r * whole]);
  const ConstMatrix<T> filled = whole > out ? ConstMatrix<T>{filled_up.data(), n, whole} : d_y;
  const size_t matrix = (in + 1) * whole, threads = shares_.size();
  size_t rows_each = std::max<size_t>(n, 1), slice = in;
  if (in <= most_columns) {
    rows_each = std::max(fewest_rows, (n + most_blocks - 1) / most_blocks);
  } else {  // each thread has as many slices of x's columns as any other
    const size_t wanted = (1 + matrix / (threads * slice_size<T>)) * threads;
    slice = std::max<size_t>(64, (in + wanted - 1) / wanted);
  }
  const size_t blocks = (n + rows_each - 1) / rows_each, slices = (in + slice - 1) / slice;
  const bool one = blocks == 1 && whole == out && begins_line(d_W.at);
  T* const parts = shared_.of(one ? 0 : blocks * matrix);
  for_blocks(blocks * slices, 1, [&](size_t task, size_t, size_t) {
    const size_t first = task / slices * rows_each, last = std::min(n, first + rows_each);
    const size_t column = task % slices * slice, width = std::min(slice, in - column);
    T* const part = one ? d_W.at : parts + task / slices * matrix;
    add_up_rows(part + column * whole, x, rows, column, width, filled, first, last);
    if (column > 0 || !d_b.at) return;
    T* const sum = one ? d_b.at : part + in * whole;
    std::fill(sum, sum + out, T(0));
    for (size_t r = first; r < last; ++r)
#pragma omp simd
      for (size_t j = 0; j < out; ++j) sum[j] += d_y.row(r)[j];
  });
  if (one) return;
  for_blocks(d_b.at ? in + 1 : in, 64, [&](size_t, size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      T* const to = i < in ? d_W.row(i) : d_b.at;
      std::fill(to, to + out, T(0));
      for (size_t block = 0; block < blocks; ++block)
#pragma omp simd
        for (size_t j = 0; j < out; ++j) to[j] += parts[block * matrix + i * whole + j];
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
