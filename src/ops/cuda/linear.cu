// Linear layers [Eq. 1, 6] by cuBLAS.
#include <climits>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

int as_int(size_t n) {
  if (n > INT_MAX) throw Error("a matrix of " + std::to_string(n) + " rows exceeds cuBLAS's limit");
  return static_cast<int>(n);
}

/// sum[c] = sum of column c of x [n, d], for the `columns` columns c = first ..
template <class T>
__global__ void column_sums_kernel(T* sum, Matrix<const T> x, size_t first, unsigned columns,
                                   double* partial) {
  const size_t c = first + threadIdx.x % columns, at_once = block_threads / columns;
  T mine = 0;
  for (size_t r = blockIdx.x * at_once + threadIdx.x / columns; r < x.rows && c < x.cols;
       r += gridDim.x * at_once)
    mine += x.row(r)[c];
  sum_over_grid(static_cast<double>(mine), columns, partial, [&](double total) {
    if (c < x.cols) sum[c] = static_cast<T>(total);
  });
}

}  // namespace

template <class T>
void CudaOps<T>::gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A,
                      size_t a, const T* B, size_t b, T beta, T* C, size_t c) {
  if (m == 0 || n == 0) return;
  // cuBLAS counts along columns: to it, our matrices are transposed, and C^T = op(B)^T op(A)^T.
  constexpr bool single = sizeof(T) == 4;
  const cublasComputeType_t compute = !single ? CUBLAS_COMPUTE_64F
                                      : tf32_ ? CUBLAS_COMPUTE_32F_FAST_TF32
                                              : CUBLAS_COMPUTE_32F;
  const T one = 1;
  BM3_CHECK(cublasGemmEx(lane().blas.get(), transpose_B ? CUBLAS_OP_T : CUBLAS_OP_N,
                         transpose_A ? CUBLAS_OP_T : CUBLAS_OP_N, as_int(n), as_int(m), as_int(k),
                         &one, B, real<T>, as_int(b), A, real<T>, as_int(a), &beta, C, real<T>,
                         as_int(c), compute, CUBLAS_GEMM_DEFAULT));
}

template <class T>
void CudaOps<T>::column_sums(Matrix<T> sum, ConstMatrix<T> x) {
  const unsigned columns = launch_over(1, x.cols).second.x;
  constexpr unsigned most_parts = most_partial_sums / block_threads;
  const unsigned parts = std::min(blocks_of(x.rows, 32), most_parts);
  for (size_t first = 0; first < x.cols; first += columns)
    launch(stream(), parts, block_threads, column_sums_kernel<T>, sum.at, x, first, columns,
           partial_sums());
}

template <class T>
ConstMatrix<T> CudaOps<T>::in_one_piece(ConstMatrix<T> x, Rows rows, bool forward) {
  if (!rows.at) return x;
  Gathered& kept = gathered_.try_emplace({x.at, x.cols, rows.at}, *this).first->second;
  const size_t left = std::exchange(kept.left, 0);
  const Matrix<T> copy{kept.memory.template room<T>(rows.n * x.cols), rows.n, x.cols};
  if (forward || left != rows.n) gather_rows(copy, x, rows);
  if (forward) kept.left = rows.n;
  return copy;
}

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CudaOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                                ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  if (b.at) copy_rows(y, b.at, 0, {nullptr, y.rows});
  const ConstMatrix<T> X = in_one_piece(x, rows, true);
  gemm(false, false, y.rows, y.cols, X.cols, X.at, X.cols, W.at, W.cols, T(1), y.at, y.cols);
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CudaOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                 ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (n == 0) {
    zero(d_W.at, d_W.size() * sizeof(T));
    if (d_b.at) zero(d_b.at, d_b.size() * sizeof(T));
    return;
  }
  if (d_x.at) gemm(false, true, n, in, out, d_y.at, out, W.at, out, T(0), d_x.at, in);
  const ConstMatrix<T> X = in_one_piece(x, rows, false);
  gemm(true, false, in, out, n, X.at, in, d_y.at, out, T(0), d_W.at, out);
  if (d_b.at) column_sums(d_b, d_y);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
