// Edges with weights: sums of rows, their products, and the softmax over a node's edges.
#include <cmath>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/row_sums.h"

namespace bm3 {
namespace {

using namespace cuda;

/// y = b z + scale * sum of w_e x over the pairs of each row, as a kernel takes it.
template <class T>
struct WeightedSums {
  using Real = T;
  T* y;
  const T *z, *w, *x;
  Pairs pairs;
  T of_z, scale;
  int64_t n_rows;
  size_t d;

  __device__ int64_t begin(int64_t r) const { return pairs.begin[r]; }
  __device__ int32_t column(int64_t k) const { return pairs.target[k]; }
  __device__ T weight(int64_t k, int32_t) const {
    return w[pairs.edge_of(static_cast<int32_t>(k))];
  }
  __device__ T a(int64_t) const { return scale; }
  __device__ T b(int64_t) const { return of_z; }
};

/// Lane i of a group finishes the i-th of `at_once` edges whose rows are under way together.
template <int width, class T>
__global__ void __launch_bounds__(row_threads, row_blocks)
    edge_dot_kernel(T* w, Matrix<const T> y, Matrix<const T> x, Pairs pairs) {
  const unsigned lane = threadIdx.x % row_lanes;
  const auto bytes = static_cast<unsigned>(x.cols * sizeof(T));
  const auto dots = [&](int32_t r, int64_t first, int32_t n) {
    for (int32_t k = 0; __any_sync(full_warp, k < n); k += at_once) {
      const auto own = static_cast<int32_t>(lane) + k, e = static_cast<int32_t>(first) + own;
      const bool finishes = lane < at_once && own < n;
      const int32_t j = finishes ? pairs.target[e] : 0;
      T* const at = finishes ? w + pairs.edge_of(e) : nullptr;
      const T old = finishes ? *at : T(0);
      T sum[at_once] = {};
      for (size_t tile = 0; tile < x.cols; tile += row_lanes * width) {
        const size_t c = tile + lane * width;
        const auto of_y = r >= 0 && c < x.cols
                              ? vector_at<width>(y.row(static_cast<size_t>(r)) + c)
                              : Vector<T, width>{};
        Vector<T, width> of_x[at_once];
        load_rows(of_x, x.at + (c < x.cols ? c : 0), bytes, j, 0);
#pragma unroll
        for (int i = 0; i < at_once; ++i)
          for (int m = 0; m < width; ++m) sum[i] += of_y.x[m] * of_x[i].x[m];
      }
      const T dot = group_sums<row_lanes>(sum);
      if (finishes) *at = old + dot;
    }
  };
  for_rows_of_block(
      static_cast<int64_t>(pairs.n), [&](int32_t r) { return int64_t{pairs.begin[r]}; }, dots,
      dots);
}

/// The lanes that share a row's pairs: a group's or, for a long row, the block's.
template <class T>
struct Team {
  Pairs pairs;
  int64_t first;  // of the group's pairs
  int32_t n;
  T* part;  // [groups of the block] where the block shares the row, else null

  /// Calls body(edge) for the lane's pairs.
  template <class Body>
  __device__ void each(const Body& body) const {
    for (auto k = static_cast<int32_t>(threadIdx.x % row_lanes); k < n; k += row_lanes)
      body(pairs.edge_of(static_cast<int32_t>(first) + k));
  }
  /// Whether this lane is the one that writes what all know.
  __device__ bool leads() const { return threadIdx.x % (part ? row_threads : row_lanes) == 0; }
  /// Returns what `join` makes of x of all lanes, which all call it.
  template <class Join>
  __device__ T all(T x, const Join& join) const {
    for (unsigned other = row_lanes / 2; other > 0; other /= 2)
      x = join(x, __shfl_xor_sync(full_warp, x, other));
    if (!part) return x;
    __syncthreads();  // what the previous call left there has been read
    if (threadIdx.x % row_lanes == 0) part[threadIdx.x / row_lanes] = x;
    __syncthreads();
    x = part[0];
    for (unsigned k = 1; k < groups; ++k) x = join(x, part[k]);
    return x;
  }
  __device__ T sum(T x) const {
    return all(x, [](T p, T q) { return p + q; });
  }
  __device__ T most(T x) const {
    return all(x, [](T p, T q) { return std::fmax(p, q); });
  }
};

template <class T, class Body>
__global__ void edges_kernel(Pairs pairs, Body body) {
  __shared__ T part[groups];
  for_rows_of_block(
      static_cast<int64_t>(pairs.n), [&](int32_t r) { return int64_t{pairs.begin[r]}; },
      [&](int32_t r, int64_t first, int32_t n) { body(r, Team<T>{pairs, first, n, nullptr}); },
      [&](int32_t r, int64_t first, int32_t n) { body(r, Team<T>{pairs, first, n, part}); });
}
/// Calls body(r, team) in each lane of the team of each row r; a team without a row has r = -1 and
/// no pairs.
template <class T, class Body>
void for_edges_of_rows(cudaStream_t stream, const Pairs& pairs, const Body& body) {
  launch(stream, blocks_of_rows(pairs.n), row_threads, edges_kernel<T, Body>, pairs, body);
}

}  // namespace

// y = b z + scale * sum over pairs of w_edge x_target
template <class T>
void CudaOps<T>::add_weighted(Matrix<T> y, double b, ConstMatrix<T> z, ConstMatrix<T> w,
                              ConstMatrix<T> x, const Pairs& pairs, double scale) {
  shapes::weighted_sums<T>(y, b, z, w, x, pairs);
  const WeightedSums<T> of{y.at, z.at, w.at, x.at, pairs, static_cast<T>(b), static_cast<T>(scale),
                           static_cast<int64_t>(pairs.n), y.cols};
  sum_rows(this->stream_for(y, z, w, x), of, {y.at, x.at, z.at});
}

// y = sum of w_e x:  d_w_e += d_y . x
template <class T>
void CudaOps<T>::edge_dot(Matrix<T> w, ConstMatrix<T> y, ConstMatrix<T> x, const Pairs& pairs) {
  shapes::weighted<T>(w, y, x, pairs);
  const cudaStream_t stream = this->stream_for(w, y, x);
  by_width<T>(y.cols, row_lanes, {y.at, x.at}, [&](auto width) {
    launch(stream, blocks_of_rows(pairs.n), row_threads, edge_dot_kernel<width, T>, w.at, y, x,
           pairs);
  });
}

// alpha = exp(a - max) / (sum of exp(a - max) + 1e-16)
template <class T>
void CudaOps<T>::edge_softmax_forward(Matrix<T> alpha, ConstMatrix<T> a, const Pairs& pairs) {
  BM3_SHAPE(shapes::same(alpha, a) && a.cols == 1);
  const cudaStream_t stream = this->stream_for(alpha, a);
  for_edges_of_rows<T>(stream, pairs, [=] __device__(int64_t, const Team<T>& team) {
    T most = -INFINITY, sum = 0;
    team.each([&](size_t e) { most = std::fmax(most, a.at[e]); });
    most = team.most(most);
    team.each([&](size_t e) { sum += alpha.at[e] = std::exp(a.at[e] - most); });
    sum = team.sum(sum);
    team.each([&](size_t e) { alpha.at[e] /= sum + T(softmax_floor); });
  });
}

// d_a = alpha (d_alpha - sum of alpha d_alpha)
template <class T>
void CudaOps<T>::edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                                       const Pairs& pairs) {
  BM3_SHAPE(shapes::same(d_a, d_alpha) && shapes::same(d_a, alpha) && alpha.cols == 1);
  const cudaStream_t stream = this->stream_for(d_a, d_alpha, alpha);
  for_edges_of_rows<T>(stream, pairs, [=] __device__(int64_t, const Team<T>& team) {
    T sum = 0;
    team.each([&](size_t e) { sum += alpha.at[e] * d_alpha.at[e]; });
    sum = team.sum(sum);
    team.each([&](size_t e) { d_a.at[e] = alpha.at[e] * (d_alpha.at[e] - sum); });
  });
}

// y = w mask / (1 - rate)
template <class T>
void CudaOps<T>::drop_edges(Matrix<T> y, ConstMatrix<T> w, Matrix<const uint8_t> mask,
                            const double* rate) {
  BM3_SHAPE(shapes::same(y, w) && shapes::same(y, mask) && y.cols == 1);
  for_each_entry(this->stream_for(y, w, mask, rate), y.rows, 1, [=] __device__(size_t e, size_t) {
    y.at[e] = view_entry(w.at[e], mask.at[e], edge_scale<T>(*rate));
  });
}

// w = max(0, max over m of alpha_m c_m)
template <class T>
void CudaOps<T>::edge_weights_forward(Matrix<T> w, Matrix<int32_t> chosen, ConstMatrix<T> alpha,
                                      ConstMatrix<T> c, const Pairs& pairs) {
  shapes::edge_weights<T>(w, chosen, alpha, c, pairs);
  const cudaStream_t stream = this->stream_for(w, chosen, alpha, c);
  for_edges_of_rows<T>(stream, pairs, [=] __device__(int64_t r, const Team<T>& team) {
    team.each([&](size_t e) {
      w.at[e] = largest_share(chosen.at[e], alpha.at + e, alpha.cols,
                              c.row(static_cast<size_t>(r)), c.cols);
    });
  });
}

// d_alpha_m = c_m d_w and d_c_m += alpha_m d_w for the m that was chosen
template <class T>
void CudaOps<T>::edge_weights_backward(Matrix<T> d_alpha, Matrix<T> d_c, ConstMatrix<T> d_w,
                                       Matrix<const int32_t> chosen, ConstMatrix<T> alpha,
                                       ConstMatrix<T> c, const Pairs& pairs) {
  shapes::edge_weights<T>(d_w, chosen, alpha, c, pairs);
  BM3_SHAPE(shapes::same(d_alpha, alpha) && shapes::same(d_c, c));
  const cudaStream_t stream = this->stream_for(d_alpha, d_c, d_w, chosen, alpha, c);
  for_edges_of_rows<T>(stream, pairs, [=] __device__(int64_t r, const Team<T>& team) {
    for (size_t m = 0; m < c.cols; ++m) {  // its edges' d_alpha, and one sum of them all
      const T c_m = r < 0 ? T(0) : c.row(static_cast<size_t>(r))[m];
      T sum = 0;
      team.each([&](size_t e) {
        const T d_share = chosen.at[e] == static_cast<int32_t>(m) ? d_w.at[e] : T(0);
        d_alpha.row(m)[e] = c_m * d_share;
        sum += alpha.row(m)[e] * d_share;
      });
      sum = team.sum(sum);
      if (r >= 0 && team.leads()) d_c.row(static_cast<size_t>(r))[m] = sum;
    }
  });
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
