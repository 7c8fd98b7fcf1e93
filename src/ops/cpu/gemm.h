#pragma once
// Products of matrices by a CBLAS, in both precisions.
#include <cblas.h>

#include "ops/cpu/cpu_ops.h"

namespace bm3 {

/// C [m, n] = op(A) op(B) + beta C, row-major; `a`, `b`, `c` are the rows' distances.
template <class T>
void gemm(CBLAS_TRANSPOSE tA, CBLAS_TRANSPOSE tB, size_t m, size_t n, size_t k, const T* A,
          size_t a, const T* B, size_t b, T beta, T* C, size_t c) {
  const auto i = [](size_t size) { return static_cast<int>(size); };
  if constexpr (sizeof(T) == sizeof(float))
    cblas_sgemm(CblasRowMajor, tA, tB, i(m), i(n), i(k), 1, A, i(a), B, i(b), beta, C, i(c));
  else
    cblas_dgemm(CblasRowMajor, tA, tB, i(m), i(n), i(k), 1, A, i(a), B, i(b), beta, C, i(c));
}

}  // namespace bm3
