#pragma once
#include "ops/cuda/runtime.h"
#include "ops/ops.h"

namespace bm3 {

namespace cuda {

/// cuSPARSE's description of a graph's scaled adjacency, for one width d.
template <class T>
class SparseProduct;

struct GridSum;

}  // namespace cuda

/// The operations with cuBLAS, cuSPARSE, cuRAND and kernels; see ops.h for what each computes. Sums
/// are added without atomics, in an order that depends on sizes alone. Nothing waits for the GPU
/// but `download`, `synchronize`, `seconds_of`, `upload` into a table in the host's memory or once
/// the ring of pinned memory is full, and the release of memory or of a record.
template <class T>
class CudaOps final : public Ops<T> {
 public:
  CudaOps(bool tf32, bool cusparse, size_t reserve);
  ~CudaOps() override;

  std::string name() const override;
  void* allocate(size_t bytes) override { return runtime_.allocate(bytes); }
  void* allocate_table(size_t bytes) override { return runtime_.allocate_table(bytes); }
  void release(void* memory) noexcept override;
  size_t allocated() const override { return runtime_.allocated(); }
  void zero(void* dst, size_t bytes) override { runtime_.zero(dst, bytes); }
  void upload(void* dst, const void* src, size_t bytes) override {
    runtime_.upload(dst, src, bytes);
  }
  void download(void* dst, const void* src, size_t bytes) override {
    runtime_.download(dst, src, bytes);
  }
  void synchronize() override { runtime_.synchronize(); }
  double seconds_of(const std::function<void()>& work) override {
    return runtime_.seconds_of(work);
  }
  void replay(uint64_t key, const std::function<void()>& work) override {
    runtime_.replay(key, work);
  }
  /// A batch of 2048 has 1000 to 2048 distinct users, give or take some tens from batch to batch:
  /// in steps of 128 these are two or three sizes, so that nearly every step replays a graph, and
  /// the rows that are added cost a few percent.
  size_t row_padding() const override { return cuda::row_padding; }
  bool copies_rows() const override { return true; }
  bool fetches_ahead() const override { return runtime_.on_host() > 0; }
  void beside(size_t slot, const std::function<void()>& work) override {
    runtime_.beside(slot, work);
  }
  void join(size_t slot) override { runtime_.join(slot); }

  void linear_forward(T* y, const T* x, const int32_t* rows, const T* W, const T* b, size_t n,
                      size_t in, size_t out) override;
  void linear_backward(T* d_x, T* d_W, T* d_b, const T* d_y, const T* x, const int32_t* rows,
                       const T* W, size_t n, size_t in, size_t out) override;
  void propagate(T* y, const T* x, const T* z, T a, T b_user, T b_item, const Graph<T>& graph,
                 size_t d) override;
  void gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void scatter_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p, uint64_t seed,
                 uint32_t stream, const uint32_t* step) override;
  void cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b, const Pairs& pairs,
                   double scale, size_t d) override;
  void squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                       size_t d) override;
  void squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) override;
  void norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) override;
  void norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) override;
  void advance(uint32_t* step) override;
  void adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
            const AdamStep<T>* schedule, const uint32_t* step, size_t n) override;
  void adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                   const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                   size_t d) override;
  void adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                 const AdamStep<T>* schedule, const uint32_t* step, size_t n, size_t d) override;
  void top_k(int32_t* item, T* score, const T* h_u, const T* h_i, const int32_t* users,
             const Graph<T>& graph, size_t k, size_t n, size_t d) override;
  void metrics(double* sums, const int32_t* item, const Truth& truth, const double* ideal,
               size_t k) override;

 private:
  /// C [m, n] = op(A) op(B) + beta C, row-major, inner size k; `a`, `b`, `c` are the rows'
  /// distances.
  void gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A, size_t a,
            const T* B, size_t b, T beta, T* C, size_t c);
  /// to [n, d] = columns of the sums of x [n, d].
  void column_sums(T* sum, const T* x, size_t n, size_t d);
  /// The product of this graph and width, made on the first call.
  cuda::SparseProduct<T>& sparse_product(const Graph<T>& graph, size_t d);
  cudaStream_t stream() const { return runtime_.stream(); }
  cuda::GridSum grid_sum();

  /// What operations need beside their arguments; what is done beside has its own.
  struct Lane {
    Lane(cuda::Runtime& runtime, cudaStream_t stream);
    cuda::Workspace blas_memory, sums, gathered, column_parts;
    cuda::Owned<cublasHandle_t, cublasDestroy> blas;
  };
  Lane& lane() { return runtime_.is_beside() ? side_ : main_; }

  cuda::Runtime runtime_;
  bool tf32_, cusparse_wanted_;
  Lane main_{runtime_, runtime_.stream(false)}, side_{runtime_, runtime_.stream(true)};
  cuda::Workspace scores_{runtime_}, lists_{runtime_};  // of `top_k`, half for each lane
  cuda::Workspace metric_parts_{runtime_};              // of `metrics`, which nothing does beside
  cuda::Owned<cusparseHandle_t, cusparseDestroy> sparse_;
  std::vector<std::unique_ptr<cuda::SparseProduct<T>>> sparse_products_;
};

}  // namespace bm3
