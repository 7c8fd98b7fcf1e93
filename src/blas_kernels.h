#pragma once

namespace bm3 {

/// Warns on standard error where OpenBLAS took a processor with AVX-512 for an older one, and
/// nobody has chosen its kernels: says what to set.
void warn_of_old_blas_kernels();

}  // namespace bm3
