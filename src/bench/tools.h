#pragma once
// Times of repeated work.
#include <algorithm>
#include <vector>

namespace bm3 {

/// Returns the middle one of some numbers (of an even count, the larger of the two); 0 of none.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Returns the least of some numbers.
inline double least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

/// Returns `seconds()` of `repeats` calls, after one to warm up.
template <class Seconds>
std::vector<double> times(size_t repeats, const Seconds& seconds) {
  seconds();
  std::vector<double> all;
  for (size_t r = 0; r < repeats; ++r) all.push_back(seconds());
  return all;
}

}  // namespace bm3
