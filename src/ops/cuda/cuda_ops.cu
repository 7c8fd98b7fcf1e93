#include "ops/cuda/cuda_ops.h"

#include "ops/cuda/cuda.h"
#include "ops/cuda/kernel.h"
#include "ops/cuda/sparse_product.h"

namespace bm3 {

template <class T>
CudaOps<T>::CudaOps(bool tf32, bool cusparse, size_t reserve)
    : runtime_(reserve), tf32_(tf32), cusparse_wanted_(cusparse) {
  if (!cusparse) return;
  cusparseHandle_t sparse = nullptr;
  BM3_CHECK(cusparseCreate(&sparse));
  sparse_.reset(sparse);
  BM3_CHECK(cusparseSetStream(sparse, stream()));
}

template <class T>
CudaOps<T>::Lane::Lane(cuda::Runtime& runtime, cudaStream_t stream)
    : blas_memory(runtime), sums(runtime), gathered(runtime), column_parts(runtime) {
  cublasHandle_t handle = nullptr;
  BM3_CHECK(cublasCreate(&handle));
  blas.reset(handle);
  BM3_CHECK(cublasSetStream(handle, stream));
  // Set after the stream, which takes it back; with memory of its own a product allocates nothing,
  // which a recorded step may not, and is the same in every run.
  const size_t bytes = cuda::blas_workspace(runtime.properties().major);
  auto* const memory = blas_memory.room<char>(bytes);
  runtime.zero(memory, bytes);  // cuBLAS may read what it has not written
  BM3_CHECK(cublasSetWorkspace(handle, memory, bytes));
  BM3_CHECK(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));
  runtime.zero(cuda::grid_sum(sums).counter, sizeof(unsigned));
}

template <class T>
CudaOps<T>::~CudaOps() = default;

template <class T>
std::string CudaOps<T>::name() const {
  const auto& gpu = runtime_.properties();
  return std::string("GPU, ") + gpu.name + ", " + std::to_string(gpu.totalGlobalMem >> 20) +
         " MiB" + (tf32_ ? ", TF32 products" : "") +
         (fetches_ahead() ? "; features of " + std::to_string(runtime_.on_host() >> 20) +
                                " MiB do not fit and stay in pinned memory of the host, slower"
                          : "");
}

template <class T>
void CudaOps<T>::release(void* memory) noexcept {
  // A later graph may lie at the same addresses.
  const auto uses = [&](const auto& product) { return product->uses(memory); };
  const auto kept = std::remove_if(sparse_products_.begin(), sparse_products_.end(), uses);
  sparse_products_.erase(kept, sparse_products_.end());
  runtime_.release(memory);
}

template <class T>
cuda::GridSum CudaOps<T>::grid_sum() {
  return cuda::grid_sum(lane().sums);
}

template class CudaOps<float>;
template class CudaOps<double>;
namespace {

template <class T>
Ops<T>* make(bool tf32, bool cusparse, size_t reserve) {
  return new CudaOps<T>(tf32, cusparse, reserve);
}

}  // namespace

extern "C" const CudaBackend bm3_cuda_backend{cuda::works, make<float>, make<double>};

}  // namespace bm3
