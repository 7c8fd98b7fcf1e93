// Ranking [Eq. 13]: scores block by block into bounded memory, and a running best list for each
// user.
#include <cub/warp/warp_merge_sort.cuh>
#include <limits>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr size_t user_block = 2048;  // scores of a block: 16 MiB in float32, so that two stay
constexpr size_t item_block = 2048;  // in the level-2 cache of a large GPU
constexpr unsigned most_best = 64;   // longest list of best items,
constexpr unsigned list_size = 128;  // and with the candidates that wait to be sorted in
constexpr unsigned entries_of_lane = list_size / warp;
constexpr unsigned sort_threads = 128;  // of a block: each warp has its list in shared memory
template <class T>
constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

template <class T>
struct alignas(2 * sizeof(T)) Entry {  // read and written at once
  T score;
  int32_t item;
};
template <class T>
__device__ Entry<T> nothing() {
  return {minus_infinity<T>, -1};
}
/// Better first; equal scores by the lower number.
struct Better {
  template <class T>
  __device__ bool operator()(const Entry<T>& a, const Entry<T>& b) const {
    return a.score > b.score || (a.score == b.score && a.item < b.item);
  }
};

/// The best items of one user so far, best first, and after them candidates that wait to be sorted
/// in: one warp's memory and methods, which all its lanes call together.
template <class T>
class BestList {
 public:
  using Sort = cub::WarpMergeSort<Entry<T>, entries_of_lane, warp>;
  struct Memory {
    Entry<T> list[list_size];
    typename Sort::TempStorage sort;
  };
  __device__ BestList(Memory& memory, unsigned k)
      : memory_(memory), k_(k), lane_(threadIdx.x % warp) {}

  /// Starts from what `save` left in `from` [list_size], or from nothing.
  __device__ void begin(const Entry<T>* from) {
    for (unsigned i = lane_; i < list_size; i += warp) {
      const Entry<T> entry = from ? from[i] : nothing<T>();
      memory_.list[i] = entry;
      waiting_ += __popc(__ballot_sync(full_warp, i >= most_best && entry.item >= 0));
    }
    __syncwarp();
    threshold_ = memory_.list[k_ - 1].score;
  }
  /// The list with what waits, unsorted: between blocks of items a sort would cost more.
  __device__ void save(Entry<T>* to) const {
    for (unsigned i = lane_; i < list_size; i += warp) to[i] = memory_.list[i];
  }
  /// Takes each lane's item with its score; -infinity marks one to leave out. Items come in
  /// ascending order from call to call, so they must beat the k-th, not equal it.
  __device__ void push(T score, int32_t item) {
    unsigned takers = __ballot_sync(full_warp, score > threshold_);
    if (takers == 0) return;
    if (waiting_ + __popc(takers) > list_size - most_best) {
      sort();
      takers = __ballot_sync(full_warp, score > threshold_);
    }
    const unsigned before = __popc(takers & ((1u << lane_) - 1));
    if (score > threshold_) memory_.list[most_best + waiting_ + before] = {score, item};
    waiting_ += __popc(takers);
    __syncwarp();
  }
  /// Sorts in what waits. Returns the list.
  __device__ const Entry<T>* sort() {
    Entry<T> mine[entries_of_lane];
    for (unsigned i = 0; i < entries_of_lane; ++i)
      mine[i] = memory_.list[lane_ * entries_of_lane + i];
    Sort(memory_.sort).Sort(mine, Better());
    for (unsigned i = 0; i < entries_of_lane; ++i) {
      const unsigned place = lane_ * entries_of_lane + i;
      memory_.list[place] = place < most_best ? mine[i] : nothing<T>();
    }
    __syncwarp();
    threshold_ = memory_.list[k_ - 1].score;
    waiting_ = 0;
    return memory_.list;
  }

 private:
  Memory& memory_;
  unsigned k_, lane_;
  unsigned waiting_ = 0;  // candidates
  T threshold_{};         // the k-th best score at the last sort
};

/// What the items of one block do to the lists of one block of users.
template <class T>
struct Selection {
  Matrix<int32_t> item;  // [n, k], written after the last items
  T* scores;             // [n, item_block], of items first .. first + width
  Entry<T>* lists;       // [n, list_size], from block to block
  Rows users;            // of all blocks, from first_user on
  const int64_t* begin;  // the graph's rows
  const int32_t* neighbour;
  int64_t n_users;
  size_t first_user, first, width;
  bool first_items, last_items;
};

/// Scores of the user's items in training become -infinity.
template <class T>
__device__ void mask_seen(T* scores, const Selection<T>& s, int64_t user) {
  const auto first = static_cast<int64_t>(s.first), width = static_cast<int64_t>(s.width);
  for (int64_t e = s.begin[user] + threadIdx.x % warp; e < s.begin[user + 1]; e += warp) {
    const int64_t i = s.neighbour[e] - s.n_users - first;
    if (i >= 0 && i < width) scores[i] = minus_infinity<T>;
  }
  __syncwarp();  // the lanes read each other's marks
}

/// A warp a user.
template <class T>
__global__ void __launch_bounds__(sort_threads) select_kernel(Selection<T> s) {
  using List = BestList<T>;
  __shared__ typename List::Memory memory[sort_threads / warp];
  const unsigned lane = threadIdx.x % warp, own = threadIdx.x / warp;
  const size_t r = static_cast<size_t>(blockIdx.x) * (sort_threads / warp) + own;
  if (r >= s.item.rows) return;  // the whole warp
  T* scores = s.scores + r * item_block;
  mask_seen(scores, s, s.users[s.first_user + r]);
  List list(memory[own], static_cast<unsigned>(s.item.cols));
  list.begin(s.first_items ? nullptr : s.lists + r * list_size);
  constexpr unsigned strips = 4;  // loads that are under way at once
  for (size_t i0 = 0; i0 < s.width; i0 += strips * warp) {
    T strip[strips];
    for (unsigned j = 0; j < strips; ++j) {
      const size_t i = i0 + j * warp + lane;
      strip[j] = i < s.width ? scores[i] : minus_infinity<T>;
    }
    for (unsigned j = 0; j < strips; ++j)
      list.push(strip[j], static_cast<int32_t>(s.first + i0 + j * warp + lane));
  }
  if (!s.last_items) return list.save(s.lists + r * list_size);
  const Entry<T>* best = list.sort();
  for (size_t j = lane; j < s.item.cols; j += warp) s.item.row(r)[j] = best[j].item;
}

}  // namespace

template <class T>
void CudaOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                       const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  const size_t n = item.rows, k = item.cols, d = h_i.cols, n_items = h_i.rows;
  if (k > most_best)
    throw Error("the " + std::to_string(k) + " best items were asked for; a GPU ranks up to " +
                std::to_string(most_best) + ": take a smaller K or --device cpu");
  if (n == 0 || k == 0) return;
  const auto rank_block = [&](size_t u0) {
    const size_t block = std::min(user_block, n - u0);
    T* const scores = lane().scores.template room<T>(user_block * (item_block + d));
    auto* const lists = lane().lists.template room<Entry<T>>(user_block * list_size);
    const Matrix<T> h{scores + user_block * item_block, user_block, d};
    copy_rows(h.slice(0, block), users.at ? h_u.at : h_u.row(u0), d,
              {users.at ? users.at + u0 : nullptr, block});
    // Always a product of the same size: a user's scores do not depend on who else is ranked.
    zero(h.row(block), (user_block - block) * d * sizeof(T));
    for (size_t i0 = 0; i0 < std::max<size_t>(n_items, 1); i0 += item_block) {
      const size_t width = std::min(item_block, n_items - i0);
      gemm(false, true, user_block, width, d, h.at, d, h_i.row(i0), d, T(0), scores, item_block);
      const Selection<T> selection{
          item.slice(u0, block), scores, lists, users, graph.begin.data(), graph.neighbour.data(),
          static_cast<int64_t>(graph.n_users), u0, i0, width, i0 == 0, i0 + width == n_items};
      launch(stream(), blocks_of(block, sort_threads / warp), sort_threads, select_kernel<T>,
             selection);
    }
  };
  for (size_t u0 = 0; u0 < n; u0 += 2 * user_block) {
    const size_t next = u0 + user_block;  // one's products run while the other's are compared
    both([&] { if (next < n) rank_block(next); }, [&] { rank_block(u0); });
  }
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
