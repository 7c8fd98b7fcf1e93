// The CUDA backend's host side: the arithmetic of launches, messages of errors.
#include <gtest/gtest.h>

#include <regex>

#ifdef BM3_CUDA
#include "ops/cuda/check.h"
#endif

namespace bm3::test {
namespace {

#ifdef BM3_CUDA

using namespace cuda;

constexpr size_t sizes[] = {0, 1, 2, 7, 31, 32, 33, 64, 255, 256, 257, 384, 4096, 1000003};

TEST(CudaLaunch, BlocksCoverEachElementOnce) {
  for (size_t n : sizes) {
    for (size_t each : {size_t{1}, size_t{8}, size_t{32}, size_t{256}}) {
      const size_t blocks = blocks_of(n, each);
      EXPECT_GE(blocks * each, n);
      EXPECT_LT(blocks * each, n + each);  // the last block has something to do
    }
    EXPECT_EQ(blocks_of_sum(n), std::clamp(blocks_of(n, warps_of_block), 1u, sum_blocks));
  }
  static_assert(blocks_of(most_blocks * 256, 256) == most_blocks);
  EXPECT_THROW(blocks_of(most_blocks * 256 + 1, 256), Error);
  EXPECT_THROW(blocks_of(~size_t{0}, 2), Error);
}

TEST(CudaLaunch, MatrixLaunchCoversEachElementOnce) {
  for (size_t rows : sizes)
    for (size_t columns : sizes) {
      const auto [blocks, threads] = launch_over(rows, columns);
      EXPECT_EQ(threads.x * threads.y, block_threads);
      EXPECT_EQ(threads.x & (threads.x - 1), 0u);
      const size_t down = size_t{blocks.x} * threads.y, across = size_t{blocks.y} * threads.x;
      EXPECT_GE(down, rows);
      EXPECT_LT(down, rows + threads.y);
      EXPECT_GE(across, columns);
      EXPECT_LT(across, columns + threads.x);
      EXPECT_TRUE(threads.x == 1 || threads.x == block_threads || threads.x < 2 * columns);
    }
  EXPECT_NO_THROW(launch_over(1, size_t{65535} * 256));
  EXPECT_THROW(launch_over(1, size_t{65535} * 256 + 1), Error);
}

template <class Status>
std::string error_of(Status status) {
  try {
    check(status, "someCall(with, arguments)", "/a/folder/file.cu", 42);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CudaErrors, NameLibraryMessageAndPlace) {
  const std::string where = R"( at file\.cu:42: someCall)";
  const std::string memory =
      where + R"(; out of memory: (\d+ MiB of the GPU's \d+ MiB are free; )?)" +
      "a smaller data set, --batch or --dim needs less";
  const std::pair<std::string, std::string> cases[] = {
      {error_of(cudaSuccess), ""},
      {error_of(CUBLAS_STATUS_SUCCESS), ""},
      {error_of(CUSPARSE_STATUS_SUCCESS), ""},
      {error_of(cudaErrorInvalidValue),
       R"(CUDA: invalid argument \(cudaErrorInvalidValue\))" + where},
      {error_of(CUBLAS_STATUS_NOT_INITIALIZED), ".*CUBLAS_STATUS_NOT_INITIALIZED.*" + where},
      {error_of(CUSPARSE_STATUS_NOT_INITIALIZED), ".*CUSPARSE_STATUS_NOT_INITIALIZED.*" + where},
      {error_of(cudaErrorMemoryAllocation), ".*" + memory},
      {error_of(CUBLAS_STATUS_ALLOC_FAILED), ".*" + memory},
      {error_of(CUSPARSE_STATUS_INSUFFICIENT_RESOURCES), ".*" + memory}};
  for (const auto& [words, expected] : cases)
    EXPECT_TRUE(std::regex_match(words, std::regex(expected))) << words << "\nfor " << expected;
  EXPECT_EQ(mebibytes(0), "0 MiB");
  EXPECT_EQ(mebibytes(1), "1 MiB");
  EXPECT_EQ(mebibytes(size_t{5} << 30), "5120 MiB");
}

#endif

}  // namespace
}  // namespace bm3::test
