#pragma once
// The graph of users who have items in common (DualGNN: Wang et al., IEEE TMM 2021).
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "error.h"
#include "layers/sparse.h"

namespace bm3 {

/// Each user's neighbours: the k other users with the most items in common, the lower number first
/// among equals, or all of them where there are fewer.
class UserGraph {
 public:
  /// `edges` are distinct.
  UserGraph(size_t n_users, size_t n_items, const std::vector<Interaction>& edges, size_t k)
      : k_(k), lists_(n_users) {
    std::vector<std::vector<int32_t>> items(n_users), users(n_items);
    for (const auto& [user, item] : edges) {
      items[static_cast<size_t>(user)].push_back(item);
      users[static_cast<size_t>(item)].push_back(user);
    }
    std::vector<int32_t> count(n_users), met;  // of one user
    for (size_t u = 0; u < n_users; ++u) {
      std::vector<Neighbour>& list = lists_[u];
      for (int32_t item : items[u])
        for (int32_t v : users[static_cast<size_t>(item)])
          if (static_cast<size_t>(v) != u && count[static_cast<size_t>(v)]++ == 0) met.push_back(v);
      for (int32_t v : met) list.push_back({v, std::exchange(count[static_cast<size_t>(v)], 0)});
      met.clear();
      const auto last = list.begin() + static_cast<std::ptrdiff_t>(std::min(k, list.size()));
      std::partial_sort(list.begin(), last, list.end(), [](const Neighbour& a, const Neighbour& b) {
        return a.common != b.common ? a.common > b.common : a.user < b.user;
      });
      list = {list.begin(), last};
    }
  }

  /// Returns k neighbours of each user [n_users, k] for an epoch, which depend on (seed, epoch)
  /// alone: the user's list, filled up with copies of random members of the list so far; 0 where a
  /// user has none.
  std::vector<int32_t> draw(uint64_t seed, size_t epoch) const {
    std::vector<int32_t> out;
    out.reserve(lists_.size() * k_);
    for (size_t u = 0; u < lists_.size(); ++u) {
      const size_t first = out.size();
      for (const Neighbour& neighbour : lists_[u]) out.push_back(neighbour.user);
      while (out.size() < first + k_) {
        const Random4 random = philox(seed, Stream::neighbour, static_cast<uint32_t>(epoch),
                                      out.size());
        const uint64_t word = uint64_t{random.x[0]} << 32 | random.x[1];
        out.push_back(out.size() > first ? out[first + word % (out.size() - first)] : 0);
      }
    }
    return out;
  }

  /// Returns k entries (u, v) for each user u, of neighbours [n_users, k], whose weights are the
  /// softmax of the numbers of common items, or 0 where u has no neighbours. Throws where v is no
  /// neighbour of u.
  std::vector<Entry> entries(const std::vector<int32_t>& neighbours) const {
    std::vector<Entry> out;
    out.reserve(neighbours.size());
    for (size_t u = 0; u < lists_.size(); ++u) {
      const size_t first = u * k_;
      double sum = 0;
      for (size_t e = first; e < first + k_; ++e) {
        const double weight =
            lists_[u].empty() ? 0 : std::exp(common(u, neighbours[e]) - lists_[u][0].common);
        out.push_back({static_cast<int32_t>(u), neighbours[e], weight});
        sum += weight;
      }
      for (size_t e = first; e < first + k_ && sum > 0; ++e) out[e].weight /= sum;
    }
    return out;
  }

 private:
  struct Neighbour {
    int32_t user, common;  // items in common
  };
  double common(size_t user, int32_t neighbour) const {
    for (const Neighbour& known : lists_[user])
      if (known.user == neighbour) return known.common;
    throw Error("user ", neighbour, " is none of the neighbours of user ", user,
                ": expected one of the ", lists_[user].size(), " with the most items in common");
  }

  const size_t k_;
  std::vector<std::vector<Neighbour>> lists_;  // of each user
};

}  // namespace bm3
