// Linear layers [Eq. 1, 6]: products that gather their rows, add the bias and sum a bias's gradient
// themselves; and by cuBLAS.
#include <climits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tile.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned product_threads = 128;  // four warps, each with a quarter [32, 32] of a tile
constexpr size_t wanted_blocks = 528;      // what fills a large GPU
constexpr size_t most_parts = 64;          // of the inner size

/// C [M, N] = A B + rows that lie `distance` apart; and perhaps sums [N], of B's inner size.
template <class T>
struct Product {
  Matrix<T> C;
  Matrix<const T> A, B;
  Rows rows_A, rows_B;
  size_t inner = 0;
  const T* rows = nullptr;
  size_t distance = 0;
  T* sums = nullptr;
  Workspace* memory = nullptr;  // for:
  T* partial = nullptr;  // [parts, M + 1, N], where the inner size is in parts: C and below it sums
  unsigned parts = 1;
  Blocks blocks{}, adding{};  // that multiply: a tile and a part each; and that add up parts

  size_t tiles() const { return size_t{blocks_of(C.rows, side)} * blocks_of(C.cols, side); }
  size_t steps() const { return blocks_of(inner, depth<T>); }
  /// The size of C and, below it, sums.
  BM3_HD size_t size() const { return (C.rows + (sums ? 1 : 0)) * C.cols; }
};

template <class T, int width, bool A_by_columns, bool B_by_columns>
__global__ void __launch_bounds__(product_threads, 4) product_kernel(Calls<Product<T>> all) {
  using A = Operand<T, A_by_columns, side, depth<T>, product_threads, width>;
  using B = Operand<T, B_by_columns, side, depth<T>, product_threads, width>;
  alignas(16) __shared__ T tile_A[2][A::size], tile_B[2][B::size];
  unsigned of = 0;
  while (!all.at[of].blocks.has(blockIdx.x)) ++of;
  const Product<T>& p = all.at[of];
  const auto block = blockIdx.x - p.blocks.first, per_part = p.blocks.n / p.parts;
  const auto down = static_cast<unsigned>((p.C.rows + side - 1) / side), part = block / per_part;
  const size_t row = block % per_part % down * side, column = block % per_part / down * side;
  const unsigned own = threadIdx.x / warp, part_row = own / 2 * 32, part_column = own % 2 * 32;
  const size_t steps = (p.inner + depth<T> - 1) / depth<T>;
  const size_t first = steps * part / p.parts, end = steps * (part + 1) / p.parts;
  const bool sums_B = !B_by_columns && p.sums && row == 0 && threadIdx.x < side;
  A a(p.A, p.rows_A);
  B b(p.B, p.rows_B);
  a.begin(row);
  b.begin(column);
  Sums<T, 2, 4> sums{};
  T sum_B = 0;
  for (size_t step = first; step <= end && first < end; ++step) {
    if (step < end) {
      a.read(step * depth<T>);
      b.read(step * depth<T>);
    }
    if (step > first) {
      const T *const at_A = tile_A[step % 2 ^ 1], *const at_B = tile_B[step % 2 ^ 1];
      add_product(
          sums, p.inner - (step - 1) * depth<T>,
          [&](unsigned r, unsigned k) { return A::at(at_A, part_row + r, k); },
          [&](unsigned c, unsigned k) { return B::at(at_B, part_column + c, k); });
      for (unsigned k = 0; k < depth<T> && sums_B; ++k) sum_B += B::at(at_B, threadIdx.x, k);
    }
    if (step < end) {
      a.write(tile_A[step % 2]);
      b.write(tile_B[step % 2]);
    }
    __syncthreads();
  }

  const Matrix<T> to{p.partial ? p.partial + part * p.size() : p.C.at, p.C.rows, p.C.cols};
  const auto for_each_sum = [&](const auto& body) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const size_t r = row + part_row + sums.row(i, e);
          const size_t c = column + part_column + sums.column(j, e);
          if (r < p.C.rows && c < p.C.cols) body(r, c, sums.of[i][j][e]);
        }
  };
  if (p.rows && !p.partial)  // all loads are under way before the first store
    for_each_sum([&](size_t r, size_t c, T& sum) { sum += p.rows[r * p.distance + c]; });
  for_each_sum([&](size_t r, size_t c, T sum) { to.row(r)[c] = sum; });
  if (const size_t c = column + threadIdx.x; sums_B && c < p.C.cols)
    (p.partial ? to.row(p.C.rows) : p.sums)[c] = sum_B;
}

/// Adds up parts in their order, a thread a number.
template <class T>
__global__ void add_parts_kernel(Calls<Product<T>> all) {
  unsigned of = 0;
  while (!all.at[of].adding.has(blockIdx.x)) ++of;
  const Product<T>& p = all.at[of];
  const size_t i = size_t{blockIdx.x - p.adding.first} * block_threads + threadIdx.x;
  const size_t size = p.size(), in_C = p.C.size();
  if (i >= size) return;
  T sum = p.rows && i < in_C ? p.rows[i / p.C.cols * p.distance + i % p.C.cols] : T(0);
#pragma unroll 16
  for (unsigned k = 0; k < p.parts; ++k) sum += p.partial[k * size + i];
  (i < in_C ? p.C.at + i : p.sums + (i - in_C))[0] = sum;
}

/// Products that are asked for one after another become one launch, and one that adds up parts.
template <class T, int width, bool A_by_columns, bool B_by_columns>
class WaitingProducts final : public Waiting {
 public:
  bool takes(const Product<T>& call) const {
    for (unsigned k = 0; k < all_.n; ++k)
      if (writes_for(call, all_.at[k]) || writes_for(all_.at[k], call) ||
          overlap(call.C, all_.at[k].C))
        return false;
    return all_.n < all_.most;
  }
  void add(const Product<T>& call) { all_.at[all_.n++] = call; }
  /// Takes so many parts, by sizes alone, that the blocks fill a GPU and each has as many steps.
  void launch(cudaStream_t stream) const override {
    Calls<Product<T>> all = all_;
    size_t work = 0, numbers = 0;
    for (const Product<T>& p : all_.at) work += p.tiles() * p.steps();
    unsigned adding = 0;
    for (unsigned k = 0; k < all.n; ++k) {
      Product<T>& p = all.at[k];
      const size_t parts = wanted_blocks * p.steps() / std::max<size_t>(1, work);
      p.parts = static_cast<unsigned>(
          std::clamp<size_t>(std::min(parts, p.steps() / 2), 1, most_parts));
      p.blocks = {all.blocks, blocks_of(p.tiles() * p.parts, 1)};
      all.blocks += p.blocks.n;
      if (p.parts == 1) continue;
      p.adding = {adding, blocks_of(p.size(), block_threads)};
      adding += p.adding.n;
      numbers += p.parts * p.size();
    }
    if (T* partial = adding > 0 ? all.at[0].memory->template room<T>(numbers) : nullptr)
      for (Product<T>& p : all.at)
        if (p.parts > 1) p.partial = std::exchange(partial, partial + p.parts * p.size());
    cuda::launch(stream, all.blocks, product_threads,
                 product_kernel<T, width, A_by_columns, B_by_columns>, all);
    cuda::launch(stream, adding, block_threads, add_parts_kernel<T>, all);
  }

 private:
  static bool writes_for(const Product<T>& x, const Product<T>& y) {
    return overlap(x.C, y.A) || overlap(x.C, y.B) ||
           overlap(Matrix<T>{x.sums, 1, x.sums ? x.C.cols : 0}, y.B) ||
           overlap(x.C, Matrix<const T>{y.rows, 1, y.rows && !y.distance ? y.C.cols : 0});
  }
  Calls<Product<T>> all_;
};

/// Asks for a product.
template <bool A_by_columns, bool B_by_columns, class T>
void multiply(Runtime& runtime, Workspace& memory, Product<T> p) {
  p.memory = &memory;
  if ((p.A.cols | p.B.cols) % widest<T> == 0 && is_aligned(p.A.at) && is_aligned(p.B.at))
    runtime.put_off<WaitingProducts<T, widest<T>, A_by_columns, B_by_columns>>(p);
  else
    runtime.put_off<WaitingProducts<T, 1, A_by_columns, B_by_columns>>(p);
}

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

Rows all(size_t n) { return {nullptr, n}; }

}  // namespace

// y = x[rows] W + b, or y += x[rows] W
template <class T>
void CudaOps<T>::linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                                ConstMatrix<T> b) {
  shapes::linear(y, x, rows, W, b);
  if (tf32_) return blas_forward(y, x, rows, W, b);
  Product<T> p{y, x, W, {rows.at, y.rows}, all(W.rows), W.rows};
  p.rows = b.at ? b.at : y.at;
  p.distance = b.at ? 0 : y.cols;
  multiply<true, false>(*this, parts(), p);
}

// y = x[rows] W + b:  d_x = d_y W^T;  d_W = x[rows]^T d_y;  d_b = column sums of d_y
template <class T>
void CudaOps<T>::linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                                 ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  shapes::linear_backward(d_x, d_W, d_b, d_y, x, rows, W);
  if (tf32_) return blas_backward(d_x, d_W, d_b, d_y, x, rows, W);
  const size_t n = d_y.rows;
  const auto on_x = [&] {
    multiply<true, true>(*this, parts(),
                         Product<T>{d_x, d_y, W, all(n), all(W.rows), W.cols});
  };
  const auto on_W = [&] {
    Product<T> p{d_W, x, d_y, {rows.at, n}, all(n), n};
    p.sums = d_b.at;
    multiply<false, false>(*this, parts(), p);
  };
  if (!d_x.at) return on_W();
  both(on_x, on_W);
}

// --------------------------------------------------------------------------- by cuBLAS, in TF32

template <class T>
void CudaOps<T>::gemm(bool transpose_A, bool transpose_B, size_t m, size_t n, size_t k, const T* A,
                      size_t a, const T* B, size_t b, T beta, T* C, size_t c) {
  if (m == 0 || n == 0) return;
  static_cast<void>(stream());  // what waits there comes first
  // cuBLAS counts along columns: to it, our matrices are transposed, and C^T = op(B)^T op(A)^T.
  const T one = 1;
  BM3_CHECK(cublasGemmEx(lane().blas.get(), transpose_B ? CUBLAS_OP_T : CUBLAS_OP_N,
                         transpose_A ? CUBLAS_OP_T : CUBLAS_OP_N, as_int(n), as_int(m), as_int(k),
                         &one, B, real<T>, as_int(b), A, real<T>, as_int(a), &beta, C, real<T>,
                         as_int(c),
                         sizeof(T) == 4 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_64F,
                         CUBLAS_GEMM_DEFAULT));
}

template <class T>
void CudaOps<T>::column_sums(Matrix<T> sum, ConstMatrix<T> x) {
  const unsigned columns = launch_over(1, x.cols).second.x;
  constexpr unsigned most_parts_of_sum = most_partial_sums / block_threads;
  const unsigned parts = std::min(blocks_of(x.rows, 32), most_parts_of_sum);
  for (size_t first = 0; first < x.cols; first += columns)
    launch(stream(), parts, block_threads, column_sums_kernel<T>, sum.at, x, first, columns,
           partial_sums());
}

template <class T>
ConstMatrix<T> CudaOps<T>::in_one_piece(ConstMatrix<T> x, Rows rows) {
  if (!rows.at) return x;
  const Matrix<T> copy{lane().gathered.template room<T>(rows.n * x.cols), rows.n, x.cols};
  gather_rows(copy, x, rows);
  return copy;
}

template <class T>
void CudaOps<T>::blas_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                              ConstMatrix<T> b) {
  if (b.at) copy_rows(y, b.at, 0, all(y.rows));
  const ConstMatrix<T> X = in_one_piece(x, rows);
  gemm(false, false, y.rows, y.cols, X.cols, X.at, X.cols, W.at, W.cols, T(1), y.at, y.cols);
}

template <class T>
void CudaOps<T>::blas_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                               ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) {
  const size_t n = d_y.rows, in = W.rows, out = W.cols;
  if (n == 0) {
    zero(d_W.at, d_W.size() * sizeof(T));
    if (d_b.at) zero(d_b.at, d_b.size() * sizeof(T));
    return;
  }
  if (d_x.at) gemm(false, true, n, in, out, d_y.at, out, W.at, out, T(0), d_x.at, in);
  const ConstMatrix<T> X = in_one_piece(x, rows);
  gemm(true, false, in, out, n, X.at, in, d_y.at, out, T(0), d_W.at, out);
  if (d_b.at) column_sums(d_b, d_y);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
