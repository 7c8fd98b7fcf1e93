#pragma once
// How far computed arrays are from what they should be. One array gives one message: how many
// values are wrong or how wrong the worst is, where, what was found and what was expected.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace bm3::test {

/// The worst error of `count` values, and where it is; infinite when a value was not finite or
/// missing.
struct Agreement {
  size_t count = 0;
  double error = 0;
  size_t at = 0;
  double found = 0, expected = 0;
  /// Something was compared, and all of it is within `bound`; false where either is not finite.
  bool within(double bound) const { return count > 0 && std::isfinite(error) && error <= bound; }
  /// Adds a value with its error.
  void add(double value, double wanted, double its_error) {
    if (!std::isfinite(its_error)) its_error = std::numeric_limits<double>::infinity();
    if (its_error > error || count == 0) {
      error = its_error;
      at = count;
      found = value;
      expected = wanted;
    }
    ++count;
  }
};

/// A number with so many digits.
inline std::string digits(int n, double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", n, x);
  return text;
}

inline std::ostream& operator<<(std::ostream& out, const Agreement& a) {
  return out << a.count << " values, worst error " << digits(3, a.error) << " at index " << a.at
             << ": found " << digits(9, a.found) << ", expected " << digits(9, a.expected);
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
  Agreement result;
  for (size_t k = 0; k < a.size(); ++k) {
    const auto found = static_cast<double>(a[k]), expected = static_cast<double>(b[k]);
    result.add(found, expected, std::abs(found - expected) / scale);
  }
  return result;
}

/// Returns "" when two arrays have the same bytes, else how many elements differ, and the first.
template <class E>
std::string difference(const std::vector<E>& found, const std::vector<E>& expected) {
  std::ostringstream out;
  if (found.size() != expected.size())
    out << found.size() << " elements, expected " << expected.size();
  size_t wrong = 0, first = 0;
  for (size_t k = 0; k < found.size() && k < expected.size(); ++k)
    if (std::memcmp(&found[k], &expected[k], sizeof(E)) != 0 && wrong++ == 0) first = k;
  if (wrong > 0)
    out << " " << wrong << " of " << found.size() << " differ, first at " << first << ": found "
        << +found[first] << ", expected " << +expected[first];
  return out.str();
}

// Sums in extended precision, and the rounding of sums in another order and precision.

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

/// The agreement is within the bound.
#define EXPECT_WITHIN(agreement, bound)                              \
  GTEST_AMBIGUOUS_ELSE_BLOCKER_                                      \
  if ((agreement).within(bound))                                     \
    SUCCEED();                                                       \
  else                                                               \
    ADD_FAILURE() << (agreement) << ", bound " << ::bm3::test::digits(3, bound) << ", in "

/// Two vectors have the same bytes.
#define EXPECT_SAME(found, expected) EXPECT_EQ(::bm3::test::difference(found, expected), "")

/// Every one of `computed` is `expected` (a vector of Sum) after n roundings.
#define EXPECT_SUMS(computed, expected, n)                                                    \
  do {                                                                                        \
    const auto in_bounds = ::bm3::test::in_roundings(computed, expected, n);                  \
    if (!(in_bounds.count == (expected).size() && in_bounds.error <= 1))                      \
      ADD_FAILURE() << #computed ": " << in_bounds                                            \
                    << "; errors are ratios to the bound of " << (n) << " roundings";         \
  } while (false)
