#include "libraries.h"

#include <unistd.h>

#include <climits>
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

/// Whether OpenBLAS took this processor for an older one.
bool kernels_are_too_old() {
  if (!openblas_get_corename || !has_avx512()) return false;
  const std::string_view chosen = openblas_get_corename();
  for (std::string_view older : {"Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen"})
    if (chosen == older) return true;
  return false;
}

}  // namespace

void set_up_libraries(char** argv) {
  bool again = false;
  if (!std::getenv("OPENBLAS_CORETYPE") && kernels_are_too_old())
    again = setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) == 0;
  if (!std::getenv("OMP_WAIT_POLICY") && !std::getenv("GOMP_SPINCOUNT"))
    again = setenv("GOMP_SPINCOUNT", "1000", 1) == 0 || again;
  char path[PATH_MAX] = "";  // by its own name, which tools show, not as "exe"
  if (again && readlink("/proc/self/exe", path, sizeof path - 1) > 0)
    execv(path, argv);  // on failure, go on with what there is
}

}  // namespace bm3
