#pragma once
// Negative items for BPR's triples (Rendle et al., UAI 2009, section 4.2).
#include <algorithm>
#include <vector>

#include "data/inter.h"
#include "error.h"
#include "random.h"

namespace bm3 {

/// Draws items that a user does not have in training, uniformly from the distinct items of the
/// training.
class Negatives {
 public:
  /// Throws where a user has every item of the training.
  explicit Negatives(const Interactions& data) : has_(data.n_users) {
    for (const auto& [user, item] : data.train) {
      has_[user].push_back(item);
      candidates_.push_back(item);
    }
    std::sort(candidates_.begin(), candidates_.end());
    candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
    for (size_t u = 0; u < has_.size(); ++u) {
      std::sort(has_[u].begin(), has_[u].end());
      if (has_[u].size() == candidates_.size())
        throw Error("user ", u,
                    " has every item of the training: expected one that can be a negative");
    }
    size_t places = 1;
    for (; places < 16 * data.train.size(); places *= 2) --shift_;
    may_have_.resize(places);
    for (const auto& [user, item] : data.train) may_have_[place_of(user, item)] = true;
  }

  /// Returns the negative for `user` at a place of an epoch's order: the first of the draws keyed
  /// by (seed, epoch, place) that the user does not have.
  int32_t draw(int32_t user, uint64_t seed, size_t epoch, size_t place) const {
    const std::vector<int32_t>& own = has_[user];
    for (uint64_t block = 0;; ++block) {
      const Random4 random = philox(seed, Stream::negative, static_cast<uint32_t>(epoch),
                                    block << 40 | place);
      for (const uint32_t word : random.x) {
        const int32_t item = candidate(word);
        if (!std::binary_search(own.begin(), own.end(), item)) return item;
      }
    }
  }
  /// Returns the negative for each place of an epoch's order.
  std::vector<int32_t> draw(const std::vector<Interaction>& order, uint64_t seed,
                            size_t epoch) const {
    std::vector<int32_t> out(order.size());
    // A loop of its own, done by vector instructions.
    for (size_t k = 0; k < out.size(); ++k)
      out[k] = static_cast<int32_t>(
          philox(seed, Stream::negative, static_cast<uint32_t>(epoch), k).x[0]);
    for (size_t k = 0; k < out.size(); ++k) {
      const int32_t user = order[k].user, item = candidate(static_cast<uint32_t>(out[k]));
      out[k] = may_have_[place_of(user, item)] ? draw(user, seed, epoch, k) : item;
    }
    return out;
  }

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
  std::vector<std::vector<int32_t>> has_;  // of each user, ascending
  int shift_ = 64;  // may_have_ has 2^(64 - shift_) places
  std::vector<bool> may_have_;  // true for all pairs of the training, and for 3 to 6% of the others
};

}  // namespace bm3
