// The losses' one pass over rows: cosine [Eq. 8] and regulariser [Eq. 12].
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

template <class T>
T dot(const T* x, const T* y, size_t d) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t c = 0; c < d; ++c) sum += x[c] * y[c];
  return sum;
}

}  // namespace

// loss = scale * sum over pairs of 1 + C(a, b);  d_a += scale (on_b b + on_a a)
template <class T>
void CpuOps<T>::cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b, const Pairs& pairs,
                            double scale, size_t d) {
  *loss += scale * sum_blocks(pairs.n, cpu::pair_block, [&](size_t first, size_t last) {
    double sum = 0;
    T* const b_k = scratch(d);
    for (size_t r = first; r < last; ++r) {
      const T* a_r = a + r * d;
      const T aa = dot(a_r, a_r, d);
      // Without targets the pairs of a row are all the same one: count it once, that many times.
      const int32_t begin = pairs.begin[r], all = pairs.begin[r + 1];
      const int32_t end = pairs.target ? all : std::min(all, begin + 1);
      const T times = static_cast<T>(pairs.target ? 1 : all - begin);
      for (int32_t k = begin; k < end; ++k) {
        const View<T> view = b.from((pairs.target ? static_cast<size_t>(pairs.target[k]) : r) * d);
#pragma omp simd
        for (size_t c = 0; c < d; ++c) b_k[c] = view[c];
        const T ab = dot(a_r, b_k, d), bb = dot(b_k, b_k, d);
        sum += static_cast<double>(times) * (1.0 + static_cast<double>(cosine_forward(ab, aa, bb)));
        if (!d_a) continue;
        T on_b, on_a;
        cosine_backward(on_b, on_a, ab, aa, bb);
        on_b *= times * static_cast<T>(scale);
        on_a *= times * static_cast<T>(scale);
#pragma omp simd
        for (size_t c = 0; c < d; ++c) d_a[r * d + c] += on_b * b_k[c] + on_a * a_r[c];
      }
    }
    return sum;
  });
}

// loss = scale * sum over pairs of |x|^2
template <class T>
void CpuOps<T>::squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                                size_t d) {
  *loss += scale * sum_blocks(pairs.n, cpu::pair_block, [&](size_t first, size_t last) {
    double sum = 0;
    for (size_t r = first; r < last; ++r)
      sum += (pairs.begin[r + 1] - pairs.begin[r]) *
             static_cast<double>(dot(x + r * d, x + r * d, d));
    return sum;
  });
}

// loss = scale * sum over pairs of |x|^2:  d_x += 2 scale (number of pairs) x
template <class T>
void CpuOps<T>::squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) {
  for_blocks(pairs.n, 128, [&](size_t, size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      const T factor = static_cast<T>(2 * scale * (pairs.begin[r + 1] - pairs.begin[r]));
#pragma omp simd
      for (size_t c = 0; c < d; ++c) d_x[r * d + c] += factor * x[r * d + c];
    }
  });
}

// loss = scale |x|_F
template <class T>
void CpuOps<T>::norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) {
  const double squares = sum_blocks(n, cpu::norm_block, [&](size_t first, size_t last) {
    return static_cast<double>(dot(x + first, x + first, last - first));
  });
  *norm = std::sqrt(squares);
  *loss += scale * *norm;
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CpuOps<T>::norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) {
  const T factor = static_cast<T>(*norm > 0 ? scale / *norm : 0.0);
  for_blocks(n, 16384, [&](size_t, size_t first, size_t last) {
#pragma omp simd
    for (size_t i = first; i < last; ++i) d_x[i] = factor * x[i];
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
