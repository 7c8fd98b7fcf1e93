#pragma once
// Random inputs for tests, from a generator that is not the one under test, and random pairs in
// segments (ops.h), on the host and on a device.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "ops/ops.h"

namespace bm3::test {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  /// A whole number in [0, n).
  int32_t below(size_t n) { return static_cast<int32_t>(engine_() % n); }
  size_t one_of(std::initializer_list<size_t> these) {
    return these.begin()[engine_() % these.size()];
  }
  /// A number in [-1, 1).
  double number() { return std::ldexp(static_cast<double>(engine_() >> 11), -52) - 1; }
  /// n numbers in [-scale, scale).
  template <class T>
  std::vector<T> numbers(size_t n, double scale = 1) {
    std::vector<T> out(n);
    for (T& x : out) x = static_cast<T>(scale * number());
    return out;
  }
  /// n times 0 or 1.
  std::vector<uint8_t> mask(size_t n) {
    std::vector<uint8_t> out(n);
    for (uint8_t& x : out) x = static_cast<uint8_t>(below(2));
    return out;
  }
  /// n whole numbers in [0, below_this).
  std::vector<int32_t> indices(size_t n, size_t below_this) {
    std::vector<int32_t> out(n);
    for (int32_t& x : out) x = below(below_this);
    return out;
  }
  /// `n` row numbers below `rows`, one in five of them -1 (padding).
  std::vector<int32_t> padded_rows(size_t n, size_t rows) {
    std::vector<int32_t> out(n);
    for (int32_t& r : out) r = rows == 0 || below(5) == 0 ? -1 : below(rows);
    return out;
  }
  /// The same with no row number twice.
  std::vector<int32_t> distinct_rows(size_t n, size_t rows) {
    std::vector<int32_t> all(std::max(n, rows), -1);
    for (size_t r = 0; r < rows; ++r) all[r] = below(5) == 0 ? -1 : static_cast<int32_t>(r);
    std::shuffle(all.begin(), all.end(), engine_);
    all.resize(n);
    return all;
  }
  /// 0 .. n - 1 in a random order.
  std::vector<int32_t> permutation(size_t n) {
    std::vector<int32_t> out(n);
    std::iota(out.begin(), out.end(), 0);
    std::shuffle(out.begin(), out.end(), engine_);
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

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
