#pragma once
// cuBLAS on the CPU: what src/ops/cuda uses, by a CBLAS. See cuda_runtime.h.
#include <cblas.h>

#include <type_traits>

#include "cuda_runtime.h"

enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_NOT_INITIALIZED = 1,
  CUBLAS_STATUS_ALLOC_FAILED = 3,
};
enum cublasOperation_t { CUBLAS_OP_N = CblasNoTrans, CUBLAS_OP_T = CblasTrans };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F };
enum { CUBLAS_DEFAULT_MATH = 0, CUBLAS_GEMM_DEFAULT = -1 };
struct cublasContext {
  cudaStream_t stream = nullptr;
};
using cublasHandle_t = cublasContext*;

inline const char* cublasGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_INITIALIZED ? "CUBLAS_STATUS_NOT_INITIALIZED"
         : status == CUBLAS_STATUS_ALLOC_FAILED  ? "CUBLAS_STATUS_ALLOC_FAILED"
                                                 : "unknown";
}
inline const char* cublasGetStatusString(cublasStatus_t) { return "on the CPU"; }
inline cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  return *handle = new cublasContext, CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  return delete handle, CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  return handle->stream = stream, CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* memory, size_t bytes) {
  cuda_on_cpu::ask(handle->stream, [=] { std::memset(memory, 0xff, bytes); });  // cuBLAS's now
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasSetMathMode(cublasHandle_t, int) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t a, cublasOperation_t b,
                                   int m, int n, int k, const void*, const void* A,
                                   cudaDataType type, int lda, const void* B, cudaDataType, int ldb,
                                   const void* beta, void* C, cudaDataType, int ldc,
                                   cublasComputeType_t, int) {
  cuda_on_cpu::with_type(type, [=](auto zero) {
    using T = decltype(zero);
    const T beta_now = *static_cast<const T*>(beta);
    cuda_on_cpu::ask(handle->stream, [=] {
      const auto gemm = [](auto... all) {
        if constexpr (std::is_same_v<T, float>)
          cblas_sgemm(all...);
        else
          cblas_dgemm(all...);
      };
      gemm(CblasColMajor, CBLAS_TRANSPOSE(a), CBLAS_TRANSPOSE(b), m, n, k, T(1),
           static_cast<const T*>(A), lda, static_cast<const T*>(B), ldb, beta_now,
           static_cast<T*>(C), ldc);
    });
  });
  return CUBLAS_STATUS_SUCCESS;
}
