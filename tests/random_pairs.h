#pragma once
// Random pairs in segments (ops.h), on the host and on a device.
#include "ops/ops.h"
#include "random_inputs.h"

namespace bm3::test {

/// Rows with 0 to 4 pairs, of which some occur twice; the last eighth, like padding, has none. Of
/// many rows one has 300, as a popular item would.
class RandomPairs {
 public:
  RandomPairs(Device& device, Random& random, size_t n, size_t targets) : n_(n) {
    for (size_t r = 0; r < n; ++r) {
      const int32_t count = r >= n - n / 8 ? 0 : r == 50 ? 300 : random.below(5);
      for (int32_t k = 0; k < count; ++k)
        target.push_back(k > 0 && random.below(4) == 0 ? target.back() : random.below(targets));
      begin.push_back(static_cast<int32_t>(target.size()));
    }
    edge = random.permutation(target.size());
    begin_ = Array<int32_t>(device, begin);
    target_ = Array<int32_t>(device, target);
    edge_ = Array<int32_t>(device, edge);
  }
  size_t size() const { return target.size(); }
  int32_t count(size_t r) const { return begin[r + 1] - begin[r]; }
  /// The most pairs of a row.
  size_t most() const { return n_ > 50 ? 300 : 4; }
  /// Calls body(r, target, edge) for each pair.
  template <class Body>
  void for_each(const Body& body) const {
    for (size_t r = 0; r < n_; ++r)
      for (auto k = static_cast<size_t>(begin[r]); k < static_cast<size_t>(begin[r + 1]); ++k)
        body(r, static_cast<size_t>(target[k]), static_cast<size_t>(edge[k]));
  }
  /// All on the device; or, without targets, each row as often with itself.
  Pairs pairs() const { return {n_, begin_.data(), target_.data(), edge_.data()}; }
  Pairs own() const { return {n_, begin_.data()}; }

  std::vector<int32_t> begin = {0}, target, edge;

 private:
  size_t n_;
  Array<int32_t> begin_, target_, edge_;
};

}  // namespace bm3::test
