#include "ops/cuda/cuda_ops.h"

#include "ops/cuda/cuda.h"

namespace bm3 {

template <class T>
CudaOps<T>::CudaOps(bool tf32, bool cusparse) : tf32_(tf32) {
  for (size_t k = 0; k < cuda::Lanes::count; ++k)
    extras_.emplace_back(*this, lanes().stream(k), tf32, cusparse);
}

template <class T>
CudaOps<T>::Lane::Lane(cuda::Runtime& runtime, cudaStream_t stream, bool tf32, bool cusparse)
    : sums(runtime), parts(runtime), packed(runtime), strips(runtime), lists(runtime),
      listed(runtime), left(runtime), scores(runtime), gathered(runtime), blas_memory(runtime) {
  constexpr size_t n = cuda::most_partial_sums + 1;
  runtime.zero(sums.room<double>(n), n * sizeof(double));
  if (tf32) {
    BM3_CHECK(cublasCreate(cuda::Into(blas)));
    BM3_CHECK(cublasSetStream(blas.get(), stream));
    // Set after the stream, which takes it back; with memory of its own a product allocates
    // nothing, which a recorded step may not, and is the same in every run.
    const bool hopper = runtime.properties().major >= 9;
    const size_t bytes = size_t{hopper ? 32u : 4u} << 20;  // NVIDIA's advice
    auto* const memory = blas_memory.room<char>(bytes);
    runtime.zero(memory, bytes);  // cuBLAS may read what it has not written
    BM3_CHECK(cublasSetWorkspace(blas.get(), memory, bytes));
    BM3_CHECK(cublasSetMathMode(blas.get(), CUBLAS_DEFAULT_MATH));
  }
  if (cusparse) {
    BM3_CHECK(cusparseCreate(cuda::Into(sparse)));
    BM3_CHECK(cusparseSetStream(sparse.get(), stream));
  }
}

template <class T>
std::string CudaOps<T>::name() const {
  const auto& gpu = properties();
  return std::string("GPU, ") + gpu.name + ", " + std::to_string(gpu.totalGlobalMem >> 20) +
         " MiB" + (tf32_ ? ", TF32 products" : "") + (extras_[0].sparse ? ", cuSPARSE" : "");
}

template <class T>
void CudaOps<T>::release(void* memory) noexcept {
  // A product that is kept for a graph may not meet what lies there later.
  for (Lane& each : extras_)
    for (auto it = each.products.begin(); it != each.products.end();) {
      const auto& of = it->second;
      const bool gone = holds(memory, of.begin) || holds(memory, of.neighbour) ||
                        holds(memory, of.scale);
      it = gone ? each.products.erase(it) : std::next(it);
    }
  Runtime::release(memory);
}

template class CudaOps<float>;
template class CudaOps<double>;

template <class T>
static Ops<T>* make(bool tf32, bool cusparse) {
  return new CudaOps<T>(tf32, cusparse);
}
extern "C" const CudaBackend bm3_cuda_backend{cuda::works, make<float>, make<double>};

}  // namespace bm3
