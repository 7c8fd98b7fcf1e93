#pragma once
// Random pairs in segments (ops.h), on the host and on a device.
#include "ops/ops.h"
#include "random_inputs.h"

namespace bm3::test {

/// Rows with 0 to 4 pairs, of which some occur twice; the last eighth, like padding, has none. Of
/// many rows one has 300, as a popular item would.
struct RandomPairs {
  RandomPairs(Random& random, size_t n_, size_t targets) : n(n_) {
    for (size_t r = 0; r < n; ++r) {
      const int32_t count = r >= n - n / 8 ? 0 : r == 50 ? 300 : random.below(5);
      for (int32_t k = 0; k < count; ++k)
        target.push_back(k > 0 && random.below(4) == 0 ? target.back() : random.below(targets));
      begin.push_back(static_cast<int32_t>(target.size()));
    }
    edge = random.permutation(target.size());
  }
  int32_t count(size_t r) const { return begin[r + 1] - begin[r]; }
  /// The most pairs of a row.
  size_t most() const { return n > 50 ? 300 : 4; }
  /// Calls body(r, target, edge) for each pair.
  template <class Body>
  void for_each(const Body& body) const {
    for (size_t r = 0; r < n; ++r)
      for (auto k = static_cast<size_t>(begin[r]); k < static_cast<size_t>(begin[r + 1]); ++k)
        body(r, static_cast<size_t>(target[k]), static_cast<size_t>(edge[k]));
  }
  size_t n;
  std::vector<int32_t> begin = {0}, target, edge;
};

struct PairsOnDevice {
  PairsOnDevice(Device& device, const RandomPairs& of)
      : n(of.n), begin(device, of.begin), target(device, of.target), edge(device, of.edge) {}
  /// All; or, without targets, each row as often with itself.
  Pairs pairs() const { return {n, begin.data(), target.data(), edge.data()}; }
  Pairs own() const { return {n, begin.data()}; }
  size_t n;
  Array<int32_t> begin, target, edge;
};

}  // namespace bm3::test
