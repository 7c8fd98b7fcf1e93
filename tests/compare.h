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
  /// Adds another array's values.
  Agreement& operator+=(const Agreement& other) {
    const size_t all = count + other.count;
    if (other.error > error || count == 0) *this = other;
    count = all;
    return *this;
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
