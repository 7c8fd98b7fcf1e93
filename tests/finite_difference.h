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

/// dL/dx_k by the central difference of fourth order,
///   (8 (L(x+h) - L(x-h)) - (L(x+2h) - L(x-2h))) / 12h,  h = 2^-12 max(1, |x|) times `steps`,
/// whose error h^4 L'''''/30 lies below the rounding for arguments of size 1; the plain form's
/// h^2 L'''/6 would not let both be far below 1e-7. `loss` takes a vector such as x; what must
/// stay frozen (masks, targets) is its own affair.
template <class Loss>
double central_difference(std::vector<double>& x, size_t k, const Loss& loss, double steps = 1) {
  const double at = x[k], h = steps * std::ldexp(std::max(1.0, std::abs(at)), -12);
  const auto odd_part = [&](double step) {
    x[k] = at + step;
    const double up = loss(x);
    x[k] = at - step;
    return up - loss(x);
  };
  const double out = (8 * odd_part(h) - odd_part(2 * h)) / (12 * h);
  x[k] = at;
  return out;
}

/// dL/dx, entry by entry.
template <class Loss>
std::vector<double> central_differences(std::vector<double> x, const Loss& loss) {
  std::vector<double> gradient;
  for (size_t k = 0; k < x.size(); ++k) gradient.push_back(central_difference(x, k, loss));
  return gradient;
}

/// Whether the loss has a kink so near to x_k that its central differences step over it: with
/// another step they are not the same.
template <class Loss>
bool has_kink(std::vector<double> x, size_t k, const Loss& loss) {
  const double wide = central_difference(x, k, loss), narrow = central_difference(x, k, loss, 0.25);
  return std::abs(wide - narrow) > 5e-11 * std::max(1.0, std::abs(loss(x)));
}

}  // namespace bm3::test
