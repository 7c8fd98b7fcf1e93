// Edges with weights: sums of rows, their products, and the softmax over a node's edges.
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

constexpr int32_t ahead = 32;  // edges between the fetch of a row into cache and its use

/// Fetches x[0..width) of the k-th pair, of this row or of one to come, into cache; rows of x lie d
/// apart. As a call of its own it would cost ten times the sums around it.
template <size_t width, class T>
[[gnu::always_inline]] inline void fetch(const T* x, const Pairs& pairs, int32_t k,
                                         int32_t n_pairs, size_t d) {
  if (k >= n_pairs) return;
  const T* x_k = x + static_cast<size_t>(pairs.target[k]) * d;
  for (size_t c = 0; c < width; c += 64 / sizeof(T)) __builtin_prefetch(x_k + c);
}

/// y[0..width) = b z + scale * sum of w_k x_k over the pairs begin .. end: one tile of columns. x,
/// y and z point to its first column, d apart from row to row of x. b = 0 leaves z unread.
template <size_t width, class T>
void add_row(T* y, T b, const T* z, const T* w, const T* x, const Pairs& pairs, int32_t begin,
             int32_t end, int32_t n_pairs, T scale, size_t d) {
  T sum[width] = {};
  for (int32_t k = begin; k < end; ++k) {
    fetch<width>(x, pairs, k + ahead, n_pairs, d);
    const T w_k = w[pairs.edge_of(k)];
    const T* const x_k = x + static_cast<size_t>(pairs.target[k]) * d;
#pragma omp simd
    for (size_t c = 0; c < width; ++c) sum[c] += w_k * x_k[c];
  }
  if (b == T(0)) {
#pragma omp simd
    for (size_t c = 0; c < width; ++c) y[c] = scale * sum[c];
  } else {
#pragma omp simd
    for (size_t c = 0; c < width; ++c) y[c] = b * z[c] + scale * sum[c];
  }
}

/// w_k += y . x_k in a tile of columns, likewise.
template <size_t width, class T>
void dot_row(T* w, const T* y, const T* x, const Pairs& pairs, int32_t begin, int32_t end,
             int32_t n_pairs, size_t d) {
  for (int32_t k = begin; k < end; ++k) {
    fetch<width>(x, pairs, k + ahead, n_pairs, d);
    w[pairs.edge_of(k)] += dot(y, x + static_cast<size_t>(pairs.target[k]) * d, width);
  }
}

}  // namespace

// y = b z + scale * sum over pairs of w_edge x_target
template <class T>
void CpuOps<T>::add_weighted(Matrix<T> y, double b, ConstMatrix<T> z, ConstMatrix<T> w,
                             ConstMatrix<T> x, const Pairs& pairs, double scale) {
  shapes::weighted_sums<T>(y, b, z, w, x, pairs);
  const T factor = static_cast<T>(scale), of_z = static_cast<T>(b);
  const bool in_place = y.at == z.at && b == 1;
  const int32_t n_pairs = pairs.begin[pairs.n];
  for_rows(pairs.n, pair_block, [&](size_t r) {
    const int32_t begin = pairs.begin[r], end = pairs.begin[r + 1];
    if (begin == end && in_place) return;
    const T* const z_r = of_z == T(0) ? y.row(r) : z.row(r);
    for_tiles(x.cols, [&](auto width, size_t c) {
      add_row<width>(y.row(r) + c, of_z, z_r + c, w.at, x.at + c, pairs, begin, end, n_pairs,
                     factor, x.cols);
    });
  });
}

// y = sum of w_e x:  d_w_e += d_y . x
template <class T>
void CpuOps<T>::edge_dot(Matrix<T> w, ConstMatrix<T> y, ConstMatrix<T> x, const Pairs& pairs) {
  shapes::weighted<T>(w, y, x, pairs);
  const int32_t n_pairs = pairs.begin[pairs.n];
  for_rows(pairs.n, pair_block, [&](size_t r) {
    for_tiles(x.cols, [&](auto width, size_t c) {
      dot_row<width>(w.at, y.row(r) + c, x.at + c, pairs, pairs.begin[r], pairs.begin[r + 1],
                     n_pairs, x.cols);
    });
  });
}

// alpha = exp(a - max) / (sum of exp(a - max) + 1e-16)
template <class T>
void CpuOps<T>::edge_softmax_forward(Matrix<T> alpha, ConstMatrix<T> a, const Pairs& pairs) {
  BM3_SHAPE(shapes::same(alpha, a) && a.cols == 1);
  for_rows(pairs.n, pair_block, [&](size_t r) {
    const int32_t begin = pairs.begin[r], end = pairs.begin[r + 1];
    if (begin == end) return;
    T most = a.at[pairs.edge_of(begin)], sum = 0;
    for (int32_t k = begin; k < end; ++k) most = std::max(most, a.at[pairs.edge_of(k)]);
    for (int32_t k = begin; k < end; ++k) {
      const size_t e = pairs.edge_of(k);
      alpha.at[e] = std::exp(a.at[e] - most);
      sum += alpha.at[e];
    }
    for (int32_t k = begin; k < end; ++k) alpha.at[pairs.edge_of(k)] /= sum + T(softmax_floor);
  });
}

// d_a = alpha (d_alpha - sum of alpha d_alpha)
template <class T>
void CpuOps<T>::edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                                      const Pairs& pairs) {
  BM3_SHAPE(shapes::same(d_a, d_alpha) && shapes::same(d_a, alpha) && alpha.cols == 1);
  for_rows(pairs.n, pair_block, [&](size_t r) {
    T sum = 0;
    for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
      const size_t e = pairs.edge_of(k);
      sum += alpha.at[e] * d_alpha.at[e];
    }
    for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
      const size_t e = pairs.edge_of(k);
      d_a.at[e] = alpha.at[e] * (d_alpha.at[e] - sum);
    }
  });
}

// y = w mask / (1 - rate)
template <class T>
void CpuOps<T>::drop_edges(Matrix<T> y, ConstMatrix<T> w, Matrix<const uint8_t> mask,
                           const double* rate) {
  BM3_SHAPE(shapes::same(y, w) && shapes::same(y, mask) && y.cols == 1);
  const T scale = edge_scale<T>(*rate);
  for_entries(y.rows, [=](size_t e) { y.at[e] = view_entry(w.at[e], mask.at[e], scale); });
}

// w = max(0, max over m of alpha_m c_m)
template <class T>
void CpuOps<T>::edge_weights_forward(Matrix<T> w, Matrix<int32_t> chosen, ConstMatrix<T> alpha,
                                     ConstMatrix<T> c, const Pairs& pairs) {
  shapes::edge_weights<T>(w, chosen, alpha, c, pairs);
  for_rows(pairs.n, pair_block, [&](size_t r) {
    for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
      const size_t e = pairs.edge_of(k);
      w.at[e] = largest_share(chosen.at[e], alpha.at + e, alpha.cols, c.row(r), c.cols);
    }
  });
}

// d_alpha_m = c_m d_w and d_c_m += alpha_m d_w for the m that was chosen
template <class T>
void CpuOps<T>::edge_weights_backward(Matrix<T> d_alpha, Matrix<T> d_c, ConstMatrix<T> d_w,
                                      Matrix<const int32_t> chosen, ConstMatrix<T> alpha,
                                      ConstMatrix<T> c, const Pairs& pairs) {
  shapes::edge_weights<T>(d_w, chosen, alpha, c, pairs);
  BM3_SHAPE(shapes::same(d_alpha, alpha) && shapes::same(d_c, c));
  for_rows(pairs.n, pair_block, [&](size_t r) {
    std::fill_n(d_c.row(r), c.cols, T(0));
    for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
      const size_t e = pairs.edge_of(k);
      for (size_t m = 0; m < c.cols; ++m) d_alpha.row(m)[e] = T(0);
      if (chosen.at[e] < 0) continue;
      const auto m = static_cast<size_t>(chosen.at[e]);
      d_alpha.row(m)[e] = c.row(r)[m] * d_w.at[e];
      d_c.row(r)[m] += alpha.row(m)[e] * d_w.at[e];
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
