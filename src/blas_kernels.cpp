#include "blas_kernels.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" char* openblas_get_corename() __attribute__((weak));

namespace bm3 {

void warn_of_old_blas_kernels() {
#if defined(__x86_64__)
  if (!openblas_get_corename || std::getenv("OPENBLAS_CORETYPE") ||
      !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
    return;
  const std::string_view chosen = openblas_get_corename();
  for (std::string_view older : {"Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen"})
    if (chosen == older)
      std::fprintf(stderr, "warning: OpenBLAS uses kernels for %s on a processor with AVX-512: "
                   "OPENBLAS_CORETYPE=SkylakeX may be faster\n", older.data());
#endif
}

}  // namespace bm3
