// cuBLAS and cuSPARSE on the CPU.
#include <cblas.h>

#include "cublas_v2.h"
#include "cusparse.h"

using cuda_on_cpu::ask;

// -------------------------------------------------------------------------------------- cuBLAS
struct cublasContext {
  cudaStream_t stream = nullptr;
};

const char* cublasGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_INITIALIZED ? "CUBLAS_STATUS_NOT_INITIALIZED"
         : status == CUBLAS_STATUS_ALLOC_FAILED  ? "CUBLAS_STATUS_ALLOC_FAILED"
                                                 : "unknown";
}
const char* cublasGetStatusString(cublasStatus_t) { return "on the CPU"; }
cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) { return delete handle, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* memory, size_t bytes) {
  ask(handle->stream, [=] { std::memset(memory, 0xff, bytes); });  // it is cuBLAS's now
  return CUBLAS_STATUS_SUCCESS;
}

namespace {

/// Calls f with a number of this type.
template <class F>
void with_type(cudaDataType type, const F& f) {
  type == CUDA_R_32F ? f(0.0f) : f(0.0);
}

}  // namespace

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t a, cublasOperation_t b, int m,
                            int n, int k, const void*, const void* A, cudaDataType type, int lda,
                            const void* B, cudaDataType, int ldb, const void* beta, void* C,
                            cudaDataType, int ldc, cublasComputeType_t, int) {
  const auto transpose = [](cublasOperation_t o) {
    return o == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
  };
  with_type(type, [=](auto zero) {
    using T = decltype(zero);
    const T beta_now = *static_cast<const T*>(beta);
    ask(handle->stream, [=] {
      const auto gemm = [] {
        if constexpr (sizeof(T) == 4)
          return cblas_sgemm;
        else
          return cblas_dgemm;
      }();
      gemm(CblasColMajor, transpose(a), transpose(b), m, n, k, 1, static_cast<const T*>(A), lda,
           static_cast<const T*>(B), ldb, beta_now, static_cast<T*>(C), ldc);
    });
  });
  return CUBLAS_STATUS_SUCCESS;
}

// ------------------------------------------------------------------------------------ cuSPARSE
struct cusparseContext {
  cudaStream_t stream = nullptr;
};
struct cusparseSpMatDescr {
  int64_t rows;
  const int32_t *begin, *column;
  const void* value;
};
struct cusparseDnMatDescr {
  int64_t columns;
  void* values;
};

const char* cusparseGetErrorName(cusparseStatus_t status) {
  return status == CUSPARSE_STATUS_NOT_INITIALIZED ? "CUSPARSE_STATUS_NOT_INITIALIZED"
         : status == CUSPARSE_STATUS_INSUFFICIENT_RESOURCES
             ? "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES"
             : "unknown";
}
const char* cusparseGetErrorString(cusparseStatus_t) { return "on the CPU"; }
cusparseStatus_t cusparseCreate(cusparseHandle_t* handle) {
  *handle = new cusparseContext;
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseDestroy(cusparseHandle_t handle) {
  return delete handle, CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseSetStream(cusparseHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseCreateCsr(cusparseSpMatDescr_t* out, int64_t rows, int64_t, int64_t,
                                   void* begin, void* column, void* value, int, int, int,
                                   cudaDataType) {
  *out = new cusparseSpMatDescr{rows, static_cast<const int32_t*>(begin),
                                static_cast<const int32_t*>(column), value};
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseDestroySpMat(cusparseSpMatDescr_t matrix) {
  return delete matrix, CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseCreateDnMat(cusparseDnMatDescr_t* out, int64_t, int64_t columns, int64_t,
                                     void* values, cudaDataType, int) {
  *out = new cusparseDnMatDescr{columns, values};
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseDestroyDnMat(cusparseDnMatDescr_t matrix) {
  return delete matrix, CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseDnMatSetValues(cusparseDnMatDescr_t matrix, void* values) {
  matrix->values = values;
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseSpMM_bufferSize(cusparseHandle_t, cusparseOperation_t,
                                         cusparseOperation_t, const void*, cusparseSpMatDescr_t,
                                         cusparseDnMatDescr_t, const void*, cusparseDnMatDescr_t,
                                         cudaDataType, int, size_t* bytes) {
  *bytes = 0;
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseSpMM(cusparseHandle_t handle, cusparseOperation_t, cusparseOperation_t,
                              const void* alpha, cusparseSpMatDescr_t A, cusparseDnMatDescr_t x,
                              const void* beta, cusparseDnMatDescr_t y, cudaDataType type, int,
                              void*) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
    const T a = *static_cast<const T*>(alpha), b = *static_cast<const T*>(beta);
    ask(handle->stream, [a, b, A = *A, x = *x, y = *y] {
      const int64_t d = x.columns;
      const auto* const from = static_cast<const T*>(x.values);
      for (int64_t r = 0; r < A.rows; ++r)
        for (int64_t c = 0; c < d; ++c) {
          T sum = 0;
          for (int32_t e = A.begin[r]; e < A.begin[r + 1]; ++e)
            sum += static_cast<const T*>(A.value)[e] * from[A.column[e] * d + c];
          T& out = static_cast<T*>(y.values)[r * d + c];
          out = a * sum + b * out;
        }
    });
  });
  return CUSPARSE_STATUS_SUCCESS;
}
