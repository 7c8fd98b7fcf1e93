// The losses' one pass over rows: cosine [Eq. 8], pair loss (BPR) and regulariser [Eq. 12].
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned widest_row = 1024;  // that a warp's registers hold

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

/// A warp a row: view, norms, dot product, loss and gradient. The row, its gradient and the target
/// at hand stay in registers, a lane's `columns` of each; d is up to columns * warp.
template <unsigned columns, class T>
__global__ void cosine_loss_kernel(double* loss, T* d_a, Matrix<const T> a, View<T> b, Pairs pairs,
                                   double mean, T scale, double* partial) {
  const size_t d = a.cols;
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    // Without targets the pairs of a row are all the same one: count it once, that many times.
    const int32_t begin = pairs.begin[r], all = pairs.begin[r + 1];
    if (begin == all) continue;
    const int32_t end = pairs.target ? all : begin + 1;
    const T times = static_cast<T>(pairs.target ? 1 : all - begin);
    T a_r[columns], d_a_r[columns], h[columns];  // h and mask: of the next target
    uint8_t mask[columns];
    const auto load_target = [&](int32_t k) {
      const size_t row = pairs.target ? static_cast<size_t>(pairs.target[k]) : r;
      load_columns(h, b.h.row(row), d);
      load_columns(mask, b.mask + row * d, d);
    };
    load_columns(a_r, a.row(r), d);
    load_columns(d_a_r, d_a + r * d, d);
    load_target(begin);
    T aa = 0;
    for (const T x : a_r) aa += x * x;
    aa = warp_sum(aa);
    for (int32_t k = begin; k < end; ++k) {
      T b_k[columns], ab = 0, bb = 0;
      for (unsigned i = 0; i < columns; ++i) {
        b_k[i] = view_entry(h[i], mask[i], b.kept);
        ab += a_r[i] * b_k[i];
        bb += b_k[i] * b_k[i];
      }
      if (k + 1 < end) load_target(k + 1);  // under way while this pair is finished
      ab = warp_sum(ab);
      bb = warp_sum(bb);
      sum += static_cast<double>(times) * (1.0 + static_cast<double>(cosine_forward(ab, aa, bb)));
      T on_b, on_a;
      cosine_backward(on_b, on_a, ab, aa, bb);
      on_b *= times * scale;
      on_a *= times * scale;
      for (unsigned i = 0; i < columns; ++i) d_a_r[i] += on_b * b_k[i] + on_a * a_r[i];
    }
    store_columns(d_a + r * d, d_a_r, d);
  }
  // Every lane has its row's sum: one of them speaks for the warp.
  sum_over_grid(threadIdx.x % warp == 0 ? sum : 0.0, 1, partial,
                [&](double total) { *loss += mean * total; });
}

/// A warp a user's row, in registers likewise, with the items of the triple at hand.
template <unsigned columns, class T>
__global__ void pair_loss_kernel(double* loss, T* x, T* c, T* d_u, Matrix<const T> u,
                                 Matrix<const T> i, Triples triples, PairForm form, double mean,
                                 T factor, double* partial) {
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
  sum_over_grid(sum, 1, partial, [&](double total) { *loss += mean * total; });
}

/// A warp a row; each lane sums its columns. Without pairs each row counts once.
template <class T>
__global__ void penalty_forward_kernel(double* loss, double* norm, Matrix<const T> x, Pairs pairs,
                                       RegForm form, double mean, double* partial) {
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t times = pairs.begin ? pairs.begin[r + 1] - pairs.begin[r] : 1;
    if (times == 0) continue;
    T squares = 0;
    for (size_t c = threadIdx.x % warp; c < x.cols; c += warp) squares += x.row(r)[c] * x.row(r)[c];
    sum += times * static_cast<double>(squares);
  }
  sum_over_grid(sum, 1, partial, [&](double total) {
    *norm = sqrt(total);
    *loss += mean * (form == RegForm::norm ? *norm : total);
  });
}

/// d_x += factor x for each of a row's pairs, or d_x = factor x.
template <class T>
__global__ void penalty_backward_kernel(Matrix<T> d_x, const double* norm, Matrix<const T> x,
                                        Pairs pairs, RegForm form, double scale, bool adds) {
  __shared__ T factor;  // a division in double is slow on many GPUs: one a block
  if (threadIdx.x == 0 && threadIdx.y == 0)
    factor = static_cast<T>(penalty_factor(form, scale, *norm));
  __syncthreads();
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= x.rows || c >= x.cols) return;
  const int32_t times = pairs.begin ? pairs.begin[r + 1] - pairs.begin[r] : 1;
  const T gradient = factor * static_cast<T>(times) * x.row(r)[c];
  d_x.row(r)[c] = adds ? d_x.row(r)[c] + gradient : gradient;
}

/// Calls launch(columns) with the number of a lane's columns for rows of d numbers.
template <class Launch>
void by_columns(const char* what, size_t d, const Launch& launch) {
  if (d > widest_row)
    throw Error(std::string(what) + " of rows of " + std::to_string(d) +
                " numbers: a GPU takes up to " + std::to_string(widest_row) +
                "; take a smaller --dim or --device cpu");
  if (d <= 2 * warp) return launch(std::integral_constant<unsigned, 2>());
  if (d <= 8 * warp) return launch(std::integral_constant<unsigned, 8>());
  launch(std::integral_constant<unsigned, widest_row / warp>());
}

}  // namespace

// loss = mean * sum over pairs of 1 + C(a, b);  d_a += weight * mean * (on_b b + on_a a)
template <class T>
void CudaOps<T>::cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                             const Pairs& pairs, double mean, double weight) {
  shapes::cosine(d_a, a, b, pairs);
  by_columns("cosines", a.cols, [&](auto columns) {
    launch(stream(), blocks_of_sum(pairs.n), block_threads, cosine_loss_kernel<columns, T>, loss,
           d_a.at, a, b, pairs, mean, static_cast<T>(weight * mean), partial_sums());
  });
}

// x = u . (i_p - i_n);  loss = mean * sum of l(x);  c = weight mean l'(x);  d_u += c (i_p - i_n)
template <class T>
void CudaOps<T>::pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                           ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                           double weight) {
  shapes::pair_loss(x, c, d_u, u, i, triples);
  by_columns("pair losses", u.cols, [&](auto columns) {
    launch(stream(), blocks_of_sum(u.rows), block_threads, pair_loss_kernel<columns, T>, loss, x.at,
           c.at, d_u.at, u, i, triples, form, mean, static_cast<T>(weight * mean), partial_sums());
  });
}

// norm = |x|_F, each row as often as it has pairs;  loss = mean |x|_F or mean |x|_F^2
template <class T>
void CudaOps<T>::penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                                 RegForm form, double mean) {
  shapes::penalty(x, pairs);
  launch(stream(), blocks_of_sum(pairs.n), block_threads, penalty_forward_kernel<T>, loss, norm, x,
         pairs, form, mean, partial_sums());
}

// d_x += (number of pairs) scale x / |x|_F, or * 2 x
template <class T>
void CudaOps<T>::penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                                  const Pairs& pairs, RegForm form, double scale) {
  shapes::penalty(x, pairs);
  BM3_SHAPE(shapes::same(d_x, x));
  launch_matrix(stream(), x.rows, x.cols, penalty_backward_kernel<T>, d_x, norm, x, pairs, form,
                scale, true);
}

// loss = mean |x|_F
template <class T>
void CudaOps<T>::norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) {
  launch(stream(), blocks_of_sum(x.rows), block_threads, penalty_forward_kernel<T>, loss, norm, x,
         Pairs{x.rows}, RegForm::norm, mean, partial_sums());
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CudaOps<T>::norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, double scale) {
  BM3_SHAPE(shapes::same(d_x, x));
  launch_matrix(stream(), x.rows, x.cols, penalty_backward_kernel<T>, d_x, norm, x, Pairs{},
                RegForm::norm, scale, false);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
