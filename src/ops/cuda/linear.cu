// Linear layers [Eq. 1, 6]: products that gather their rows, add the bias and sum a bias's gradient
// themselves; and by cuBLAS.
#include <climits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tile.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr size_t wanted_blocks = 330;  // what fills a large GPU, but for a small product beside it
constexpr size_t most_parts = 64;      // of the inner size

/// C [M, N] = A B + rows that lie `distance` apart; and perhaps sums [N], of B's inner size.
template <class T>
struct Product {
  Matrix<T> C;
  Matrix<const T> A, B;
  Rows rows_A, rows_B;
  size_t inner;
  const T* rows = nullptr;
  size_t distance = 0;
  T* sums = nullptr;
  T* partial = nullptr;  // [parts, M + 1, N], where the inner size is in parts: C and below it sums
};

/// Writes a warp's sums, which begin at this row and column, as C or as the block's part of it.
template <int width, class T>
__device__ void write(const Product<T>& p, const Sums<T>& sums, unsigned row, unsigned column) {
  const bool adds = p.rows && !p.partial;
  T* const to = p.partial ? p.partial + blockIdx.z * (p.C.rows + 1) * p.C.cols : p.C.at;
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    const size_t r = row + sums.first_row() + i;
#pragma unroll
    for (unsigned j = 0; j < 8; j += width) {
      const size_t c = column + sums.first_column() + j;
      if (r >= p.C.rows || c >= p.C.cols) continue;
      Vector<T, width> out{};
      if (adds) out = vector_at<width>(p.rows + r * p.distance + c);
      for (int k = 0; k < width; ++k) out.x[k] += sums.x[i][j + k];
      vector_at<width>(to + r * p.C.cols + c) = out;
    }
  }
}

/// A block a tile (x, y) of C and a part (z) of the inner size.
template <class T, int width, bool A_by_columns, bool B_by_columns>
__global__ void __launch_bounds__(product_threads, 3)
    product_kernel(Product<T> p) {
  using A = Operand<T, A_by_columns, width>;
  using B = Operand<T, B_by_columns, width>;
  alignas(16) __shared__ Tiles<T> tiles;
  const unsigned row = blockIdx.x * side, column = blockIdx.y * side;
  const unsigned own = threadIdx.x / warp, part_row = own / 2 * 32, part_column = own % 2 * 32;
  const size_t steps = (p.inner + depth<T> - 1) / depth<T>;
  const auto first = static_cast<unsigned>(steps * blockIdx.z / gridDim.z);
  const auto end = static_cast<unsigned>(steps * (blockIdx.z + 1) / gridDim.z);
  const bool sums_B = !B_by_columns && p.sums && blockIdx.x == 0 && threadIdx.x < side;
  A a(p.A, p.rows_A);
  B b(p.B, p.rows_B);
  a.begin(row, first * depth<T>);
  b.begin(column, first * depth<T>);
  Sums<T> sums{};
  T sum_B = 0;
  auto inner = static_cast<unsigned>(p.inner) - first * depth<T>;
  for_tiles<T>(
      tiles, end - first,
      [&](T* of_A, T* of_B) {
        a.read(of_A);
        b.read(of_B);
      },
      [&](const T* of_A, const T* of_B) {
        add_product<A, B>(sums, of_A, of_B, part_row, part_column, inner);
        inner -= depth<T>;
        for (unsigned k = 0; k < depth<T> && sums_B; ++k) sum_B += of_B[B::place(threadIdx.x, k)];
      });
  write<width>(p, sums, row + part_row, column + part_column);
  if (const unsigned c = column + threadIdx.x; sums_B && c < p.C.cols) {
    const size_t height = p.C.rows + 1;
    (p.partial ? p.partial + (blockIdx.z * height + p.C.rows) * p.C.cols : p.sums)[c] = sum_B;
  }
}

/// Adds up the parts in their order, a thread `width` columns, whose loads are under way together.
template <int width, class T>
void add_parts(cudaStream_t stream, const Product<T>& p, size_t parts) {
  constexpr unsigned at_once = 64 / width;
  const size_t rows = p.C.rows + (p.sums ? 1 : 0), size = (p.C.rows + 1) * p.C.cols;
  for_each_entry(stream, rows, p.C.cols / width, [=] __device__(size_t r, size_t c) {
    c *= width;
    Vector<T, width> sum{}, part[at_once];
    if (p.rows && r < p.C.rows) sum = vector_at<width>(p.rows + r * p.distance + c);
    const T* const from = p.partial + r * p.C.cols + c;
    for (size_t first = 0; first < parts; first += at_once) {
#pragma unroll
      for (unsigned k = 0; k < at_once; ++k)
        part[k] = first + k < parts ? vector_at<width>(from + (first + k) * size)
                                    : Vector<T, width>{};
#pragma unroll
      for (unsigned k = 0; k < at_once; ++k)
        for (int i = 0; i < width; ++i) sum.x[i] += part[k].x[i];
    }
    vector_at<width>((r < p.C.rows ? p.C.row(r) : p.sums) + c) = sum;
  });
}

/// Launches p's kernels. The parts depend on sizes alone.
template <bool A_by_columns, bool B_by_columns, class T>
void multiply(cudaStream_t stream, Workspace& partial, Product<T> p) {
  const dim3 tiles(blocks_of(p.C.rows, side), blocks_of(p.C.cols, side));
  const size_t parts = std::clamp<size_t>(
      std::min(wanted_blocks / std::max<size_t>(1, size_t{tiles.x} * tiles.y),
               p.inner / depth<T> / 4),
      1, most_parts);
  if (parts > 1) p.partial = partial.room<T>(parts * (p.C.rows + 1) * p.C.cols);
  const bool wide = (p.A.cols | p.B.cols | p.C.cols) % widest<T> == 0 && is_aligned(p.A.at) &&
                    is_aligned(p.B.at) && is_aligned(p.C.at) && is_aligned(p.rows) &&
                    is_aligned(p.sums);
  const auto go = [&](auto width) {
    launch(stream, dim3(tiles.x, tiles.y, static_cast<unsigned>(parts)), product_threads,
           product_kernel<T, width, A_by_columns, B_by_columns>, p);
    if (parts > 16) add_parts<1>(stream, p, parts);  // many parts of few numbers
    else if (parts > 1) add_parts<width>(stream, p, parts);
  };
  if constexpr (sizeof(T) == 4)  // double is for proofs
    if (wide) return go(std::integral_constant<int, widest<T>>());
  go(std::integral_constant<int, 1>());
}

int as_int(size_t n) {
  if (n > INT_MAX) throw Error("a matrix of ", n, " rows exceeds cuBLAS's limit");
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

Rows all(size_t n) { return {nullptr, n}; }

}  // namespace

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CudaOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                                ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  const cudaStream_t stream = this->stream_for(y, x, W, b);
  if (tf32_) return blas_forward(stream, y, x, rows, W, b);
  Product<T> p{y, x, W, {rows.at, y.rows}, all(W.rows), W.rows};
  p.rows = b.at ? b.at : y.at;
  p.distance = b.at ? 0 : y.cols;
  multiply<true, false>(stream, lane().parts, p);
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CudaOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                 ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  if (tf32_) {
    const cudaStream_t stream = this->stream_for(d_x, d_W, d_b, d_y, x, W);
    return blas_backward(stream, d_x, d_W, d_b, d_y, x, rows, W);
  }
  const size_t n = d_y.rows;
  if (d_x.at) {
    const cudaStream_t stream = this->stream_for(d_x, d_y, W);
    multiply<true, true>(stream, lane().parts,
                         Product<T>{d_x, d_y, W, all(n), all(W.rows), W.cols});
  }
  Product<T> p{d_W, x, d_y, {rows.at, n}, all(n), n};
  p.sums = d_b.at;
  const cudaStream_t stream = this->stream_for(d_W, d_b, d_y, x);
  multiply<false, false>(stream, lane().parts, p);
}

// ------------------------------------------------------------------------------------ by cuBLAS

template <class T>
void CudaOps<T>::gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A,
                      size_t a, const T* B, size_t b, T beta, T* C, size_t c) {
  if (m == 0 || n == 0) return;
  // cuBLAS counts along columns: to it, our matrices are transposed, and C^T = op(B)^T op(A)^T.
  constexpr auto compute = sizeof(T) == 4 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_64F;
  const T one = 1;
  BM3_CHECK(cublasGemmEx(lane().blas.get(), transpose_B ? CUBLAS_OP_T : CUBLAS_OP_N,
                         transpose_A ? CUBLAS_OP_T : CUBLAS_OP_N, as_int(n), as_int(m), as_int(k),
                         &one, B, real<T>, as_int(b), A, real<T>, as_int(a), &beta, C, real<T>,
                         as_int(c), compute, CUBLAS_GEMM_DEFAULT));
}

template <class T>
void CudaOps<T>::column_sums(cudaStream_t stream, Matrix<T> sum, ConstMatrix<T> x) {
  const unsigned columns = launch_over(1, x.cols).second.x;
  constexpr unsigned most_parts_of_sum = most_partial_sums / block_threads;
  const unsigned parts = std::min(blocks_of(x.rows, 32), most_parts_of_sum);
  for (size_t first = 0; first < x.cols; first += columns)
    launch(stream, parts, block_threads, column_sums_kernel<T>, sum.at, x, first, columns,
           partial_sums());
}

template <class T>
ConstMatrix<T> CudaOps<T>::in_one_piece(cudaStream_t stream, ConstMatrix<T> x, Rows rows) {
  if (!rows.at) return x;
  const Matrix<T> copy{lane().gathered.template room<T>(rows.n * x.cols), rows.n, x.cols};
  copy_rows(stream, copy, x.at, x.cols, rows);
  return copy;
}

template <class T>
void CudaOps<T>::blas_forward(cudaStream_t stream, Matrix<T> y, ConstMatrix<T> x, Rows rows,
                              ConstMatrix<T> W, ConstMatrix<T> b) {
  if (b.at) copy_rows(stream, y, b.at, 0, all(y.rows));
  const ConstMatrix<T> X = in_one_piece(stream, x, rows);
  gemm(false, false, y.rows, y.cols, X.cols, X.at, X.cols, W.at, W.cols, T(1), y.at, y.cols);
}

template <class T>
void CudaOps<T>::blas_backward(cudaStream_t stream, Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b,
                               ConstMatrix<T> d_y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (n == 0) {
    BM3_CHECK(cudaMemsetAsync(d_W.at, 0, d_W.size() * sizeof(T), stream));
    if (d_b.at) BM3_CHECK(cudaMemsetAsync(d_b.at, 0, d_b.size() * sizeof(T), stream));
    return;
  }
  if (d_x.at) gemm(false, true, n, in, out, d_y.at, out, W.at, out, T(0), d_x.at, in);
  const ConstMatrix<T> X = in_one_piece(stream, x, rows);
  gemm(true, false, in, out, n, X.at, in, d_y.at, out, T(0), d_W.at, out);
  if (d_b.at) column_sums(stream, d_b, d_y);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
