#include "layers/pruning.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "random.h"

namespace bm3 {

Pruning::Pruning(std::vector<Interaction> edges, double rho)
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

std::vector<Interaction> Pruning::draw(uint64_t seed, size_t epoch) const {
  std::vector<std::pair<double, size_t>> order;  // largest p/q first, then the lower number
  for (size_t e = 0; e < edges_.size(); ++e) {
    const Random4 random = philox(seed, Stream::pruning, static_cast<uint32_t>(epoch), e);
    order.emplace_back(std::log(uniform01(random.x[0])) / p_[e], e);  // -q/p
  }
  std::vector<Interaction> out;
  if (kept_ == 0) return out;
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(kept_ - 1);
  std::nth_element(order.begin(), last, order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  for (size_t k = 0; k < kept_; ++k) out.push_back(edges_[order[k].second]);
  return out;
}

}  // namespace bm3
