// Ranking [Eq. 13] in one pass: scores stay in registers, and the few that beat a user's K-th best
// so far wait in a short list.
#include <cub/warp/warp_merge_sort.cuh>
#include <limits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tile.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned rank_users = 32, rank_items = side;  // of a tile of scores
constexpr unsigned rank_threads = 64;  // two warps, each with a half [32, 32] of it
constexpr unsigned users_of_warp = rank_users / (rank_threads / warp);  // whose lists it sorts
constexpr unsigned most_best = 64;                     // longest list of best items, after which
constexpr unsigned list_size = most_best + 2 * rank_items;  // candidates wait: two tiles' at most
constexpr unsigned entries_of_lane = list_size / warp;
constexpr size_t rank_blocks = 1024;  // the most that have lists at a time

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
struct alignas(2 * sizeof(T)) Entry {  // read and written at once
  T score;
  int32_t item;
};
template <class T>
__device__ Entry<T> nothing() {
  return {-infinity<T>, -1};
}
/// Better first; equal scores by the lower number: the order of any lists of the same entries.
struct Better {
  template <class T>
  __device__ bool operator()(const Entry<T>& a, const Entry<T>& b) const {
    return a.score > b.score || (a.score == b.score && a.item < b.item);
  }
};
template <class T>
using Sort = cub::WarpMergeSort<Entry<T>, entries_of_lane, warp>;

template <class T>
struct Ranking {
  Matrix<int32_t> item;
  Matrix<const T> h_u, h_i;
  Rows users;
  const int64_t* begin;  // the graph's
  const int32_t* neighbour;
  int32_t n_users;
  Entry<T>* lists;  // [blocks, rank_users, list_size]

  /// Sorts a user's list with its `waiting` candidates, without what the user has in the graph,
  /// and keeps the best; a warp's. Returns the score to beat.
  __device__ T sort(Entry<T>* list, unsigned waiting, int64_t user,
                    typename Sort<T>::TempStorage& memory) const {
    const unsigned lane = threadIdx.x % warp;
    Entry<T> mine[entries_of_lane];
#pragma unroll
    for (unsigned i = 0; i < entries_of_lane; ++i) {
      const unsigned place = lane * entries_of_lane + i;
      mine[i] = place < most_best + waiting ? list[place] : nothing<T>();
    }
#pragma unroll 4
    for (int64_t e = begin[user]; e < begin[user + 1]; ++e)
#pragma unroll
      for (Entry<T>& entry : mine)
        if (entry.item == neighbour[e] - n_users) entry = nothing<T>();
    Sort<T>(memory).Sort(mine, Better());
    for (unsigned i = 0; i < entries_of_lane; ++i)
      if (const unsigned place = lane * entries_of_lane + i; place < most_best)
        list[place] = mine[i];
    __syncwarp();
    return list[item.cols - 1].score;
  }
};

/// A block ranks for `rank_users` users at a time, over tiles of items in ascending order: a score
/// must beat the K-th best of earlier tiles, not equal it.
template <class T, int width>
__global__ void __launch_bounds__(rank_threads, 6) rank_kernel(Ranking<T> all) {
  using A = Operand<T, true, rank_users, depth<T>, rank_threads, width>;
  using B = Operand<T, true, rank_items, depth<T>, rank_threads, width>;
  alignas(16) __shared__ T tile_A[2][A::size], tile_B[2][B::size];
  __shared__ typename Sort<T>::TempStorage memory[rank_threads / warp];
  __shared__ T to_beat[rank_users];
  __shared__ unsigned waiting[rank_users];
  const unsigned own = threadIdx.x / warp, lane = threadIdx.x % warp;
  const unsigned part_item = own * 32;
  const size_t n_users = all.item.rows, n_items = all.h_i.rows;
  const auto steps = static_cast<unsigned>((all.h_u.cols + depth<T> - 1) / depth<T>);  // of a tile
  const size_t all_steps = (n_items + rank_items - 1) / rank_items * steps;
  Entry<T>* const lists = all.lists + size_t{blockIdx.x} * rank_users * list_size;
  A a(all.h_u, {all.users.at, n_users});
  B b(all.h_i, {nullptr, n_items});

  for (size_t first = size_t{blockIdx.x} * rank_users; first < n_users;
       first += size_t{gridDim.x} * rank_users) {
    for (unsigned u = own * users_of_warp; u < (own + 1) * users_of_warp; ++u) {
      for (unsigned k = lane; k < most_best; k += warp)
        lists[u * list_size + k] = nothing<T>();
      if (lane != 0) continue;
      waiting[u] = 0;
      to_beat[u] = first + u < n_users ? -infinity<T> : infinity<T>;  // takes all, or none
    }
    /// Keeps the scores of items i0 .. that beat a user's, and begins anew.
    const auto take = [&](Sums<T, 2, 4>& sums, size_t i0) {
      T beat[4];  // by row
#pragma unroll
      for (int k = 0; k < 4; ++k) beat[k] = to_beat[sums.row(k / 2, k % 2 * 2)];
      const auto left = static_cast<unsigned>(n_items > i0 ? min(n_items - i0, size_t{side}) : 0);
#pragma unroll
      for (int k = 0; k < 32; ++k) {
        const int i = k / 16, j = k / 4 % 4, e = k % 4;
        const T score = sums.of[i][j][e];
        sums.of[i][j][e] = 0;
        if (!(score > beat[2 * i + e / 2]) || sums.column(j, e) >= left) continue;
        const unsigned u = sums.row(i, e), place = most_best + atomicAdd(waiting + u, 1u);
        lists[u * list_size + place] = {score, static_cast<int32_t>(i0 + sums.column(j, e))};
      }
    };
    const auto sort_longer_than = [&](unsigned n) {
      for (unsigned u = own * users_of_warp; u < (own + 1) * users_of_warp; ++u) {
        if (waiting[u] <= n || first + u >= n_users) continue;
        const T score =
            all.sort(lists + u * list_size, waiting[u], all.users[first + u], memory[own]);
        if (lane == 0) {
          waiting[u] = 0;
          to_beat[u] = score;
        }
        __syncwarp();
      }
    };

    Sums<T, 2, 4> sums{};
    a.begin(first);
    size_t item = 0, scored = 0;      // first items of the tiles that are read, and scored
    unsigned parts = 0, done = 0;     // of these tiles, so far
    for (size_t step = 0; step <= all_steps; ++step) {
      const bool reads_users = step < 2 || steps > 2;  // else both parts of their rows are there
      if (step < all_steps) {
        if (parts == 0) b.begin(item);
        if (reads_users) a.read(parts * depth<T>);
        b.read(parts * depth<T>);
        if (++parts == steps) {
          parts = 0;
          item += rank_items;
        }
      }
      if (step > 0) {
        const T *const at_A = tile_A[step % 2 ^ 1], *const at_B = tile_B[step % 2 ^ 1];
        add_product(
            sums, all.h_u.cols - done * depth<T>,
            [&](unsigned r, unsigned k) { return A::at(at_A, r, k); },
            [&](unsigned c, unsigned k) { return B::at(at_B, part_item + c, k); });
        ++done;
      }
      if (done == steps) take(sums, scored + part_item);
      if (step < all_steps) {
        if (reads_users) a.write(tile_A[step % 2]);
        b.write(tile_B[step % 2]);
      }
      __syncthreads();
      if (done < steps) continue;
      done = 0;
      scored += rank_items;
      sort_longer_than(rank_items);
      __syncthreads();
    }
    sort_longer_than(0);
    for (unsigned u = own * users_of_warp; u < (own + 1) * users_of_warp; ++u)
      for (size_t k = lane; first + u < n_users && k < all.item.cols; k += warp)
        all.item.row(first + u)[k] = lists[u * list_size + k].item;
    __syncthreads();  // the next users' lists begin in the same memory
  }
}

}  // namespace

template <class T>
void CudaOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                       const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  if (item.cols > most_best)
    throw Error("the " + std::to_string(item.cols) +
                " best items were asked for; a GPU ranks up to " + std::to_string(most_best) +
                ": take a smaller K or --device cpu");
  if (item.size() == 0) return;
  const auto blocks = std::min<size_t>(rank_blocks, blocks_of(item.rows, rank_users));
  const Ranking<T> all{item, h_u, h_i, users, graph.begin.data(), graph.neighbour.data(),
                       static_cast<int32_t>(graph.n_users),
                       lane().lists.template room<Entry<T>>(blocks * rank_users * list_size)};
  const bool wide = h_i.cols % widest<T> == 0 && is_aligned(h_u.at) && is_aligned(h_i.at);
  const auto kernel = wide ? rank_kernel<T, widest<T>> : rank_kernel<T, 1>;
  launch(stream(), static_cast<unsigned>(blocks), rank_threads, kernel, all);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
