#include "ops/choose.h"

#include <omp.h>

#include <cstdio>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <thread>

#include "error.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3 {
namespace {

/// Throws unless n threads can run at once: OpenMP would end the program, or hang.
void check_threads(int n) {
  std::mutex until_all_run;
  std::unique_lock<std::mutex> lock(until_all_run);
  std::vector<std::thread> threads;
  int started = 1;  // this one
  try {
    for (; started < n; ++started)
      threads.emplace_back([&] { std::lock_guard<std::mutex> wait(until_all_run); });
  } catch (const std::system_error&) {
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (started < n)
    throw Error("cannot start thread " + std::to_string(started + 1) + " of " +
                std::to_string(n) + ": expected a smaller --threads, or a higher limit (ulimit -u, -v)");
}

}  // namespace

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
    return make_cuda_ops<float>(choice.tf32, choice.cusparse);
#else
  choose_device(choice.device);
#endif
  if (choice.tf32 || choice.cusparse)
    std::fputs("warning: --tf32 and --spmm do nothing on the CPU\n", stderr);
  check_threads(choice.threads > 0 ? choice.threads : omp_get_max_threads());
  return make_cpu_ops<float>(choice.threads);
}

}  // namespace bm3
