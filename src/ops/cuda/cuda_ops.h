#pragma once
#include <deque>
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
  SparseProduct(Runtime& runtime, cudaStream_t stream, cusparseHandle_t with,
                const Graph<T>& graph, size_t d);
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

/// The operations of operations.inc with cuBLAS, cuSPARSE, cuRAND and kernels.
/// Sums are added without atomics, in an order that depends on sizes and, since aligned rows are
/// read in wider pieces, on alignment. Nothing waits for the GPU but `download`, `synchronize`,
/// `seconds_of`, `upload` while the ring of pinned memory is full, and the release of memory or of
/// a record.
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

#define BM3_HERE override
#include "ops/operations.inc"

 private:
  /// y [n, d] = x[rows], with this distance from row to row of x.
  void copy_rows(cudaStream_t stream, Matrix<T> y, const T* x, size_t distance, Rows rows);
  /// C [m, n] = op(A) op(B) + beta C, row-major, inner size k; `a`, `b`, `c` are the rows'
  /// distances. cuBLAS's.
  void gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A, size_t a,
            const T* B, size_t b, T beta, T* C, size_t c);
  /// sum [1, d] = column sums of x [n, d].
  void column_sums(cudaStream_t stream, Matrix<T> sum, ConstMatrix<T> x);
  /// Returns x[rows] in one piece, until the next call.
  ConstMatrix<T> in_one_piece(cudaStream_t stream, ConstMatrix<T> x, Rows rows);
  /// Linear layers by `gemm`, the plain way, in TF32.
  void blas_forward(cudaStream_t stream, Matrix<T> y, ConstMatrix<T> x, Rows rows,
                    ConstMatrix<T> W, ConstMatrix<T> b);
  void blas_backward(cudaStream_t stream, Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b,
                     ConstMatrix<T> d_y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W);
  /// See sum_over_grid.
  double* partial_sums() { return lane().sums.template room<double>(0); }

  /// What operations need beyond their arguments; each stream has its own.
  struct Lane {
    Lane(cuda::Runtime& runtime, cudaStream_t stream, bool tf32, bool cusparse);
    cuda::Workspace sums, parts, packed, strips, lists, listed, left, scores, gathered, blas_memory;
    cuda::Owned<cublasHandle_t, cublasDestroy> blas;        // null but in TF32
    cuda::Owned<cusparseHandle_t, cusparseDestroy> sparse;  // null without cuSPARSE
    std::map<std::pair<const int64_t*, size_t>, cuda::SparseProduct<T>> products;  // by graph, d
  };
  Lane& lane() { return extras_[lanes().now()]; }

  bool tf32_;
  std::deque<Lane> extras_;  // by lane
};

}  // namespace bm3
