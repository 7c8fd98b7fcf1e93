#pragma once
// What can fail on the host's side: calls of CUDA, cuBLAS and cuSPARSE, each of which stands in
// BM3_CHECK, and launches too large for a grid.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusparse.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "error.h"

namespace bm3::cuda {

// --------------------------------------------------------------------------------------- calls

/// What a library says of a status.
struct Failure {
  std::string message;
  bool out_of_memory;
};
inline Failure failure(cudaError_t status) {
  return {concat("CUDA: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")"),
          status == cudaErrorMemoryAllocation};
}
inline Failure failure(cublasStatus_t status) {
  return {concat("cuBLAS: ", cublasGetStatusString(status), " (", cublasGetStatusName(status), ")"),
          status == CUBLAS_STATUS_ALLOC_FAILED};
}
inline Failure failure(cusparseStatus_t status) {
  return {concat("cuSPARSE: ", cusparseGetErrorString(status), " (", cusparseGetErrorName(status),
                 ")"),
          status == CUSPARSE_STATUS_ALLOC_FAILED ||
              status == CUSPARSE_STATUS_INSUFFICIENT_RESOURCES};
}

/// Returns a size for a person, rounded up.
inline std::string mebibytes(size_t bytes) {
  return concat((bytes >> 20) + (bytes % (size_t{1} << 20) != 0), " MiB");
}

/// Throws, with the library's own message, when a call did not succeed; where memory was short,
/// with what is free and which options help.
template <class Status>
void check(Status status, const char* call, const char* file, int line) {
  if (status == Status(0)) return;  // each library's success
  const Failure why = failure(status);
  const char* slash = std::strrchr(file, '/');
  std::string words = concat(why.message, " at ", slash ? slash + 1 : file, ":", line, ": ",
                             std::string(call, std::strcspn(call, "(")));
  if (why.out_of_memory) {
    words += "; out of memory: ";
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) == cudaSuccess)
      words += mebibytes(free) + " of the GPU's " + mebibytes(total) + " are free; ";
    words += "a smaller data set, --batch or --dim needs less";
  }
  throw Error(words);
}
#define BM3_CHECK(call) ::bm3::cuda::check(call, #call, __FILE__, __LINE__)

// ------------------------------------------------------------------------------------ launches

constexpr unsigned warp = 32;            // threads that run together
constexpr unsigned block_threads = 256;  // threads of a block, where none is said
constexpr unsigned warps_of_block = block_threads / warp;
constexpr size_t most_blocks = 2147483647;  // in a grid's x direction
constexpr unsigned sum_blocks = 512;        // most blocks of a kernel that sums

/// Returns the blocks that cover n elements, `each` a block; 0 for none.
constexpr unsigned blocks_of(size_t n, size_t each) {
  const size_t blocks = n / each + (n % each != 0);
  if (blocks > most_blocks)
    throw Error("a launch over ", n, " elements exceeds CUDA's largest grid");
  return static_cast<unsigned>(blocks);
}

/// Returns the blocks of a kernel that sums over n rows, a warp a row: one even for none, whose sum
/// is 0. They depend on n alone, not on the GPU, so that the order of the sum does not either.
constexpr unsigned blocks_of_sum(size_t n) {
  return std::clamp(blocks_of(n, warps_of_block), 1u, sum_blocks);
}

/// Returns the blocks (x: rows, y: columns) and a block's threads (x: columns, y: rows) for one
/// thread an element of [rows, columns]; narrow matrices have several rows a block. Blocks in a
/// grid's y direction are few, so rows, which may be many, lie along x.
inline std::pair<dim3, dim3> launch_over(size_t rows, size_t columns) {
  unsigned x = 1;
  while (x < block_threads && x < columns) x *= 2;
  const unsigned y = block_threads / x, across = blocks_of(columns, x);
  if (across > 65535)
    throw Error("a launch over ", columns, " columns exceeds CUDA's largest grid");
  return {dim3(blocks_of(rows, y), across), dim3(x, y)};
}

}  // namespace bm3::cuda
