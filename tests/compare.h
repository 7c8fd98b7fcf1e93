#pragma once
// How far computed arrays are from what they should be.
#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

namespace bm3::test {

/// The worst relative error of `count` values; infinite when a value was not finite or missing.
struct Agreement {
  size_t count = 0;
  double error = 0;
  /// Something was compared, and all of it is within `bound`; false where either is not finite.
  bool within(double bound) const { return count > 0 && std::isfinite(error) && error <= bound; }
  Agreement& operator+=(const Agreement& other) {
    count += other.count;
    error = std::max(error, other.error);
    return *this;
  }
};

inline std::ostream& operator<<(std::ostream& out, const Agreement& a) {
  return out << a.count << " values, worst relative error " << a.error;
}

template <class A>
double largest_magnitude(const std::vector<A>& values) {
  double largest = 0;
  for (A x : values) largest = std::max(largest, std::abs(static_cast<double>(x)));
  return largest;
}

/// max_k |a_k - b_k| / max(max_k |a_k|, max_k |b_k|, floor). Relative to the largest magnitude of
/// the array, not to each value: a sum of terms that cancel is as exact as its terms, not as its
/// result.
template <class A, class B>
Agreement compare(const std::vector<A>& a, const std::vector<B>& b, double floor) {
  if (a.size() != b.size()) return {a.size(), std::numeric_limits<double>::infinity()};
  const double scale = std::max({largest_magnitude(a), largest_magnitude(b), floor});
  Agreement result{a.size(), 0};
  for (size_t k = 0; k < a.size(); ++k) {
    const double error = std::abs(static_cast<double>(a[k]) - static_cast<double>(b[k])) / scale;
    if (!std::isfinite(error)) return {a.size(), std::numeric_limits<double>::infinity()};
    result.error = std::max(result.error, error);
  }
  return result;
}

}  // namespace bm3::test
