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
template <bool adds, size_t n_rows, size_t n_vectors, class T>
void multiply_tile(T* C, size_t c, size_t width, const T* const* a, const T* panel, size_t depth) {
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
template <bool adds, size_t n_vectors, class T, class RowOf>
void multiply_panel(T* C, size_t c, size_t width, const RowOf& a, const T* panel, size_t m,
                    size_t depth) {
  const T* rows[tile_rows];
  for (size_t r = 0; r < m;) {
    const bool whole = r + tile_rows <= m;
    for (size_t i = 0; i < (whole ? tile_rows : 1); ++i) rows[i] = a(r + i);
    if (whole)
      multiply_tile<adds, tile_rows, n_vectors>(C + r * c, c, width, rows, panel, depth);
    else
      multiply_tile<adds, 1, n_vectors>(C + r * c, c, width, rows, panel, depth);
    r += whole ? tile_rows : 1;
  }
}

/// B [depth, n], tile_columns of its columns in a panel, one panel below the other. The last one is
/// filled up with zeros to whole vectors.
template <class T>
struct Panels {
  const T* at;
  size_t depth, n;
  /// Returns `count` columns; the first is a panel's first.
  Panels columns(size_t first, size_t count) const { return {at + first * depth, depth, count}; }
};

/// C [m, n] = or, where it `adds`, += A B, with C's rows c apart. Row r of A [m, depth] begins at
/// a(r). A sum's order depends on the depth alone.
template <bool adds, class T, class RowOf>
void multiply(T* C, size_t c, const RowOf& a, size_t m, const Panels<T>& B) {
  for (size_t k = 0; k == 0 || k < B.depth; k += depth_block) {
    const size_t some = std::min(depth_block, B.depth - k);
    const auto of_block = [&](size_t r) { return a(r) + k; };
    for (size_t j = 0; j < B.n; j += tile_columns<T>) {
      const size_t width = std::min(tile_columns<T>, B.n - j);
      const auto go = [&](auto vectors) {
        const T* const panel = B.at + j * B.depth + k * vectors * lanes<T>;
        if (adds || k > 0) multiply_panel<true, vectors>(C + j, c, width, of_block, panel, m, some);
        else multiply_panel<false, vectors>(C + j, c, width, of_block, panel, m, some);
      };
      static_assert(tile_vectors == 2 || tile_vectors == 4);
      if (width <= lanes<T>) go(std::integral_constant<size_t, 1>());
      else if (width <= 2 * lanes<T>) go(std::integral_constant<size_t, 2>());
      else if (width <= 3 * lanes<T>) go(std::integral_constant<size_t, 3>());
      else go(std::integral_constant<size_t, 4>());
    }
  }
}

}  // namespace bm3
