#include "blas.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

extern "C" char* openblas_get_corename() __attribute__((weak));

namespace bm3 {
namespace {

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

}  // namespace

void choose_blas_kernels(char** argv) {
  constexpr const char* variable = "OPENBLAS_CORETYPE";
  if (!openblas_get_corename || std::getenv(variable) || !has_avx512()) return;
  const std::string_view chosen = openblas_get_corename();
  for (std::string_view older : {"Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen"})
    if (chosen == older) {
      setenv(variable, "SkylakeX", 1);  // and so this happens once
      execv("/proc/self/exe", argv);    // on failure, go on with what there is
    }
}

}  // namespace bm3
