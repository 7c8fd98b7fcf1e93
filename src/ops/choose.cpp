#include "ops/choose.h"

#include <omp.h>

#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

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
    return make_cuda_ops<float>(choice.tf32, choice.cusparse);
#else
  choose_device(choice.device);
#endif
  if (choice.tf32 || choice.cusparse)
    std::fputs("warning: --tf32 and --spmm do nothing on the CPU\n", stderr);
  return make_cpu_ops<float>(choice.threads);
}

void check_threads(const DeviceChoice& choice) {
  if (choose_device(choice.device) == "cuda") return;
  constexpr size_t bytes = size_t{129} << 20;  // of OpenBLAS for a thread; address space alone
  const int n = choice.threads > 0 ? choice.threads : omp_get_max_threads();
  std::mutex until_all_run;
  std::unique_lock<std::mutex> lock(until_all_run);
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<char[]>> memory;
  try {
    for (int k = 0; k < n; ++k) {
      memory.emplace_back(new char[bytes]);
      threads.emplace_back([&] { const std::lock_guard<std::mutex> wait(until_all_run); });
    }
  } catch (const std::exception&) {  // std::system_error or std::bad_alloc
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (threads.size() < static_cast<size_t>(n))
    throw Error("cannot start " + std::to_string(n) + " threads, only " +
                std::to_string(threads.size()) +
                ": expected a smaller --threads, or higher limits of processes and of memory "
                "(ulimit -u, ulimit -v)");
}

}  // namespace bm3
