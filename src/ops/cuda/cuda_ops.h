#pragma once
#include <list>

#include "ops/cuda/kernel.h"
#include "ops/cuda/sparse_product.h"
#include "ops/shapes.h"

namespace bm3 {

/// The operations with cuBLAS, cuSPARSE, cuRAND and kernels; see ops.h for what each computes. Sums
/// are added without atomics, in an order that depends on sizes alone. Nothing waits for the GPU
/// but `download`, `synchronize`, `seconds_of`, `upload` while the ring of pinned memory is full,
/// and the release of memory or of a record.
template <class T>
class CudaOps final : public Ops<T> {
 public:
  CudaOps(bool tf32, bool cusparse);

  std::string name() const override;
  void* allocate(size_t bytes) override { return runtime_.allocate(bytes); }
  void release(void* memory) noexcept override;
  size_t allocated() const override { return runtime_.allocated(); }
  size_t most_allocated() const override { return runtime_.most_allocated(); }
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
  void both(const std::function<void()>& f, const std::function<void()>& g) override {
    runtime_.both(f, g);
  }
  /// A batch of 2048 has 1000 to 2048 distinct users, give or take some tens from batch to batch:
  /// in steps of 128 these are two or three sizes, so that nearly every step replays a graph, and
  /// the rows that are added cost a few percent.
  size_t row_padding() const override { return 128; }

  void linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                      ConstMatrix<T> b) override;
  void linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                       ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) override;
  void propagate(Matrix<T> y, ConstMatrix<T> x, ConstMatrix<T> z, T a, T b_user, T b_item,
                 const Graph<T>& graph) override;
  void gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) override;
  void scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) override;
  void draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) override;
  void cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                   const Pairs& pairs, double mean, double weight) override;
  void pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                 ConstMatrix<T> i, const Triples& triples, PairForm form, double mean) override;
  void add_weighted(Matrix<T> y, ConstMatrix<T> w, ConstMatrix<T> x, const Pairs& pairs,
                    double scale) override;
  void penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                       RegForm form, double mean) override;
  void penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, const Pairs& pairs,
                        RegForm form, double scale) override;
  void norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) override;
  void norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, double scale) override;
  void advance(uint32_t* step) override;
  void adam(Matrix<T> p, Matrix<T> m, Matrix<T> v, ConstMatrix<T> g,
            const AdamTime<T>& time) override;
  void adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) override;
  void adam_rows(const AdamRows<T>& at, ConstMatrix<T> g, const AdamTime<T>& time) override;
  void top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
             const Graph<T>& graph) override;
  void metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
               const double* ideal) override;

 private:
  /// C [m, n] = op(A) op(B) + beta C, row-major, inner size k; `a`, `b`, `c` are the rows'
  /// distances.
  void gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A, size_t a,
            const T* B, size_t b, T beta, T* C, size_t c);
  /// sum [1, d] = column sums of x [n, d].
  void column_sums(Matrix<T> sum, ConstMatrix<T> x);
  /// Returns x[rows] in one piece: gathered where `forward`, and for the backward pass unless the
  /// forward pass left it.
  ConstMatrix<T> in_one_piece(ConstMatrix<T> x, Rows rows, bool forward);
  /// Returns the product of this graph and width, made on the first call.
  cuda::SparseProduct<T>& sparse_product(const Graph<T>& graph, size_t d);
  cudaStream_t stream() const { return runtime_.stream(); }
  cuda::GridSum grid_sum() { return cuda::grid_sum(lane().sums); }

  /// What operations need beyond their arguments; each stream has its own.
  struct Lane {
    Lane(cuda::Runtime& runtime, cudaStream_t stream, bool cusparse);
    cuda::Workspace blas_memory, sums, column_parts, scores, lists, metric_parts;
    cuda::Owned<cublasHandle_t, cublasDestroy> blas;
    cuda::Owned<cusparseHandle_t, cusparseDestroy> sparse;  // null without cuSPARSE
    std::list<cuda::SparseProduct<T>> sparse_products;
  };
  Lane& lane() { return runtime_.on_side() ? side_ : main_; }

  /// Memory for the rows of x [*, d] with these numbers; `left`: how many the last forward pass put
  /// there and no backward pass has read.
  struct Gathered {
    Gathered(cuda::Runtime& runtime, ConstMatrix<T> of, Rows numbers)
        : x(of.at), d(of.cols), rows(numbers.at), memory(runtime) {}
    const T* x;
    size_t d;
    const int32_t* rows;
    cuda::Workspace memory;
    size_t left = 0;
  };

  cuda::Runtime runtime_;
  bool tf32_;
  Lane main_, side_;
  std::list<Gathered> gathered_;
};

}  // namespace bm3
