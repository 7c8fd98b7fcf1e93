#pragma once
// Products of matrices in tiles that stay in registers: six rows by a few vectors of columns.
#include <algorithm>

#include "ops/cpu/cpu_ops.h"

namespace bm3 {

constexpr size_t tile_vectors = vector_bytes == 64 ? 4 : 2;
constexpr size_t tile_rows = 6;      // of tile_vectors sums: with their factors, all registers
/// Factors of a sum that are read before the next tile's: 4 KiB of a row; where tiles are narrower,
/// so that A is read more than once, as many as leave B's panel in the nearest cache.
constexpr size_t depth_block = vector_bytes == 64 ? 1024 : 252;
template <class T>
constexpr size_t tile_columns = tile_vectors * lanes<T>;

/// C [n_rows, width] = or += the sums over k < depth of a_r[k] B[k], with the rows
/// B[k] [n_vectors * lanes] one after the other in `panel`. C's rows are c apart.
template <size_t n_rows, size_t n_vectors, class T>
void multiply_tile(T* C, size_t c, size_t width, const T* const* a, const T* panel, size_t depth,
                   bool adds) {
  using V = typename Lanes<T>::Vector;
  V sum[n_rows][n_vectors] = {};
  for (size_t k = 0; k < depth; ++k) {
    V b[n_vectors];
    for (size_t j = 0; j < n_vectors; ++j)
      b[j] = reinterpret_cast<const V*>(panel)[k * n_vectors + j];
    for (size_t r = 0; r < n_rows; ++r)
      for (size_t j = 0; j < n_vectors; ++j) sum[r][j] += a[r][k] * b[j];
  }
  for (size_t r = 0; r < n_rows; ++r) {
    if (width == n_vectors * lanes<T>) {
      V* const out = reinterpret_cast<V*>(C + r * c);
      for (size_t j = 0; j < n_vectors; ++j) out[j] = adds ? out[j] + sum[r][j] : sum[r][j];
    } else {
      const T* const of_row = reinterpret_cast<const T*>(sum[r]);
      for (size_t j = 0; j < width; ++j) C[r * c + j] = adds ? C[r * c + j] + of_row[j] : of_row[j];
    }
  }
}

/// The same for m rows, whose first factors lie at a(r).
template <size_t n_vectors, class T, class RowOf>
void multiply_panel(T* C, size_t c, size_t width, const RowOf& a, const T* panel, size_t m,
                    size_t depth, bool adds) {
  const T* rows[tile_rows];
  for (size_t r = 0; r < m;) {
    const bool whole = r + tile_rows <= m;
    for (size_t i = 0; i < (whole ? tile_rows : 1); ++i) rows[i] = a(r + i);
    if (whole)
      multiply_tile<tile_rows, n_vectors>(C + r * c, c, width, rows, panel, depth, adds);
    else
      multiply_tile<1, n_vectors>(C + r * c, c, width, rows, panel, depth, adds);
    r += whole ? tile_rows : 1;
  }
}

/// panel [depth, columns] = the first `width` columns of B, whose rows are b apart, then zeros.
template <class T>
void copy_panel(T* panel, size_t columns, const T* B, size_t b, size_t width, size_t depth) {
  using V = typename Lanes<T>::Vector;
  for (size_t k = 0; k < depth; ++k, panel += columns, B += b) {
    size_t j = 0;
    for (; j + lanes<T> <= width; j += lanes<T>)
      *reinterpret_cast<V*>(panel + j) = *reinterpret_cast<const V*>(B + j);
    for (; j < columns; ++j) panel[j] = j < width ? B[j] : T(0);
  }
}

/// C [m, B.cols] += A B. Row r of A [m, B.rows] begins at a(r). A sum's order depends on B.rows
/// alone.
template <class T, class RowOf>
void multiply(T* C, const RowOf& a, ConstMatrix<T> B, size_t m) {
  alignas(64) T copy[depth_block * tile_columns<T>];
  for (size_t k = 0; k < B.rows; k += depth_block) {
    const size_t some = std::min(depth_block, B.rows - k);
    const auto of_block = [&](size_t r) { return a(r) + k; };
    for (size_t j = 0; j < B.cols; j += tile_columns<T>) {
      const size_t width = std::min(tile_columns<T>, B.cols - j);
      const size_t columns = (width + lanes<T> - 1) / lanes<T> * lanes<T>;
      const T* panel = B.row(k) + j;
      if (B.cols != columns || width != columns) {
        copy_panel(copy, columns, panel, B.cols, width, some);
        panel = copy;
      }
      const auto go = [&](auto vectors) {
        multiply_panel<vectors>(C + j, B.cols, width, of_block, panel, m, some, true);
      };
      static_assert(tile_vectors == 2 || tile_vectors == 4);
      if (columns == lanes<T>) go(std::integral_constant<size_t, 1>());
      else if (columns == 2 * lanes<T>) go(std::integral_constant<size_t, 2>());
      else if (columns == 3 * lanes<T>) go(std::integral_constant<size_t, 3>());
      else go(std::integral_constant<size_t, 4>());
    }
  }
}

/// C [m, B.rows] = A B^T, with C's rows c apart, for B in the panels that CpuOps::transpose makes.
/// Row r of A [m, B.cols] begins at a(r).
template <class T, class RowOf>
void multiply_transposed(T* C, size_t c, const RowOf& a, size_t m, ConstMatrix<T> B) {
  constexpr size_t columns = tile_columns<T>;
  for (size_t j = 0; j < B.rows; j += columns)
    multiply_panel<tile_vectors>(C + j, c, std::min(columns, B.rows - j), a, B.row(j), m, B.cols,
                                 false);
}

}  // namespace bm3
