// The choice of a device, and the module with the CUDA backend. This program links no CUDA library,
// so that the module must find its own.
#include "ops/choose.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "error.h"
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

#ifdef BM3_CUDA

TEST(CudaModule, LoadsWithoutAGpu) {
  std::string why;
  const CudaBackend* const backend = load_cuda_backend(why);
  ASSERT_NE(backend, nullptr) << why;
  const bool works = backend->works(why);
  if (!works) {
    EXPECT_NE(why, "");
    EXPECT_THROW(backend->make_float(false, false), Error);  // across the module's border
  }
  // A backend that does not work where there is a GPU is a fault.
  EXPECT_TRUE(works || !std::filesystem::exists("/dev/nvidia0")) << why;
}

#endif

}  // namespace
}  // namespace bm3::test
