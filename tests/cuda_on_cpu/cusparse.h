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
using cusparseHandle_t = struct cusparseContext*;
using cusparseSpMatDescr_t = struct cusparseSpMatDescr*;
using cusparseDnMatDescr_t = struct cusparseDnMatDescr*;

const char* cusparseGetErrorName(cusparseStatus_t);
const char* cusparseGetErrorString(cusparseStatus_t);
cusparseStatus_t cusparseCreate(cusparseHandle_t*);
cusparseStatus_t cusparseDestroy(cusparseHandle_t);
cusparseStatus_t cusparseSetStream(cusparseHandle_t, cudaStream_t);
cusparseStatus_t cusparseCreateCsr(cusparseSpMatDescr_t*, int64_t rows, int64_t columns,
                                   int64_t nonzeros, void* begin, void* column, void* value, int,
                                   int, int, cudaDataType);
cusparseStatus_t cusparseDestroySpMat(cusparseSpMatDescr_t);
cusparseStatus_t cusparseCreateDnMat(cusparseDnMatDescr_t*, int64_t rows, int64_t columns,
                                     int64_t distance, void* values, cudaDataType, int order);
cusparseStatus_t cusparseDestroyDnMat(cusparseDnMatDescr_t);
cusparseStatus_t cusparseDnMatSetValues(cusparseDnMatDescr_t, void*);
cusparseStatus_t cusparseSpMM_bufferSize(cusparseHandle_t, cusparseOperation_t,
                                         cusparseOperation_t, const void*, cusparseSpMatDescr_t,
                                         cusparseDnMatDescr_t, const void*, cusparseDnMatDescr_t,
                                         cudaDataType, int, size_t* bytes);
inline cusparseStatus_t cusparseSpMM_preprocess(cusparseHandle_t, cusparseOperation_t,
                                                cusparseOperation_t, const void*,
                                                cusparseSpMatDescr_t, cusparseDnMatDescr_t,
                                                const void*, cusparseDnMatDescr_t, cudaDataType,
                                                int, void*) {
  return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseSpMM(cusparseHandle_t, cusparseOperation_t, cusparseOperation_t,
                              const void* alpha, cusparseSpMatDescr_t, cusparseDnMatDescr_t,
                              const void* beta, cusparseDnMatDescr_t, cudaDataType, int, void*);
