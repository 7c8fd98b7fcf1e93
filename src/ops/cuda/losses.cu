// The losses' one pass over rows: pair loss (BPR) and regulariser [Eq. 12].
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

/// The lane's columns of a row of d numbers, 0 beyond its end.
template <unsigned columns, class E>
__device__ void load_columns(E (&to)[columns], const E* row, size_t d) {
  for (unsigned i = 0; i < columns; ++i) {
    const size_t c = threadIdx.x % warp + i * warp;
    to[i] = c < d ? row[c] : E(0);
  }
}
template <unsigned columns, class E>
__device__ void store_columns(E* row, const E (&from)[columns], size_t d) {
  for (unsigned i = 0; i < columns; ++i) {
    const size_t c = threadIdx.x % warp + i * warp;
    if (c < d) row[c] = from[i];
  }
}

/// A warp a user's row, in registers, with the items of the triple at hand.
template <unsigned columns, class T>
__global__ void pair_loss_kernel(double* loss, T* x, T* c, T* d_u, Matrix<const T> u,
                                 Matrix<const T> i, Triples triples, PairForm form, double mean,
                                 T factor) {
  const size_t d = u.cols;
  const Pairs& pairs = triples.by_user;
  const bool first_lane = threadIdx.x % warp == 0;
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t begin = pairs.begin[r], end = pairs.begin[r + 1];
    if (begin == end) continue;
    T u_r[columns], d_u_r[columns], i_p[columns], i_n[columns];  // items: of the next triple
    const auto load_items = [&](int32_t e) {
      load_columns(i_p, i.row(static_cast<size_t>(pairs.target[e])), d);
      load_columns(i_n, i.row(static_cast<size_t>(triples.negative[e])), d);
    };
    load_columns(u_r, u.row(r), d);
    load_columns(d_u_r, d_u + r * d, d);
    load_items(begin);
    for (int32_t e = begin; e < end; ++e) {
      T difference[columns], x_e = 0;
      for (unsigned k = 0; k < columns; ++k) {
        difference[k] = i_p[k] - i_n[k];
        x_e += u_r[k] * difference[k];
      }
      if (e + 1 < end) load_items(e + 1);  // under way while this triple is finished
      x_e = warp_sum(x_e);
      const T c_e = factor * pair_backward(x_e, form);
      for (unsigned k = 0; k < columns; ++k) d_u_r[k] += c_e * difference[k];
      if (!first_lane) continue;
      sum += static_cast<double>(pair_forward(x_e, form));
      x[e] = x_e;
      c[e] = c_e;
    }
    store_columns(d_u + r * d, d_u_r, d);
  }
  if (first_lane) loss[grid_warp()] += mean * sum;
}
static_assert(sum_blocks * warps_of_block <= loss_parts);

/// *norm = |x|_F, and its loss, from the sum of squares.
__device__ void add_penalty(double* loss, double* norm, RegForm form, double mean, double squares) {
  *norm = sqrt(squares);
  *loss += mean * (form == RegForm::norm ? *norm : squares);
}

/// A warp a row; each lane sums its columns.
template <class T>
__global__ void penalty_of_pairs_kernel(double* loss, double* norm, Matrix<const T> x, Pairs pairs,
                                        RegForm form, double mean, double* partial) {
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t times = pairs.begin[r + 1] - pairs.begin[r];
    if (times == 0) continue;
    T squares = 0;
    for (size_t c = threadIdx.x % warp; c < x.cols; c += warp) squares += x.row(r)[c] * x.row(r)[c];
    sum += times * static_cast<double>(squares);
  }
  sum_over_grid(sum, 1, partial,
                [&](double total) { add_penalty(loss, norm, form, mean, total); });
}

constexpr unsigned at_once = 4;  // a thread's vectors under way together

/// Every row once: n vectors.
template <int width, class T>
__global__ void penalty_kernel(double* loss, double* norm, const T* x, size_t n, RegForm form,
                               double mean, double* partial) {
  const size_t threads = size_t{gridDim.x} * block_threads;
  double sum = 0;
  for (size_t i = grid_thread(); i < n; i += at_once * threads) {
    Vector<T, width> v[at_once];
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) {
      const size_t at = i + k * threads;
      v[k] = at < n ? vector_at<width>(x + at * width) : Vector<T, width>{};
    }
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) {
      T squares = 0;
      for (int j = 0; j < width; ++j) squares += v[k].x[j] * v[k].x[j];
      sum += static_cast<double>(squares);
    }
  }
  sum_over_grid(sum, 1, partial,
                [&](double total) { add_penalty(loss, norm, form, mean, total); });
}

/// d_x += factor x for each of a row's pairs, or d_x = factor x; a thread `width` columns.
template <int width, class T>
__global__ void penalty_backward_kernel(Matrix<T> d_x, const double* norm, Matrix<const T> x,
                                        Pairs pairs, RegForm form, double scale, bool adds) {
  __shared__ T factor;  // a division in double is slow on many GPUs: one a block
  const size_t r = matrix_row(), c = matrix_column() * width;
  const bool within = r < x.rows && c < x.cols;
  Vector<T, width> gradient{}, sum{};
  if (within) gradient = vector_at<width>(x.row(r) + c);  // under way meanwhile
  if (within && adds) sum = vector_at<width>(d_x.row(r) + c);
  if (threadIdx.x == 0 && threadIdx.y == 0)
    factor = static_cast<T>(penalty_factor(form, scale, *norm));
  __syncthreads();
  if (!within) return;
  const int32_t times = pairs.begin ? pairs.begin[r + 1] - pairs.begin[r] : 1;
  const T of_row = factor * static_cast<T>(times);
  for (int k = 0; k < width; ++k) sum.x[k] += of_row * gradient.x[k];
  vector_at<width>(d_x.row(r) + c) = sum;
}

template <class T>
void launch_penalty_backward(cudaStream_t stream, Matrix<T> d_x, const double* norm,
                             Matrix<const T> x, const Pairs& pairs, RegForm form, double scale,
                             bool adds) {
  by_width<T>(x.cols, 1, {d_x.at, x.at}, [&](auto width) {
    const auto [blocks, threads] = launch_over(x.rows, x.cols / width);
    launch_behind(stream, blocks, threads, penalty_backward_kernel<width, T>, d_x, norm, x, pairs,
                  form, scale, adds);
  });
}

}  // namespace

// x = u . (i_p - i_n);  loss = mean * sum of l(x);  c = weight mean l'(x);  d_u += c (i_p - i_n)
template <class T>
void CudaOps<T>::pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                           ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                           double weight) {
  shapes::pair_loss(x, c, d_u, u, i, triples);
  refuse_wide("pair losses", u.cols);
  const Matrix<double> parts{loss, 1, loss_parts};
  const cudaStream_t stream = this->stream_for(parts, x, c, d_u, u, i);
  by_columns(u.cols, [&](auto columns) {
    launch(stream, blocks_of_sum(u.rows), block_threads, pair_loss_kernel<columns, T>, loss, x.at,
           c.at, d_u.at, u, i, triples, form, mean, static_cast<T>(weight * mean));
  });
}

// norm = |x|_F, each row as often as it has pairs;  loss = mean |x|_F or mean |x|_F^2
template <class T>
void CudaOps<T>::penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                                 RegForm form, double mean) {
  BM3_SHAPE(pairs.n == x.rows);
  const cudaStream_t stream = this->stream_for(Matrix<double>{loss, 1, loss_parts}, norm, x);
  if (pairs.begin)
    return launch_behind(stream, blocks_of_sum(pairs.n), block_threads, penalty_of_pairs_kernel<T>,
                         loss, norm, x, pairs, form, mean, partial_sums());
  by_width<T>(x.size(), 1, {x.at}, [&](auto width) {
    const size_t n = x.size() / width;
    const unsigned blocks = std::clamp(blocks_of(n, at_once * block_threads), 1u, sum_blocks);
    launch_behind(stream, blocks, block_threads, penalty_kernel<width, T>, loss, norm, x.at, n,
                  form, mean, partial_sums());
  });
}

// d_x += (number of pairs) scale x / |x|_F, or * 2 x
template <class T>
void CudaOps<T>::penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                                  const Pairs& pairs, RegForm form, double scale) {
  BM3_SHAPE(pairs.n == x.rows && shapes::same(d_x, x));
  const cudaStream_t stream = this->stream_for(d_x, norm, x);
  launch_penalty_backward<T>(stream, d_x, norm, x, pairs, form, scale, true);
}

// loss = mean |x|_F
template <class T>
void CudaOps<T>::norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) {
  penalty_forward(loss, norm, x, Pairs{x.rows}, RegForm::norm, mean);
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CudaOps<T>::norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, double scale) {
  BM3_SHAPE(shapes::same(d_x, x));
  const cudaStream_t stream = this->stream_for(d_x, norm, x);
  launch_penalty_backward<T>(stream, d_x, norm, x, Pairs{}, RegForm::norm, scale, false);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
