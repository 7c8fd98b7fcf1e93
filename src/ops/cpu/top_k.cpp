// Ranking [Eq. 13]: a block of users' scores that stays in cache, a threshold instead of a sort.
#include <limits>

#include "ops/cpu/product.h"

namespace bm3 {
namespace {

constexpr size_t strip = 32;                      // scores of which the largest is noted
constexpr size_t block_scores = size_t{1} << 20;  // of a block of users, about
template <class T>
constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

template <class T>
struct Scored {
  T score;
  int32_t item;
  bool operator<(const Scored& o) const {  // better first; equal scores by the lower number
    return score > o.score || (score == o.score && item < o.item);
  }
};

/// most [n / strip] = the largest of each strip of scores [n].
template <class T>
void find_largest(std::vector<T>& most, const T* score) {
  for (T& out : most) {
    T largest = minus_infinity<T>;
#pragma omp simd reduction(max : largest)
    for (size_t j = 0; j < strip; ++j) largest = score[j] > largest ? score[j] : largest;
    out = largest;
    score += strip;
  }
}

/// Returns a number that at least k of `most` reach, near the k-th largest, by halves of their
/// range.
template <class T>
T threshold(const std::vector<T>& most, size_t k) {
  if (most.size() < k) return minus_infinity<T>;
  const auto [least, largest] = std::minmax_element(most.begin(), most.end());
  T below = *least, above = *largest;
  for (int half = 0; half < 12; ++half) {
    const T middle = below + (above - below) / 2;
    size_t n = 0;
#pragma omp simd reduction(+ : n)
    for (size_t s = 0; s < most.size(); ++s) n += most[s] >= middle ? 1 : 0;
    (n >= k ? below : above) = middle;
  }
  return below;
}

/// Bit j is set when score[j] >= least and above -infinity.
template <class T>
uint32_t reaching(const T* score, T least) {
  uint32_t bits = 0;
#pragma omp simd reduction(| : bits)
  for (uint32_t j = 0; j < strip; ++j)
    bits |= uint32_t{score[j] >= least && score[j] > minus_infinity<T>} << j;
  return bits;
}

/// item [k] = the places of the k largest scores, best first; -1 where no more are above -infinity.
template <class T>
void write_best(int32_t* item, size_t k, const T* score, std::vector<T>& most,
                std::vector<Scored<T>>& best) {
  find_largest(most, score);
  const T least = threshold(most, k);
  best.clear();
  for (size_t s = 0; s < most.size(); ++s) {
    if (most[s] < least || most[s] == minus_infinity<T>) continue;
    for (uint32_t set = reaching(score + s * strip, least); set != 0; set &= set - 1) {
      const size_t j = s * strip + static_cast<size_t>(__builtin_ctz(set));
      best.push_back({score[j], static_cast<int32_t>(j)});
    }
  }
  const size_t n = std::min(k, best.size());
  if (best.size() > 2 * k) {
    std::nth_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k), best.end());
    best.resize(k);
  }
  std::sort(best.begin(), best.end());
  for (size_t j = 0; j < k; ++j) item[j] = j < n ? best[j].item : -1;
}

}  // namespace

template <class T>
void CpuOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                      const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  constexpr size_t width = tile_columns<T>;
  static_assert(width % strip == 0 || strip % width == 0);
  const size_t d = h_i.cols, columns = (h_i.rows + strip - 1) / strip * strip;
  const size_t panels = (h_i.rows + width - 1) / width;
  shared_.resize(std::max(shared_.size(), panels * width * d));
  for_blocks(h_i.rows, width, [&](size_t panel, size_t first, size_t last) {
    copy_panel<T>(&shared_[panel * width * d], width, {h_i.row(first), 1, d}, last - first, d);
  });
  const size_t tiles = block_scores / std::max<size_t>(columns, 1) / tile_rows;
  const size_t block = std::clamp(tiles, size_t{1}, row_block / tile_rows) * tile_rows;
  for_blocks(users.n, block, [&](size_t, size_t first, size_t last) {
    const auto user = [&](size_t r) { return static_cast<size_t>(users[first + r]); };
    T* const scores = scratch(block * columns);
    for (size_t panel = 0; panel < panels; ++panel)
      multiply<T>(scores + panel * width, columns, [&](size_t r) { return h_u.row(user(r)); }, 1,
                  {&shared_[panel * width * d], width, 1}, last - first,
                  std::min(width, h_i.rows - panel * width), d, false);
    std::vector<T> most(columns / strip);
    std::vector<Scored<T>> best;
    for (size_t r = 0; r < last - first; ++r) {
      T* const score = scores + r * columns;
      std::fill(score + h_i.rows, score + columns, minus_infinity<T>);
      for (int64_t e = graph.begin.data()[user(r)]; e < graph.begin.data()[user(r) + 1]; ++e)
        score[static_cast<size_t>(graph.neighbour.data()[e]) - graph.n_users] = minus_infinity<T>;
      write_best(item.row(first + r), item.cols, score, most, best);
    }
  });
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
