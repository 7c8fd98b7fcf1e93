#pragma once
// cuSPARSE on the CPU: what src/ops/cuda uses, in plain loops. See cuda_runtime.h.
#include "cuda_runtime.h"

enum cusparseStatus_t {
  CUSPARSE_STATUS_SUCCESS = 0,
  CUSPARSE_STATUS_NOT_INITIALIZED = 1,
  CUSPARSE_STATUS_ALLOC_FAILED = 2,
  CUSPARSE_STATUS_INSUFFICIENT_RESOURCES = 11,
};
enum cusparseOperation_t { CUSPARSE_OPERATION_NON_TRANSPOSE };
enum { CUSPARSE_INDEX_32I = 2, CUSPARSE_INDEX_BASE_ZERO = 0, CUSPARSE_ORDER_ROW = 2 };
enum { CUSPARSE_SPMM_CSR_ALG3 = 12 };
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
using cusparseHandle_t = cusparseContext*;
using cusparseSpMatDescr_t = cusparseSpMatDescr*;
using cusparseDnMatDescr_t = cusparseDnMatDescr*;

inline const char* cusparseGetErrorName(cusparseStatus_t status) {
  return status == CUSPARSE_STATUS_NOT_INITIALIZED ? "CUSPARSE_STATUS_NOT_INITIALIZED"
         : status == CUSPARSE_STATUS_INSUFFICIENT_RESOURCES
             ? "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES"
             : "unknown";
}
inline const char* cusparseGetErrorString(cusparseStatus_t) { return "on the CPU"; }
inline cusparseStatus_t cusparseCreate(cusparseHandle_t* handle) {
  return *handle = new cusparseContext, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseDestroy(cusparseHandle_t handle) {
  return delete handle, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseSetStream(cusparseHandle_t handle, cudaStream_t stream) {
  return handle->stream = stream, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseCreateCsr(cusparseSpMatDescr_t* out, int64_t rows, int64_t, int64_t,
                                          void* begin, void* column, void* value, int, int, int,
                                          cudaDataType) {
  *out = new cusparseSpMatDescr{rows, static_cast<const int32_t*>(begin),
                                static_cast<const int32_t*>(column), value};
  return CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseDestroySpMat(cusparseSpMatDescr_t matrix) {
  return delete matrix, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseCreateDnMat(cusparseDnMatDescr_t* out, int64_t, int64_t columns,
                                            int64_t, void* values, cudaDataType, int) {
  return *out = new cusparseDnMatDescr{columns, values}, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseDestroyDnMat(cusparseDnMatDescr_t matrix) {
  return delete matrix, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseDnMatSetValues(cusparseDnMatDescr_t matrix, void* values) {
  return matrix->values = values, CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseSpMM_bufferSize(cusparseHandle_t, cusparseOperation_t,
                                                cusparseOperation_t, const void*,
                                                cusparseSpMatDescr_t, cusparseDnMatDescr_t,
                                                const void*, cusparseDnMatDescr_t, cudaDataType,
                                                int, size_t* bytes) {
  return *bytes = 0, CUSPARSE_STATUS_SUCCESS;
}
template <class... Arguments>
cusparseStatus_t cusparseSpMM_preprocess(const Arguments&...) {
  return CUSPARSE_STATUS_SUCCESS;
}
inline cusparseStatus_t cusparseSpMM(cusparseHandle_t handle, cusparseOperation_t,
                                     cusparseOperation_t, const void* alpha, cusparseSpMatDescr_t A,
                                     cusparseDnMatDescr_t x, const void* beta,
                                     cusparseDnMatDescr_t y, cudaDataType type, int, void*) {
  cuda_on_cpu::with_type(type, [&](auto zero) {
    using T = decltype(zero);
    const T a = *static_cast<const T*>(alpha), b = *static_cast<const T*>(beta);
    cuda_on_cpu::ask(handle->stream, [a, b, A = *A, x = *x, y = *y] {
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
