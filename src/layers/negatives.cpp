#include "layers/negatives.h"

#include <algorithm>

#include "error.h"
#include "random.h"

namespace bm3 {

Negatives::Negatives(const Interactions& data) : begin_(static_cast<size_t>(data.n_users) + 1) {
  for (const auto& [user, item] : data.train) {
    ++begin_[static_cast<size_t>(user) + 1];
    candidates_.push_back(item);
  }
  std::sort(candidates_.begin(), candidates_.end());
  candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
  for (size_t u = 1; u < begin_.size(); ++u) begin_[u] += begin_[u - 1];
  has_.resize(data.train.size());
  std::vector<size_t> next = begin_;
  for (const auto& [user, item] : data.train) has_[next[static_cast<size_t>(user)]++] = item;
  for (size_t u = 0; u + 1 < begin_.size(); ++u) {
    std::sort(has_.data() + begin_[u], has_.data() + begin_[u + 1]);
    if (begin_[u + 1] - begin_[u] == candidates_.size())
      throw Error("user " + std::to_string(u) +
                  " has every item of the training: expected one that can be a negative");
  }
}

int32_t Negatives::draw(int32_t user, uint64_t seed, size_t epoch, size_t place) const {
  const auto u = static_cast<size_t>(user);
  const int32_t *const first = has_.data() + begin_[u], *const last = has_.data() + begin_[u + 1];
  for (uint64_t block = 0;; ++block) {
    const Random4 random = philox(seed, static_cast<uint32_t>(Stream::negative),
                                  static_cast<uint32_t>(epoch), block << 40 | place);
    for (const uint32_t word : random.x) {
      const int32_t item = candidates_[word * uint64_t{candidates_.size()} >> 32];
      if (!std::binary_search(first, last, item)) return item;
    }
  }
}

}  // namespace bm3
