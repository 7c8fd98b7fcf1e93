#pragma once
// The edges of the graph that an epoch keeps (FREEDOM: Zhou and Shen, MM 2023, section 3.2).
#include <vector>

#include "data/inter.h"

namespace bm3 {

/// Draws T (1 - rho) of T distinct edges, rounded down, without replacement and in proportion to
/// p = 1/sqrt(d_u d_i) with the degrees d of their ends.
class Pruning {
 public:
  Pruning(std::vector<Interaction> edges, double rho);
  /// Returns the number of edges that are kept.
  size_t size() const { return kept_; }
  /// Returns the edges of an epoch, which depend on (seed, epoch) alone: those with the largest
  /// p/q, where q is exponential with mean 1.
  std::vector<Interaction> draw(uint64_t seed, size_t epoch) const;

 private:
  std::vector<Interaction> edges_;
  std::vector<double> p_;
  size_t kept_;
};

}  // namespace bm3
