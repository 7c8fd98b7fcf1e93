#pragma once
// The graph of users who have items in common (DualGNN: Wang et al., IEEE TMM 2021).
#include <vector>

#include "data/inter.h"
#include "layers/sparse.h"

namespace bm3 {

/// Each user's neighbours: the k other users with the most items in common, the lower number first
/// among equals, or all of them where there are fewer.
class UserGraph {
 public:
  /// `edges` are distinct.
  UserGraph(size_t n_users, size_t n_items, const std::vector<Interaction>& edges, size_t k);
  /// Returns k neighbours of each user [n_users, k] for an epoch, which depend on (seed, epoch)
  /// alone: those there are and, up to k, one of the list so far, again and again; 0 where a user
  /// has none.
  std::vector<int32_t> draw(uint64_t seed, size_t epoch) const;
  /// Returns k entries (u, v) for each user u, whose weights are the softmax of the numbers of
  /// common items, or 0 where u has no neighbours. Throws where v is no neighbour of u.
  std::vector<Entry> entries(const std::vector<int32_t>& neighbours) const;

 private:
  struct Neighbour {
    int32_t user, common;  // items in common
  };
  double common(size_t user, int32_t neighbour) const;
  size_t k_;
  std::vector<std::vector<Neighbour>> lists_;  // of each user
};

}  // namespace bm3
