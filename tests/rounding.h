#pragma once
// Sums in extended precision, and the rounding of sums in another order and precision.
#include "compare.h"

namespace bm3::test {

/// A sum of terms and of the terms' magnitudes, by which its rounding is measured.
struct Sum {
  long double value = 0;  // equal terms round alike: in double, a long sum of them would drift
  double magnitude = 0;
  Sum& operator+=(double term) { return add(term, std::abs(term)); }
  /// Adds a term that itself comes from cancelling ones of this magnitude.
  Sum& add(double term, double its_magnitude) {
    value += term;
    magnitude += its_magnitude;
    return *this;
  }
};

/// Sums that begin with these values.
template <class T>
std::vector<Sum> sums_from(const std::vector<T>& values) {
  std::vector<Sum> sums(values.size());
  for (size_t k = 0; k < values.size(); ++k) sums[k] += values[k];
  return sums;
}

/// The error that n roundings in precision T may add up to, relative to the magnitude of the terms:
/// 8 sqrt(n + 8) u with u = eps/2. Roundings are independent and their mean is 0, so that the error
/// exceeds l sqrt(n) u with probability below 2 exp(-l^2/2) (Higham and Mary, SIAM J. Sci. Comput.
/// 41, 2019), for l = 8 never; the 8 in the root stand for the few roundings beside the sum.
template <class T>
double rounding(size_t n) {
  return 8 * std::sqrt(static_cast<double>(n + 8)) * std::numeric_limits<T>::epsilon() / 2;
}

/// The worst |computed - expected| / (rounding(n) * magnitude): at most 1 for a correct result of n
/// roundings. A magnitude of 0 asks for an exact result.
template <class T>
Agreement in_roundings(const std::vector<T>& computed, const std::vector<Sum>& expected, size_t n) {
  Agreement result;
  if (computed.size() != expected.size())
    return {computed.size(), std::numeric_limits<double>::infinity()};
  for (size_t k = 0; k < computed.size(); ++k) {
    const auto found = static_cast<long double>(computed[k]);
    const auto error = static_cast<double>(std::abs(found - expected[k].value));
    result.add(static_cast<double>(found), static_cast<double>(expected[k].value),
               error == 0 ? 0.0 : error / (rounding<T>(n) * expected[k].magnitude));
  }
  return result;
}

}  // namespace bm3::test

/// Every one of `computed` is `expected` (a vector of Sum) after n roundings.
#define EXPECT_SUMS(computed, expected, n)                                                    \
  do {                                                                                        \
    const auto in_bounds = ::bm3::test::in_roundings(computed, expected, n);                  \
    if (!(in_bounds.count == (expected).size() && in_bounds.error <= 1))                      \
      ADD_FAILURE() << #computed ": " << in_bounds                                            \
                    << "; errors are ratios to the bound of " << (n) << " roundings";         \
  } while (false)
