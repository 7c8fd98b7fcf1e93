#pragma once
// Checked calls: every CUDA, cuBLAS and cuSPARSE call stands in BM3_CHECK.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusparse.h>

#include <cstring>
#include <string>

#include "error.h"
#include "ops/cuda/launch.h"

namespace bm3::cuda {

inline bool failed(cudaError_t status) { return status != cudaSuccess; }
inline bool failed(cublasStatus_t status) { return status != CUBLAS_STATUS_SUCCESS; }
inline bool failed(cusparseStatus_t status) { return status != CUSPARSE_STATUS_SUCCESS; }

inline std::string message(cudaError_t status) {
  return std::string("CUDA: ") + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")";
}
inline std::string message(cublasStatus_t status) {
  return std::string("cuBLAS: ") + cublasGetStatusString(status) + " (" +
         cublasGetStatusName(status) + ")";
}
inline std::string message(cusparseStatus_t status) {
  return std::string("cuSPARSE: ") + cusparseGetErrorString(status) + " (" +
         cusparseGetErrorName(status) + ")";
}

inline bool is_out_of_memory(cudaError_t status) { return status == cudaErrorMemoryAllocation; }
inline bool is_out_of_memory(cublasStatus_t status) {
  return status == CUBLAS_STATUS_ALLOC_FAILED;
}
inline bool is_out_of_memory(cusparseStatus_t status) {
  return status == CUSPARSE_STATUS_ALLOC_FAILED || status == CUSPARSE_STATUS_INSUFFICIENT_RESOURCES;
}
/// Says what is free and which options help: the end of a message.
inline std::string out_of_memory() {
  size_t free = 0, total = 0;
  const bool known = !failed(cudaMemGetInfo(&free, &total));
  return "; out of memory: " + (known ? mebibytes(free) + " of the GPU's " + mebibytes(total) +
                                            " are free; " : std::string()) +
         "--features frozen, fewer --modalities or a smaller --batch needs less";
}

/// Throws, with the library's own message, when a call did not succeed.
template <class Status>
void check(Status status, const char* call, const char* file, int line) {
  if (!failed(status)) return;
  const char* slash = std::strrchr(file, '/');
  throw Error(message(status) + " at " + (slash ? slash + 1 : file) + ":" + std::to_string(line) +
              ": " + std::string(call, std::strcspn(call, "(")) +
              (is_out_of_memory(status) ? out_of_memory() : ""));
}

}  // namespace bm3::cuda

#define BM3_CHECK(call) ::bm3::cuda::check(call, #call, __FILE__, __LINE__)
