#pragma once
// The edges of the graph that an epoch keeps (FREEDOM: Zhou and Shen, MM 2023, section 3.2).
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "data/inter.h"
#include "random.h"

namespace bm3 {

/// Draws T (1 - rho) of T distinct edges, rounded down, without replacement and in proportion to
/// p = 1/sqrt(d_u d_i) with the degrees d of their ends; rho in [0, 1).
class Pruning {
 public:
  Pruning(std::vector<Interaction> edges, double rho)
      : edges_(std::move(edges)),
        kept_(static_cast<size_t>(static_cast<double>(edges_.size()) * (1. - rho))) {
    std::unordered_map<int32_t, double> of_user, of_item;  // degrees
    for (const auto& [user, item] : edges_) {
      ++of_user[user];
      ++of_item[item];
    }
    for (const auto& [user, item] : edges_)
      p_.push_back(1 / std::sqrt(of_user[user] * of_item[item]));
  }

  /// Returns the number of edges that are kept.
  size_t size() const { return kept_; }

  /// Returns the edges of an epoch, which depend on (seed, epoch) alone: those with the largest
  /// p/q, where q is exponential with mean 1.
  std::vector<Interaction> draw(uint64_t seed, size_t epoch) const {
    std::vector<std::pair<double, size_t>> order;  // smallest q/p first, then the lower number
    for (size_t e = 0; e < edges_.size(); ++e) {
      const Random4 random = philox(seed, Stream::pruning, static_cast<uint32_t>(epoch), e);
      order.emplace_back(-std::log(uniform01(random.x[0])) / p_[e], e);
    }
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept_),
                     order.end());
    std::vector<Interaction> out;
    for (size_t k = 0; k < kept_; ++k) out.push_back(edges_[order[k].second]);
    return out;
  }

 private:
  std::vector<Interaction> edges_;
  std::vector<double> p_;
  size_t kept_;
};

}  // namespace bm3
