// Ranking [Eq. 13]: scores in blocks that stay in cache, a running threshold instead of a sort.
#include <limits>

#include "ops/cpu/gemm.h"

namespace bm3 {
namespace {

constexpr size_t user_block = 128, item_block = 512;  // of a block of scores

/// The k best of a stream of scored items that come in ascending order of their numbers.
template <class T>
class Best {
 public:
  struct Entry {
    T score;
    int32_t item;
    bool operator<(const Entry& o) const {  // better first; equal scores by the lower number
      return score > o.score || (score == o.score && item < o.item);
    }
  };
  explicit Best(size_t k) : k_(k) { entries_.reserve(2 * (k + strip)); }
  void clear() {
    entries_.clear();
    threshold_ = -std::numeric_limits<T>::infinity();
  }
  /// Takes items first .. first + n with these scores; -infinity marks an item to leave out.
  void push(const T* score, int32_t first, size_t n) {
    for (size_t i = 0; i < n; i += strip) {
      uint32_t above = above_threshold(score + i, std::min(n - i, strip));
      for (; above != 0; above &= above - 1) {
        const auto j = i + static_cast<size_t>(__builtin_ctz(above));
        entries_.push_back({score[j], first + static_cast<int32_t>(j)});
      }
      if (entries_.size() >= 2 * k_ + strip) cut();
    }
  }
  /// item [k] = the best, best first; -1 where there are no more.
  void write(int32_t* item) {
    cut();
    std::sort(entries_.begin(), entries_.end());
    for (size_t j = 0; j < k_; ++j) item[j] = j < entries_.size() ? entries_[j].item : -1;
  }

 private:
  static constexpr size_t strip = 32;  // scores that are compared with the threshold at once
  /// Bit j is set when score[j] is above the threshold.
  uint32_t above_threshold(const T* score, size_t n) const {
    uint32_t bits = 0;
    if (n == strip) {
#pragma omp simd reduction(| : bits)
      for (uint32_t j = 0; j < strip; ++j) bits |= uint32_t{score[j] > threshold_} << j;
    } else {
      for (uint32_t j = 0; j < n; ++j) bits |= uint32_t{score[j] > threshold_} << j;
    }
    return bits;
  }
  void cut() {  // later items have higher numbers, so they must beat the k-th, not equal it
    if (entries_.size() < k_) return;
    const auto kth = entries_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(entries_.begin(), kth, entries_.end());
    threshold_ = kth->score;
    entries_.resize(k_);
  }
  size_t k_;
  T threshold_ = -std::numeric_limits<T>::infinity();
  std::vector<Entry> entries_;
};

}  // namespace

template <class T>
void CpuOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                      const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  const size_t n_items = h_i.rows, d = h_i.cols;
  for_blocks(users.n, user_block, [&](size_t, size_t first, size_t last) {
    const size_t block = last - first;
    T* h = scratch(user_block * (d + item_block));
    T* s = h + user_block * d;
    std::vector<Best<T>> best(block, Best<T>(item.cols));
    std::vector<int64_t> seen(block), end(block);  // next training interaction of each user
    for (size_t r = 0; r < block; ++r) {
      const auto user = static_cast<size_t>(users[first + r]);
      std::copy_n(h_u.row(user), d, h + r * d);
      best[r].clear();
      seen[r] = graph.begin.data()[user];
      end[r] = graph.begin.data()[user + 1];
    }
    // Always products of the same size: a user's scores do not depend on who else is ranked.
    std::fill(h + block * d, h + user_block * d, T(0));
    for (size_t i0 = 0; i0 < n_items; i0 += item_block) {
      const size_t width = std::min(item_block, n_items - i0);
      gemm(CblasNoTrans, CblasTrans, user_block, width, d, h, d, h_i.row(i0), d, T(0), s, width);
      for (size_t r = 0; r < block; ++r) {
        for (; seen[r] < end[r]; ++seen[r]) {
          const size_t i = static_cast<size_t>(graph.neighbour.data()[seen[r]]) - graph.n_users;
          if (i >= i0 + width) break;
          s[r * width + i - i0] = -std::numeric_limits<T>::infinity();
        }
        best[r].push(s + r * width, static_cast<int32_t>(i0), width);
      }
    }
    for (size_t r = 0; r < block; ++r) best[r].write(item.row(first + r));
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
