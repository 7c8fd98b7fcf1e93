#pragma once

namespace bm3 {

/// Where the processor has AVX-512 but OpenBLAS took it for an older one, starts the program again
/// with OPENBLAS_CORETYPE=SkylakeX, which only counts before OpenBLAS is loaded. To be called first
/// in `main`. Does nothing when the variable is set or another CBLAS is linked.
void choose_blas_kernels(char** argv);

}  // namespace bm3
