#pragma once
// Formulas on single numbers, shared by the CPU and the CUDA operations: each stands here once.
#include <cmath>

#include "random.h"

namespace bm3 {

// ----------------------------------------------------------------------------------- views [Eq. 5]

/// An entry of the view h' = h * mask / (1 - p), with kept = 1 / (1 - p). [Eq. 5]
template <class T>
BM3_HD T view_entry(T h, uint8_t mask, T kept) {
  const T scaled = h * kept;  // also where it is dropped: no load depends on the mask
  return mask ? scaled : T(0);
}

// ----------------------------------------------------------------------------------- dropped edges

/// The probability to drop an edge, from a random word: uniform in (0, ratio).
BM3_HD double drop_rate(double ratio, uint32_t word) { return ratio * uniform01(word); }
/// What a kept edge's weight is multiplied by.
template <class T>
BM3_HD T edge_scale(double rate) {
  return static_cast<T>(1 / (1 - rate));
}

// ------------------------------------------------------------------------ negative cosine [Eq. 8]

constexpr double cosine_floor = 1e-8;  // least denominator, as in the released code

/// C(a, b) = -a.b / max(|a||b|, 1e-8) from ab = a.b, aa = |a|^2, bb = |b|^2. [Eq. 8]
template <class T>
BM3_HD T cosine_forward(T ab, T aa, T bb) {
  const T norms = std::sqrt(aa) * std::sqrt(bb);
  return -ab / (norms > T(cosine_floor) ? norms : T(cosine_floor));
}

/// dC/da = on_b * b + on_a * a. With c = a.b/(|a||b|): d|a|/da = a/|a|, so
/// dC/da = -(b/(|a||b|) - c a/|a|^2); below the floor the denominator is a constant and on_a = 0.
template <class T>
BM3_HD void cosine_backward(T& on_b, T& on_a, T ab, T aa, T bb) {
  const T norms = std::sqrt(aa) * std::sqrt(bb);
  const bool above = norms > T(cosine_floor);
  on_b = T(-1) / (above ? norms : T(cosine_floor));
  on_a = above ? ab / (norms * aa) : T(0);
}

// -------------------------------------------------------------------------------- pair loss (BPR)

/// -ln(1e-10 + sigma(x)), as the released code guards it; or -ln sigma(x).
enum class PairForm { epsilon, plain };
constexpr double pair_epsilon = 1e-10;

template <class T>
BM3_HD T logistic(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

/// l(x) for the score difference x of a triple. -ln sigma(x) = ln(1 + e^-x), without overflow.
template <class T>
BM3_HD T pair_forward(T x, PairForm form) {
  if (form == PairForm::epsilon) return -std::log(T(pair_epsilon) + logistic(x));
  return (x < T(0) ? -x : T(0)) + std::log1p(std::exp(x < T(0) ? x : -x));
}

/// dl/dx: with s = sigma(x), ds/dx = s (1 - s) and 1 - s = sigma(-x):
/// -s (1 - s) / (1e-10 + s), or -(1 - s).
template <class T>
BM3_HD T pair_backward(T x, PairForm form) {
  const T rest = logistic(-x);
  if (form == PairForm::plain) return -rest;
  const T s = logistic(x);
  return -s * rest / (T(pair_epsilon) + s);
}

// ------------------------------------------------------------------------------------ regulariser

enum class RegForm {
  norm,     // |x|_F, as the released code takes it
  squared,  // |x|_F^2, as the papers write it
};

/// The factor of x in the gradient of scale * |x|_F, d|x|/dx = x / |x|, or of scale * |x|_F^2; 0
/// where the norm, which is not smooth there, is 0.
BM3_HD double penalty_factor(RegForm form, double scale, double norm) {
  if (form == RegForm::squared) return 2 * scale;
  return norm > 0 ? scale / norm : 0.0;
}

// ----------------------------------------------------------- leaky ReLU, rows of length 1, softmax

/// dy/dx of y = x where x > 0, else 0.01 x; x or y tells, which have one sign.
template <class T>
BM3_HD T leaky_slope(T x) {
  return x > T(0) ? T(1) : T(0.01);
}

constexpr double length_floor = 1e-12;   // least length that a row is divided by
constexpr double softmax_floor = 1e-16;  // added to a softmax's denominator

/// max(|x|, 1e-12) from |x|^2.
template <class T>
BM3_HD T length_of(T xx) {
  const T length = std::sqrt(xx);
  return length > T(length_floor) ? length : T(length_floor);
}
/// The factor of x in d_x = d_y / |x| - x (x . d_y) / |x|^3; 0 at the floor, where y = x / 1e-12.
template <class T>
BM3_HD T radial_part(T x_d_y, T length) {
  return length > T(length_floor) ? x_d_y / length / length / length : T(0);
}

// ----------------------------------------------------------------------------- weights of edges

/// Returns max(0, max over m of alpha_m c_m) over n modalities, whose alpha_m lie `stride` apart;
/// chosen = the first m with this maximum, or -1 where it is not above 0.
template <class T>
BM3_HD T largest_share(int32_t& chosen, const T* alpha, size_t stride, const T* c, size_t n) {
  T most = 0;
  chosen = -1;
  for (size_t m = 0; m < n; ++m) {
    const T share = alpha[m * stride] * c[m];
    const bool larger = !(share <= most);  // selected, not branched on: signs are random
    most = larger ? share : most;
    chosen = larger ? static_cast<int32_t>(m) : chosen;
  }
  return most;
}

// ------------------------------------------------------------------------------------------- Adam

/// Adam's constants, and what of step t does not depend on the element (Kingma & Ba, 2015).
template <class T>
struct AdamConstants {
  AdamConstants(double b1, double b2, double eps)
      : beta1(T(b1)), beta2(T(b2)), rest1(T(1 - b1)), rest2(T(1 - b2)), epsilon(T(eps)) {}
  T beta1, beta2;
  T rest1, rest2;  // 1 - beta, which the rounded beta would give to 4 digits only
  T epsilon;
};
template <class T>
struct AdamStep {
  T size;  // lr / (1 - beta1^t)
  T root;  // 1 / sqrt(1 - beta2^t)
};

/// One parameter's step: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
/// p -= size * m / (sqrt(v) * root + eps).
template <class T>
BM3_HD void adam_update(T& p, T& m, T& v, T g, const AdamConstants<T>& c, const AdamStep<T>& s) {
  m = c.beta1 * m + c.rest1 * g;
  v = c.beta2 * v + c.rest2 * g * g;
  p -= s.size * m / (std::sqrt(v) * s.root + c.epsilon);
}

}  // namespace bm3
