#pragma once
// Operands of the operations: matrices and row lists in a device's memory that others own.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "random.h"

namespace bm3 {

/// A row-major matrix [rows, cols].
template <class T>
struct Matrix {
  T* at = nullptr;
  size_t rows = 0, cols = 0;
  BM3_HD size_t size() const { return rows * cols; }
  BM3_HD T* row(size_t r) const { return at + r * cols; }
  template <class U, class = std::enable_if_t<std::is_same_v<U, const T>>>
  operator Matrix<U>() const {
    return {at, rows, cols};
  }
  /// Rows first .. first + n.
  Matrix slice(size_t first, size_t n) const { return {at + first * cols, n, cols}; }
};

template <class T>
struct Unchanged {
  using type = Matrix<const T>;
};
/// A matrix that is only read. A call deduces T from its other operands.
template <class T>
using ConstMatrix = typename Unchanged<T>::type;

/// Row numbers [n]. -1 is padding: a gathered row is zero, a scattered row goes nowhere. Without
/// numbers (null) all rows are meant, in their order.
struct Rows {
  const int32_t* at = nullptr;
  size_t n = 0;
  BM3_HD int64_t operator[](size_t k) const { return at ? at[k] : static_cast<int64_t>(k); }
};

}  // namespace bm3
