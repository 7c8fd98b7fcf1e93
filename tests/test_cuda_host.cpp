// The CUDA backend's host side: launches that are too large, messages of errors.
#include <regex>

#include "scratch.h"

#ifdef BM3_CUDA
#include "ops/cuda/check.h"
#endif

namespace bm3::test {
namespace {

#ifdef BM3_CUDA

using namespace cuda;

/// Smaller ones are the operations' own tests' affair.
TEST(CudaLaunch, RefusesWhatExceedsEveryGrid) {
  EXPECT_EQ(blocks_of(most_blocks * 256, 256), most_blocks);
  EXPECT_THROW(blocks_of(most_blocks * 256 + 1, 256), Error);
  EXPECT_THROW(blocks_of(~size_t{0}, 2), Error);
  EXPECT_NO_THROW(launch_over(1, size_t{65535} * 256));
  EXPECT_THROW(launch_over(1, size_t{65535} * 256 + 1), Error);
}

template <class Status>
std::string message(Status status) {
  return error_of([&] { check(status, "someCall(with, arguments)", "/a/folder/file.cu", 42); });
}

TEST(CudaErrors, NameLibraryMessageAndPlace) {
  const std::string where = R"( at file\.cu:42: someCall)";
  const std::string memory =
      where + R"(; out of memory: (\d+ MiB of the GPU's \d+ MiB are free; )?)" +
      "a smaller data set, --batch or --dim needs less";
  const std::pair<std::string, std::string> cases[] = {
      {message(cudaSuccess), ""},
      {message(CUBLAS_STATUS_SUCCESS), ""},
      {message(CUSPARSE_STATUS_SUCCESS), ""},
      {message(cudaErrorInvalidValue),
       R"(CUDA: invalid argument \(cudaErrorInvalidValue\))" + where},
      {message(CUBLAS_STATUS_NOT_INITIALIZED), ".*CUBLAS_STATUS_NOT_INITIALIZED.*" + where},
      {message(CUSPARSE_STATUS_NOT_INITIALIZED), ".*CUSPARSE_STATUS_NOT_INITIALIZED.*" + where},
      {message(cudaErrorMemoryAllocation), ".*" + memory},
      {message(CUBLAS_STATUS_ALLOC_FAILED), ".*" + memory},
      {message(CUSPARSE_STATUS_INSUFFICIENT_RESOURCES), ".*" + memory}};
  for (const auto& [words, expected] : cases)
    EXPECT_TRUE(std::regex_match(words, std::regex(expected))) << words << "\nfor " << expected;
  EXPECT_EQ(mebibytes(0), "0 MiB");
  EXPECT_EQ(mebibytes(1), "1 MiB");
  EXPECT_EQ(mebibytes(size_t{5} << 30), "5120 MiB");
}

#endif

}  // namespace
}  // namespace bm3::test
