#include "ops/choose.h"

#include <cstdio>
#include <filesystem>

#include "error.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3 {

std::string choose_device(const std::string& wanted) {
  if (wanted == "cpu") return "cpu";
#ifdef BM3_CUDA
  std::string why;
  if (cuda_works(why)) return "cuda";
#else
  const std::string why = "this build has no CUDA: expected nvcc where it was made";
#endif
  if (wanted == "cuda") throw Error("--device cuda: " + why);
  if (std::filesystem::exists("/dev/nvidia0"))  // nobody expects the CPU then
    std::fprintf(stderr, "warning: a GPU is there, but computing on the CPU: %s\n", why.c_str());
  return "cpu";
}

std::unique_ptr<Ops<float>> choose_ops(const DeviceChoice& choice) {
#ifdef BM3_CUDA
  if (choose_device(choice.device) == "cuda")
    return make_cuda_ops<float>(choice.tf32, false, choice.reserve);
#else
  choose_device(choice.device);
#endif
  if (choice.tf32) std::fputs("warning: --tf32 does nothing on the CPU\n", stderr);
  return make_cpu_ops<float>(choice.threads);
}

}  // namespace bm3
