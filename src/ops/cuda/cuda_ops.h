#pragma once
#include <map>

#include "ops/cuda/kernel.h"
#include "ops/shapes.h"

namespace bm3 {
namespace cuda {

template <class T>
constexpr cudaDataType real = sizeof(T) == 4 ? CUDA_R_32F : CUDA_R_64F;

/// cuSPARSE's form of a graph, whose arrays then stay as they are, for x and y [n_nodes, d]: the
/// scaled adjacency S A S. It is symmetric, so the transposed product is never needed.
template <class T>
struct SparseProduct {
  SparseProduct(Runtime& runtime, cusparseHandle_t with, const Graph<T>& graph, size_t d);
  /// y += a S A S x.
  void add(T* y, const T* x, T a);

  cusparseHandle_t handle;
  const int64_t* begin;  // the graph's
  const int32_t* neighbour;
  const T* scale;
  Workspace begin32, value, buffer;  // cuSPARSE wants both kinds of indices of one type
  Owned<cusparseSpMatDescr_t, cusparseDestroySpMat> matrix;
  Owned<cusparseDnMatDescr_t, cusparseDestroyDnMat> on_x, on_y;
};

}  // namespace cuda

/// The operations with cuBLAS, cuSPARSE, cuRAND and kernels; see ops.h for what each computes. Sums
/// are added without atomics, in an order that depends on sizes alone. Nothing waits for the GPU
/// but `download`, `synchronize`, `seconds_of`, `upload` while the ring of pinned memory is full,
/// and the release of memory or of a record.
template <class T>
class CudaOps final : public Ops<T>, public cuda::Runtime {
 public:
  CudaOps(bool tf32, bool cusparse);

  std::string name() const override;
  void release(void* memory) noexcept override;
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
  void copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) override;
  void add(Matrix<T> y, double b, ConstMatrix<T> x, double a) override;
  void leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) override;
  void leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) override;
  void normalise_forward(Matrix<T> y, ConstMatrix<T> x) override;
  void normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) override;
  void add_weighted(Matrix<T> y, ConstMatrix<T> w, ConstMatrix<T> x, const Pairs& pairs,
                    double scale) override;
  void edge_dot(Matrix<T> w, ConstMatrix<T> y, ConstMatrix<T> x, const Pairs& pairs,
                double scale) override;
  void edge_softmax_forward(Matrix<T> alpha, ConstMatrix<T> a, const Pairs& pairs) override;
  void edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                             const Pairs& pairs) override;
  void drop_edges(Matrix<T> y, ConstMatrix<T> w, Matrix<const uint8_t> mask,
                  const double* rate) override;
  void edge_weights_forward(Matrix<T> w, Matrix<int32_t> chosen, ConstMatrix<T> alpha,
                            ConstMatrix<T> c, const Pairs& pairs) override;
  void edge_weights_backward(Matrix<T> d_alpha, Matrix<T> d_c, ConstMatrix<T> d_w,
                             Matrix<const int32_t> chosen, ConstMatrix<T> alpha, ConstMatrix<T> c,
                             const Pairs& pairs) override;
  void draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) override;
  void draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) override;
  void cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                   const Pairs& pairs, double mean, double weight) override;
  void pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                 ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                 double weight) override;
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
  /// y [n, d] = x[rows], with this distance from row to row of x.
  void copy_rows(Matrix<T> y, const T* x, size_t distance, Rows rows);
  /// C [m, n] = op(A) op(B) + beta C, row-major, inner size k; `a`, `b`, `c` are the rows'
  /// distances.
  void gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A, size_t a,
            const T* B, size_t b, T beta, T* C, size_t c);
  /// sum [1, d] = column sums of x [n, d].
  void column_sums(Matrix<T> sum, ConstMatrix<T> x);
  /// Returns x[rows] in one piece: gathered where `forward`, and for the backward pass unless the
  /// forward pass left it.
  ConstMatrix<T> in_one_piece(ConstMatrix<T> x, Rows rows, bool forward);
  /// See sum_over_grid.
  double* partial_sums() { return lane().sums.template room<double>(0); }

  /// What operations need beyond their arguments; each stream has its own.
  struct Lane {
    Lane(cuda::Runtime& runtime, cudaStream_t stream, bool cusparse);
    cuda::Workspace blas_memory, sums, scores, lists;
    cuda::Owned<cublasHandle_t, cublasDestroy> blas;
    cuda::Owned<cusparseHandle_t, cusparseDestroy> sparse;  // null without cuSPARSE
    std::map<std::pair<const int64_t*, size_t>, cuda::SparseProduct<T>> products;  // by graph, d
  };
  Lane& lane() { return on_side() ? side_ : main_; }

  /// Gathered rows; `left`: how many the last forward pass put there and no backward pass has read.
  struct Gathered {
    explicit Gathered(cuda::Runtime& runtime) : memory(runtime) {}
    cuda::Workspace memory;
    size_t left = 0;
  };

  bool tf32_;
  Lane main_, side_;
  std::map<std::tuple<const T*, size_t, const int32_t*>, Gathered> gathered_;  // by x, d, rows
};

}  // namespace bm3
