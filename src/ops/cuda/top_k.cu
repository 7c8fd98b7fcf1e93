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

/// What the scores [n, item_block] of the items first .. first + width do to the lists
/// [n, list_size] of the users first_user ..; item [n, k] is written after the last of n_items. A
/// warp a user.
template <class T>
__global__ void __launch_bounds__(sort_threads)
    select_kernel(Matrix<int32_t> item, T* scores, Entry<T>* lists, Rows users, size_t first_user,
                  const int64_t* begin, const int32_t* neighbour, size_t n_users, size_t first,
                  size_t width, size_t n_items) {
  using List = BestList<T>;
  __shared__ typename List::Memory memory[sort_threads / warp];
  const unsigned lane = threadIdx.x % warp, own = threadIdx.x / warp;
  const size_t r = static_cast<size_t>(blockIdx.x) * (sort_threads / warp) + own;
  if (r >= item.rows) return;  // the whole warp
  scores += r * item_block;
  lists += r * list_size;
  const int64_t user = users[first_user + r];  // whose items in training score -infinity
  for (int64_t e = begin[user] + lane; e < begin[user + 1]; e += warp)
    if (const size_t i = static_cast<size_t>(neighbour[e]) - n_users; i - first < width)
      scores[i - first] = minus_infinity<T>;
  __syncwarp();  // the lanes read each other's marks
  List list(memory[own], static_cast<unsigned>(item.cols));
  list.begin(first == 0 ? nullptr : lists);
  constexpr unsigned strips = 4;  // loads that are under way at once
  for (size_t i0 = 0; i0 < width; i0 += strips * warp) {
    T strip[strips];
    for (unsigned j = 0; j < strips; ++j) {
      const size_t i = i0 + j * warp + lane;
      strip[j] = i < width ? scores[i] : minus_infinity<T>;
    }
    for (unsigned j = 0; j < strips; ++j)
      list.push(strip[j], static_cast<int32_t>(first + i0 + j * warp + lane));
  }
  if (first + width < n_items) return list.save(lists);
  const Entry<T>* best = list.sort();
  for (size_t j = lane; j < item.cols; j += warp) item.row(r)[j] = best[j].item;
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
      launch(stream(), blocks_of(block, sort_threads / warp), sort_threads, select_kernel<T>,
             item.slice(u0, block), scores, lists, users, u0, graph.begin.data(),
             graph.neighbour.data(), graph.n_users, i0, width, n_items);
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
