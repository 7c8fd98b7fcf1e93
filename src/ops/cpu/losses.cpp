// The losses' one pass over rows: cosine [Eq. 8], pair loss (BPR) and regulariser [Eq. 12].
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

int32_t times_of(const Pairs& pairs, size_t r) {
  return pairs.begin ? pairs.begin[r + 1] - pairs.begin[r] : 1;
}

}  // namespace

// loss = mean * sum over pairs of 1 + C(a, b);  d_a += weight * mean * (on_b b + on_a a)
template <class T>
void CpuOps<T>::cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                            const Pairs& pairs, double mean, double weight) {
  shapes::cosine(d_a, a, b, pairs);
  const size_t d = a.cols;
  const T scale = static_cast<T>(weight * mean);
  *loss += mean * sum_blocks(pairs.n, pair_block, [&](size_t first, size_t last) {
    double sum = 0;
    T* const b_k = scratch(d);
    for (size_t r = first; r < last; ++r) {
      const T* a_r = a.row(r);
      T* const d_a_r = d_a.row(r);
      const T aa = dot(a_r, a_r, d);
      // Without targets the pairs of a row are all the same one: count it once, that many times.
      const int32_t begin = pairs.begin[r], all = pairs.begin[r + 1];
      const int32_t end = pairs.target ? all : std::min(all, begin + 1);
      const T times = static_cast<T>(pairs.target ? 1 : all - begin);
      for (int32_t k = begin; k < end; ++k) {
        const size_t row = pairs.target ? static_cast<size_t>(pairs.target[k]) : r;
#pragma omp simd
        for (size_t c = 0; c < d; ++c) b_k[c] = b[row * d + c];
        const T ab = dot(a_r, b_k, d), bb = dot(b_k, b_k, d);
        sum += static_cast<double>(times) * (1.0 + static_cast<double>(cosine_forward(ab, aa, bb)));
        T on_b, on_a;
        cosine_backward(on_b, on_a, ab, aa, bb);
        on_b *= times * scale;
        on_a *= times * scale;
#pragma omp simd
        for (size_t c = 0; c < d; ++c) d_a_r[c] += on_b * b_k[c] + on_a * a_r[c];
      }
    }
    return sum;
  });
}

// x = u . (i_p - i_n);  loss = mean * sum of l(x);  c = weight mean l'(x);  d_u += c (i_p - i_n)
template <class T>
void CpuOps<T>::pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                          ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                          double weight) {
  shapes::pair_loss(x, c, d_u, u, i, triples);
  const Pairs& pairs = triples.by_user;
  const size_t d = u.cols;
  *loss += mean * sum_blocks(pairs.n, pair_block, [&](size_t first, size_t last) {
    double sum = 0;
    for (size_t r = first; r < last; ++r)
      for (int32_t e = pairs.begin[r]; e < pairs.begin[r + 1]; ++e) {
        const T *u_r = u.row(r), *i_p = i.row(static_cast<size_t>(pairs.target[e]));
        const T* i_n = i.row(static_cast<size_t>(triples.negative[e]));
        const T x_e = dot(u_r, i_p, d) - dot(u_r, i_n, d);
        const T c_e = static_cast<T>(weight * mean) * pair_backward(x_e, form);
        x.at[e] = x_e;
        c.at[e] = c_e;
        sum += static_cast<double>(pair_forward(x_e, form));
        T* const d_u_r = d_u.row(r);
#pragma omp simd
        for (size_t k = 0; k < d; ++k) d_u_r[k] += c_e * (i_p[k] - i_n[k]);
      }
    return sum;
  });
}

// norm = |x|_F, each row as often as it has pairs;  loss = mean |x|_F or mean |x|_F^2
template <class T>
void CpuOps<T>::penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                                RegForm form, double mean) {
  BM3_SHAPE(pairs.n == x.rows);
  const double squares = sum_blocks(pairs.n, pair_block, [&](size_t first, size_t last) {
    double sum = 0;
    for (size_t r = first; r < last; ++r)
      sum += times_of(pairs, r) * static_cast<double>(dot(x.row(r), x.row(r), x.cols));
    return sum;
  });
  *norm = std::sqrt(squares);
  *loss += mean * (form == RegForm::norm ? *norm : squares);
}

// d_x += (number of pairs) scale x / |x|_F, or * 2 x
template <class T>
void CpuOps<T>::penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                                 const Pairs& pairs, RegForm form, double scale) {
  BM3_SHAPE(pairs.n == x.rows && shapes::same(d_x, x));
  const double each = penalty_factor(form, scale, *norm);
  for_rows(pairs.n, pair_block, [&](size_t r) {
    const T factor = static_cast<T>(each * times_of(pairs, r));
    T* const d_x_r = d_x.row(r);
    const T* const x_r = x.row(r);
#pragma omp simd
    for (size_t c = 0; c < x.cols; ++c) d_x_r[c] += factor * x_r[c];
  });
}

// loss = mean |x|_F
template <class T>
void CpuOps<T>::norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) {
  const double squares = sum_blocks(x.size(), 4096, [&](size_t first, size_t last) {
    return static_cast<double>(dot(x.at + first, x.at + first, last - first));
  });
  *norm = std::sqrt(squares);
  *loss += mean * *norm;
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CpuOps<T>::norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x, double scale) {
  BM3_SHAPE(shapes::same(d_x, x));
  const T factor = static_cast<T>(penalty_factor(RegForm::norm, scale, *norm));
  for_entries(x.size(), [=](size_t i) { d_x.at[i] = factor * x.at[i]; });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
