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
  /// Returns the negative for each place of an epoch's order.
  std::vector<int32_t> draw(const std::vector<Interaction>& order, uint64_t seed,
                            size_t epoch) const;

 private:
  /// The place of a pair in may_have_, by the leading bits of a product with 2^64 over the golden
  /// ratio.
  size_t place_of(int32_t user, int32_t item) const {
    const auto pair = static_cast<uint64_t>(user) << 32 | static_cast<uint64_t>(item);
    return pair * 0x9E3779B97F4A7C15u >> shift_;
  }
  int32_t candidate(uint32_t word) const {
    return candidates_[word * uint64_t{candidates_.size()} >> 32];
  }

  std::vector<int32_t> candidates_;
  std::vector<size_t> begin_;   // [n_users + 1]
  std::vector<int32_t> has_;    // of each user, ascending
  int shift_ = 64;              // may_have_ has 2^(64 - shift_) places
  std::vector<bool> may_have_;  // true for all pairs of the training, and for 3 to 6% of the others
};

}  // namespace bm3
