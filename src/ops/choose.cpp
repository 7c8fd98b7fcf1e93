#include "ops/choose.h"

#include <omp.h>

#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include "error.h"
#include "ops/cpu/product.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3 {

DeviceChoice choose_device(DeviceChoice choice) {
  std::string why = "this build has no CUDA: expected nvcc where it was made";
  bool works = false;
#ifdef BM3_CUDA
  works = choice.device != "cpu" && cuda_works(why);
#endif
  if (choice.device == "cuda" && !works) throw Error("--device cuda: " + why);
  if (choice.device == "auto" && !works && std::filesystem::exists("/dev/nvidia0"))
    std::fprintf(stderr, "warning: a GPU is there, but computing on the CPU: %s\n", why.c_str());
  if (!works && (choice.tf32 || choice.cusparse))
    std::fputs("warning: --tf32 and --spmm do nothing on the CPU\n", stderr);
  return {works ? "cuda" : "cpu", choice.threads, works && choice.tf32, works && choice.cusparse};
}

std::string product_kernels(const DeviceChoice& chosen) {
  if (chosen.device == "cuda") return chosen.tf32 ? "cuBLAS, in TF32" : "own";
  return "own, in vectors of " + std::to_string(8 * vector_bytes) + " bits";
}

std::unique_ptr<Ops<float>> choose_ops(const DeviceChoice& chosen) {
#ifdef BM3_CUDA
  if (chosen.device == "cuda") return make_cuda_ops<float>(chosen.tf32, chosen.cusparse);
#endif
  return make_cpu_ops<float>(chosen.threads);
}

void check_threads(const DeviceChoice& chosen) {
  if (chosen.device == "cuda") return;
  const auto n = static_cast<size_t>(chosen.threads > 0 ? chosen.threads : omp_get_max_threads());
  std::mutex until_all_run;
  std::unique_lock<std::mutex> lock(until_all_run);
  std::vector<std::thread> threads;
  try {
    while (threads.size() < n)
      threads.emplace_back([&] { const std::lock_guard<std::mutex> wait(until_all_run); });
  } catch (const std::exception&) {  // std::system_error or std::bad_alloc
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (threads.size() < n)
    throw Error("cannot start ", n, " threads, only ", threads.size(),
                ": expected a smaller --threads, or higher limits of processes and of memory "
                "(ulimit -u, ulimit -v)");
}

}  // namespace bm3
