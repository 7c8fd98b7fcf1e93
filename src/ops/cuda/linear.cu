// Linear layers [Eq. 1, 6] by cuBLAS, and the sums of columns.
#include <climits>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr size_t rows_of_sum = 32;        // rows that a block sums at a time, column by column
constexpr unsigned most_row_parts = 128;  // partial sums of a column

int as_int(size_t n) {
  if (n > INT_MAX) throw Error("a matrix of " + std::to_string(n) + " rows exceeds cuBLAS's limit");
  return static_cast<int>(n);
}

/// y [n, d] = b in every row.
template <class T>
__global__ void repeat_row_kernel(Matrix<T> y, const T* b) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < y.rows && c < y.cols) y.row(r)[c] = b[c];
}

/// The sum of mine[column], one value a thread, over the threads of a column (equal threadIdx.x),
/// in the first of them. All threads of the block call it.
template <class T>
__device__ T sum_of_column(T mine) {
  __shared__ T values[block_threads];
  __syncthreads();  // nobody still reads what an earlier call left
  values[threadIdx.y * blockDim.x + threadIdx.x] = mine;
  __syncthreads();
  T sum = 0;
  if (threadIdx.y == 0)
    for (unsigned y = 0; y < blockDim.y; ++y) sum += values[y * blockDim.x + threadIdx.x];
  return sum;
}

/// sum [d] = column sums of x [n, d]: each block those of its rows, in part [blocks, d]; the last
/// block to be done, those of the parts.
template <class T>
__global__ void column_sums_kernel(T* sum, T* part, Matrix<const T> x, unsigned* counter) {
  const size_t n = x.rows, d = x.cols;
  for (size_t first = 0; first < d; first += blockDim.x) {
    const size_t c = first + threadIdx.x;
    T mine = 0;
    for (size_t r0 = blockIdx.x * rows_of_sum; r0 < n && c < d; r0 += gridDim.x * rows_of_sum)
      for (size_t r = r0 + threadIdx.y; r < n && r < r0 + rows_of_sum; r += blockDim.y)
        mine += x.row(r)[c];
    const T of_block = sum_of_column(mine);
    if (threadIdx.y == 0 && c < d) part[blockIdx.x * d + c] = of_block;
  }
  if (!last_block(counter)) return;
  for (size_t first = 0; first < d; first += blockDim.x) {
    const size_t c = first + threadIdx.x;
    T mine = 0;
    for (unsigned k = threadIdx.y; k < gridDim.x && c < d; k += blockDim.y)
      mine += __ldcg(part + k * d + c);
    const T total = sum_of_column(mine);
    if (threadIdx.y == 0 && c < d) sum[c] = total;
  }
}

}  // namespace

template <class T>
void CudaOps<T>::gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A,
                      size_t a, const T* B, size_t b, T beta, T* C, size_t c) {
  if (m == 0 || n == 0) return;
  // cuBLAS counts along columns: to it, our matrices are transposed, and C^T = op(B)^T op(A)^T.
  constexpr bool single = sizeof(T) == 4;
  constexpr cudaDataType type = single ? CUDA_R_32F : CUDA_R_64F;
  const cublasComputeType_t compute = !single ? CUBLAS_COMPUTE_64F
                                      : tf32_ ? CUBLAS_COMPUTE_32F_FAST_TF32
                                              : CUBLAS_COMPUTE_32F;
  const T one = 1;
  BM3_CHECK(cublasGemmEx(lane().blas.get(), transpose_B ? CUBLAS_OP_T : CUBLAS_OP_N,
                         transpose_A ? CUBLAS_OP_T : CUBLAS_OP_N, as_int(n), as_int(m), as_int(k),
                         &one, B, type, as_int(b), A, type, as_int(a), &beta, C, type, as_int(c),
                         compute, CUBLAS_GEMM_DEFAULT));
}

template <class T>
void CudaOps<T>::column_sums(Matrix<T> sum, ConstMatrix<T> x) {
  const MatrixLaunch at = launch_over(1, x.cols);
  const unsigned parts = std::min(blocks_of(x.rows, rows_of_sum), most_row_parts);
  T* part = lane().column_parts.template room<T>(parts * x.cols);
  start(stream(), parts, dim3(at.threads_x, at.threads_y), column_sums_kernel<T>, sum.at, part, x,
        grid_sum().counter);
}

template <class T>
ConstMatrix<T> CudaOps<T>::in_one_piece(ConstMatrix<T> x, Rows rows, bool forward) {
  if (!rows.at) return x;
  auto kept = std::find_if(gathered_.begin(), gathered_.end(), [&](const Gathered& each) {
    return each.x == x.at && each.d == x.cols && each.rows == rows.at;
  });
  if (kept == gathered_.end()) kept = gathered_.emplace(kept, runtime_, x, rows);
  const size_t left = std::exchange(kept->left, 0);
  const Matrix<T> copy{kept->memory.template room<T>(rows.n * x.cols), rows.n, x.cols};
  if (forward || left != rows.n) gather_rows(copy, x, rows);
  if (forward) kept->left = rows.n;
  return copy;
}

// y = x[rows] W + b
template <class T>
void CudaOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                                ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  launch_matrix(stream(), y.rows, y.cols, repeat_row_kernel<T>, y, b.at);
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
    zero(d_b.at, d_b.size() * sizeof(T));
    return;
  }
  if (d_x.at) gemm(false, true, n, in, out, d_y.at, out, W.at, out, T(0), d_x.at, in);
  const ConstMatrix<T> X = in_one_piece(x, rows, false);
  gemm(true, false, in, out, n, X.at, in, d_y.at, out, T(0), d_W.at, out);
  column_sums(d_b, d_y);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
