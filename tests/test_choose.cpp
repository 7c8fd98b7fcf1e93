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

TEST(ChooseDevice, CpuIsAlwaysThere) {
  EXPECT_EQ(choose_device("cpu"), "cpu");
  EXPECT_NE(choose_ops({"cpu", 1})->name().find("CPU"), std::string::npos);
}

/// `auto` is the GPU when `cuda` is one, and the CPU when that is an error.
TEST(ChooseDevice, AutoIsWhatWorks) {
  const std::string chosen = choose_device("auto");
  if (chosen == "cuda")
    EXPECT_EQ(choose_device("cuda"), "cuda");
  else
    EXPECT_THROW(choose_device("cuda"), Error);
}

#ifdef BM3_CUDA

TEST(CudaModule, LoadsWithoutAGpu) {
  std::string why;
  const CudaBackend* const backend = load_cuda_backend(why);
  ASSERT_NE(backend, nullptr) << why;
  if (!backend->works(why)) {
    EXPECT_NE(why, "");
    EXPECT_THROW(backend->make_float(false, false, 0), Error);  // across the module's border
  }
}

/// Elsewhere the GPU's tests are skipped; where there is one, a backend that does not work is a
/// fault.
TEST(CudaModule, WorksWhereThereIsAGpu) {
  if (!std::filesystem::exists("/dev/nvidia0")) GTEST_SKIP() << "no GPU here";
  std::string why;
  EXPECT_TRUE(cuda_works(why)) << why;
}

#endif

}  // namespace
}  // namespace bm3::test
