#pragma once
// Negative items for BPR's triples (Rendle et al., UAI 2009, section 4.2).
#include <vector>

#include "data/inter.h"

namespace bm3 {

/// Draws items that a user does not have in training, uniformly from the distinct items of the
/// training.
class Negatives {
 public:
  /// Throws where a user has every item of the training.
  explicit Negatives(const Interactions& data);
  /// Returns the negative for `user` at a place of an epoch's order: the first of the draws keyed
  /// by (seed, epoch, place) that the user does not have.
  int32_t draw(int32_t user, uint64_t seed, size_t epoch, size_t place) const;

 private:
  std::vector<int32_t> candidates_;
  std::vector<size_t> begin_;  // [n_users + 1]
  std::vector<int32_t> has_;   // of each user, ascending
};

}  // namespace bm3
