#pragma once
// Gradients against central differences, in double precision.
#include "compare.h"

namespace bm3::test {

/// The bound on the relative error (`compare`) of a gradient against central differences.
constexpr double gradient_bound = 1e-7;

/// The least scale of that relative error. With a loss of size 10, a difference quotient below
/// carries a rounding of about 10 * 2^-53 / 2^-12 = 5e-12: relative to smaller gradients it would
/// be noise.
constexpr double gradient_floor = 1e-3;

/// dL/dx by central differences of fourth order,
///   (8 (L(x+h) - L(x-h)) - (L(x+2h) - L(x-2h))) / 12h,  h = 2^-12 max(1, |x|),
/// whose error h^4 L'''''/30 lies below the rounding for arguments of size 1; the plain form's
/// h^2 L'''/6 would not let both be far below 1e-7. `loss` takes a vector such as x; what must
/// stay frozen (masks, targets) is its own affair.
template <class Loss>
std::vector<double> central_differences(std::vector<double> x, const Loss& loss) {
  std::vector<double> gradient(x.size());
  for (size_t k = 0; k < x.size(); ++k) {
    const double at = x[k], h = std::ldexp(std::max(1.0, std::abs(at)), -12);
    const auto odd_part = [&](double step) {
      x[k] = at + step;
      const double up = loss(x);
      x[k] = at - step;
      return up - loss(x);
    };
    gradient[k] = (8 * odd_part(h) - odd_part(2 * h)) / (12 * h);
    x[k] = at;
  }
  return gradient;
}

/// Whether the loss has a kink so near to x_k that central_differences steps over it. Of a smooth
/// loss, twice the step makes the second difference four times as large.
template <class Loss>
bool has_kink(std::vector<double> x, size_t k, const Loss& loss) {
  const double at = x[k], h = std::ldexp(std::max(1.0, std::abs(at)), -12), middle = loss(x);
  const auto even_part = [&](double step) {
    x[k] = at + step;
    const double up = loss(x);
    x[k] = at - step;
    return up + loss(x) - 2 * middle;
  };
  return std::abs(even_part(2 * h) - 4 * even_part(h)) > 1e-11 * std::max(1.0, std::abs(middle));
}

/// `gradient` against the central differences of `loss` at x.
template <class Loss>
Agreement check_gradient(const std::vector<double>& gradient, const std::vector<double>& x,
                         const Loss& loss) {
  return compare(gradient, central_differences(x, loss), gradient_floor);
}

}  // namespace bm3::test
