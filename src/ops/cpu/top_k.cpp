// Ranking [Eq. 13]: a block of users' scores that stays in cache, a threshold instead of a sort.
#include <limits>

#include "ops/cpu/product.h"

namespace bm3 {
namespace {

constexpr size_t strip = 32;                      // scores of which the largest is noted
constexpr size_t block_scores = size_t{1} << 20;  // of a block of users, about
constexpr uint32_t word = 32;                     // scores whose comparisons are bits of a word
constexpr size_t few = 256;                       // candidates whose places are counted
template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
struct Scored {
  T score;
  int32_t item;
  /// Better first; equal scores by the lower number. Without branches, whose outcomes are random.
  bool operator<(const Scored& o) const {
    return (score > o.score) | ((score == o.score) & (item < o.item));
  }
};

/// most [n / strip] = the largest of each strip of scores [n]: of every (n / strip)'th, since a
/// user's best items are often neighbours.
template <class T>
void find_largest(std::vector<T>& most, const T* score) {
  using V = typename Lanes<T>::Vector;
  for (size_t s = 0; s < most.size(); s += lanes<T>) {
    V largest = V{} - infinity<T>;
    for (size_t j = 0; j < strip; ++j) {
      const V x = *reinterpret_cast<const V*>(score + j * most.size() + s);
      largest = x > largest ? x : largest;
    }
    *reinterpret_cast<V*>(&most[s]) = largest;
  }
}

/// Returns a number that at least k of `most` reach, near the k-th largest, by halves of their
/// range; the lowest one where fewer than k are above -infinity.
template <class T>
T threshold(const std::vector<T>& most, size_t k) {
  T below = infinity<T>, above = -infinity<T>;
#pragma omp simd reduction(min : below) reduction(max : above)
  for (size_t s = 0; s < most.size(); ++s) {
    const T least = most[s] > -infinity<T> ? most[s] : infinity<T>;
    below = least < below ? least : below;
    above = most[s] > above ? most[s] : above;
  }
  const auto enough_reach = [&](T x) {
    uint32_t n = 0;
#pragma omp simd reduction(+ : n)
    for (size_t s = 0; s < most.size(); ++s) n += most[s] >= x;
    return n >= k;
  };
  if (!enough_reach(below)) return std::numeric_limits<T>::lowest();
  for (int half = 0; half < 10; ++half) {
    const T middle = below + (above - below) / 2;
    (enough_reach(middle) ? below : above) = middle;
  }
  return below;
}

/// Bit j is set when score[j] >= least.
template <class T>
uint32_t reaching(const T* score, T least) {
  uint32_t bits = 0;
#pragma omp simd reduction(| : bits)
  for (uint32_t j = 0; j < word; ++j) bits |= uint32_t{score[j] >= least} << j;
  return bits;
}

/// A user's scores [n] and what of them may be in its list.
template <class T>
class Candidates {
 public:
  explicit Candidates(size_t n) : most_(n / strip), words_(n / word) {}

  /// item [k] = the places of the k largest scores, best first; -1 where no more are above
  /// -infinity.
  void write_best(int32_t* item, size_t k, const T* score) {
    list(score, k);
    std::fill_n(item, k, -1);
    const size_t n = best_.size();
    if (n > few) {
      const size_t listed = std::min(k, n);
      std::partial_sort(best_.begin(), best_.begin() + static_cast<std::ptrdiff_t>(listed),
                        best_.end());
      for (size_t j = 0; j < listed; ++j) item[j] = best_[j].item;
      return;
    }
    uint32_t place[few] = {};  // the number of better ones
    for (const Scored<T>& other : best_)
#pragma omp simd
      for (size_t c = 0; c < n; ++c) place[c] += other < best_[c];
    for (size_t c = 0; c < n; ++c)
      if (place[c] < k) item[place[c]] = best_[c].item;
  }

 private:
  /// best_ = k of the largest scores and some more, if so many are above -infinity.
  void list(const T* score, size_t k) {
    find_largest(most_, score);
    const T least = threshold(most_, k);
    size_t n = 0;  // words that have some
    for (uint32_t w = 0; w < words_.size(); ++w) {
      words_[n] = {reaching(score + w * word, least), w * word};
      n += words_[n].bits != 0;
    }
    best_.clear();
    for (size_t i = 0; i < n; ++i)
      for (uint32_t set = words_[i].bits; set != 0; set &= set - 1) {
        const size_t j = words_[i].first + static_cast<size_t>(__builtin_ctz(set));
        best_.push_back({score[j], static_cast<int32_t>(j)});
      }
  }

  struct Word {
    uint32_t bits, first;
  };
  std::vector<T> most_;  // of each strip
  std::vector<Word> words_;
  std::vector<Scored<T>> best_;
};

}  // namespace

template <class T>
void CpuOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                      const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  constexpr size_t strips = strip * lanes<T>;  // whose largest are a vector
  const size_t columns = (h_i.rows + strips - 1) / strips * strips;
  const Panels<T> of_items = panels(h_i, true);
  const size_t tiles = block_scores / std::max<size_t>(columns, 1) / tile_rows;
  const size_t block = std::clamp(tiles, size_t{1}, row_block / tile_rows) * tile_rows;
  for_blocks(users.n, block, [&](size_t, size_t first, size_t last) {
    const auto user = [&](size_t r) { return static_cast<size_t>(users[first + r]); };
    T* const scores = scratch(block * columns);
    multiply<false>(scores, columns, [&](size_t r) { return h_u.row(user(r)); }, last - first,
                    of_items);
    Candidates<T> candidates(columns);
    for (size_t r = 0; r < last - first; ++r) {
      T* const score = scores + r * columns;
      std::fill(score + h_i.rows, score + columns, -infinity<T>);
      for (int64_t e = graph.begin.data()[user(r)]; e < graph.begin.data()[user(r) + 1]; ++e)
        score[static_cast<size_t>(graph.neighbour.data()[e]) - graph.n_users] = -infinity<T>;
      candidates.write_best(item.row(first + r), item.cols, score);
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
