// The choice of a device, and the module with the CUDA backend. This program links no CUDA library,
// so that the module must find its own.
#include "ops/choose.h"

#include "ops/cpu/product.h"
#include "scratch.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3::test {
namespace {

/// `auto` is the GPU when `cuda` is one, and the CPU when that is an error.
TEST(ChooseDevice, WhatWorks) {
  if (choose_device({}).device == "cuda")
    EXPECT_TRUE(choose_device({"cuda", 1, true}).tf32);
  else
    EXPECT_THROW(choose_device({"cuda"}), Error);
  const DeviceChoice cpu = choose_device({"cpu", 1, true, true});
  EXPECT_FALSE(cpu.tf32 || cpu.cusparse);
  EXPECT_EQ(choose_ops(cpu)->name(), "CPU, 1 thread");
}

/// What a choice prints to stderr.
std::string warning_of(const DeviceChoice& choice) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(choose_device(choice).threads, choice.threads);
  return testing::internal::GetCapturedStderr();
}

TEST(ChooseDevice, OnTheCpuSaysWhatItLeavesOut) {
  const char* const words = "warning: --tf32 and --spmm do nothing on the CPU\n";
  EXPECT_EQ(warning_of({"cpu", 3}), "");
  EXPECT_EQ(warning_of({"cpu", 0, true}), words);
  EXPECT_EQ(warning_of({"cpu", 0, false, true}), words);
  const bool has_gpu = std::filesystem::exists("/dev/nvidia0");
  if (!has_gpu) {
    EXPECT_EQ(warning_of({}), "");
  }
  EXPECT_EQ(choose_device({"cpu", 2}).device, "cpu");
  EXPECT_EQ(choose_ops({"cpu", 2})->name(), "CPU, 2 threads");
  EXPECT_EQ(product_kernels({"cpu", 2}),
            "own, in vectors of " + std::to_string(8 * vector_bytes) + " bits");
#ifndef BM3_CUDA
  const std::string why = "this build has no CUDA: expected nvcc where it was made";
  EXPECT_ERROR(choose_device({"cuda"}), "--device cuda: " + why);
  if (has_gpu) {
    EXPECT_EQ(warning_of({}), "warning: a GPU is there, but computing on the CPU: " + why + "\n");
  }
#endif
}

TEST(CheckThreads, StartsAsManyAsAreAskedFor) { check_threads({"cpu", 3}); }

#ifdef BM3_CUDA

TEST(CudaModule, LoadsWithoutAGpu) {
  std::string why;
  const CudaBackend* const backend = load_cuda_backend(why);
  ASSERT_NE(backend, nullptr) << why;
  const bool works = backend->works(why);
  if (!works) {
    EXPECT_EQ(why.find("no GPU works: "), 0U) << why;
    EXPECT_ERROR(backend->make_float(false, false), why);  // across the module's border
  }
  // A backend that does not work where there is a GPU is a fault.
  EXPECT_TRUE(works || !std::filesystem::exists("/dev/nvidia0")) << why;
}

#endif

}  // namespace
}  // namespace bm3::test
