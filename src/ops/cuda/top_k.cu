// Ranking [Eq. 13] in one pass: scores stay in registers, and the few that beat a user's K-th best
// so far wait in a short list.
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/entries.h"
#include "ops/cuda/tile.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned rank_users = 32, rank_items = side;  // of a tile of scores
constexpr unsigned rank_threads = 64;  // two warps, each with a half [32, 32] of it
constexpr unsigned users_of_warp = rank_users / (rank_threads / warp);  // whose lists it sorts
constexpr unsigned most_best = 2 * warp;                    // longest list of best items
constexpr unsigned list_size = most_best + 2 * rank_items;  // and with candidates: of two tiles
constexpr unsigned entries_of_lane = list_size / warp;
constexpr size_t rank_blocks = 1024;  // the most that have lists at a time

template <class T>
struct Ranking {
  Matrix<int32_t> item;
  Matrix<const T> h_u, h_i;
  Rows users;
  const int64_t* begin;  // the graph's
  const int32_t* neighbour;
  int32_t n_users;
  const T *norm_u, *norm_i;  // of h_u[users] and of h_i
  Entry<T>* lists;           // [blocks, rank_users, list_size]

  /// A user's list, of estimates after the first `exact` entries.
  struct List {
    Entry<T>* at;
    unsigned length, exact;
    int64_t user;
  };

  /// Returns h_u . h_i.
  template <int width>
  __device__ T score(int64_t user, int32_t i) const {
    const T *u = h_u.row(static_cast<size_t>(user)), *v = h_i.row(static_cast<size_t>(i));
    T sum = 0;
#pragma unroll 4
    for (size_t c = 0; c < h_u.cols; c += width) {
      const Vector<T, width> u_c = vector_at<width>(u + c), v_c = vector_at<width>(v + c);
      for (int k = 0; k < width; ++k) sum += u_c.x[k] * v_c.x[k];
    }
    return sum;
  }
  /// Reads n of a list's entries from place `first` on, 32 i + lane to x[i], with exact scores:
  /// nothing beyond its length, and in place of what the user has in the graph.
  template <int width, unsigned n>
  __device__ void read(Entry<T> (&x)[n], const List& list, unsigned first) const {
#pragma unroll
    for (unsigned i = 0; i < n; ++i) {
      const unsigned place = first + warp * i + threadIdx.x % warp;
      x[i] = place < list.length ? list.at[place] : nothing<T>();
      if (place >= list.exact && place < list.length)
        x[i].score = score<width>(list.user, x[i].item);
    }
#pragma unroll 4
    for (int64_t e = begin[list.user]; e < begin[list.user + 1]; ++e)
#pragma unroll
      for (Entry<T>& entry : x)
        if (entry.item == neighbour[e] - n_users) entry = nothing<T>();
  }
  /// Sorts a list and keeps its best 64; a warp's. Returns the K-th best score.
  template <int width>
  __device__ T sort(const List& list) const {
    Entries<T> best;
    read<width>(best.x, list, 0);
    best.sort();
    for (unsigned first = most_best; first < list.length; first += most_best) {
      Entries<T> more;
      read<width>(more.x, list, first);
      more.sort();
      best.take_best(more);
    }
    __syncwarp();
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) list.at[warp * i + threadIdx.x % warp] = best.x[i];
    __syncwarp();
    return list.at[item.cols - 1].score;
  }
  /// Shortens a list to between K and 64 entries, the K best among them; a warp's. Returns its
  /// length, and sets the score to beat: K entries have no less. Finds it by halving the range of
  /// scores; where equal ones leave none, sorts.
  template <int width>
  __device__ unsigned cut(T& to_beat, const List& list) const {
    Entry<T> mine[entries_of_lane];
    read<width>(mine, list, 0);
    const auto count = [&](Key<T> least) {
      unsigned n = 0;
#pragma unroll
      for (const Entry<T>& entry : mine)
        n += __popc(__ballot_sync(full_warp, entry.item >= 0 && key_of(entry.score) >= least));
      return n;
    };
    Key<T> low = key_of(to_beat), high = low, least = low;
    for (const Entry<T>& entry : mine) high = max(high, key_of(entry.score));
    for (unsigned other = warp / 2; other > 0; other /= 2)
      high = max(high, __shfl_xor_sync(full_warp, high, other));
    ++high;
    for (unsigned n = count(low); n > most_best || n < item.cols; n = count(least)) {
      if (n > most_best)
        low = least;
      else if (least == low)
        break;  // fewer than K are left: all are kept
      else
        high = least;
      if (high - low <= 1) {
        to_beat = sort<width>(list);
        return most_best;
      }
      least = low + (high - low) / 2;
    }
    unsigned kept = 0;
#pragma unroll
    for (const Entry<T>& entry : mine) {
      const bool keeps = entry.item >= 0 && key_of(entry.score) >= least;
      const unsigned those = __ballot_sync(full_warp, keeps);
      if (keeps) list.at[kept + __popc(those & ((1u << threadIdx.x % warp) - 1))] = entry;
      kept += __popc(those);
    }
    __syncwarp();
    to_beat = score_of<T>(least);
    return kept;
  }
};

/// Of the lists of a block's users, in shared memory.
template <class T>
struct Lists {
  T to_beat[rank_users];
  unsigned length[rank_users], exact[rank_users];
};

/// A block's users, `first` and those after it, of whose lists each warp keeps its own.
template <class T, int width>
struct Users {
  const Ranking<T>& all;
  Lists<T>& lists;
  Entry<T>* entries;  // [rank_users, list_size]
  size_t first;

  __device__ bool has(unsigned u) const { return first + u < all.item.rows; }
  /// Number of the warp's first user.
  __device__ static unsigned own() { return threadIdx.x / warp * users_of_warp; }
  __device__ typename Ranking<T>::List list(unsigned u) const {
    return {entries + u * list_size, lists.length[u], lists.exact[u], all.users[first + u]};
  }

  /// Empties the lists.
  __device__ void begin() const {
    const unsigned u = own() + threadIdx.x % warp;
    if (u >= own() + users_of_warp) return;
    lists.length[u] = lists.exact[u] = 0;
    lists.to_beat[u] = has(u) ? -infinity<T> : infinity<T>;  // takes all, or none
  }
  /// Keeps the items i0 .. that may beat a user's, by estimates, and begins new sums.
  __device__ void take(Sums<T, 2, 4>& sums, unsigned i0) const {
    T beat[4], off_u[4], off_i[8];  // by row and by column: an estimate may be off by off_u off_i
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const unsigned u = sums.row(k / 2, k % 2 * 2);
      beat[k] = lists.to_beat[u];
      off_u[k] = has(u) ? all.norm_u[first + u] * T(estimate_error) : T(0);
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const unsigned i = i0 + sums.column(k / 2, k % 2);
      off_i[k] = i < all.h_i.rows ? all.norm_i[i] : -infinity<T>;  // takes none beyond
    }
#pragma unroll
    for (int k = 0; k < 32; ++k) {
      const int i = k / 16, j = k / 4 % 4, e = k % 4, row = 2 * i + e / 2, column = 2 * j + e % 2;
      const T score = sums.of[i][j][e];
      sums.of[i][j][e] = 0;
      if (!(score + off_u[row] * off_i[column] > beat[row])) continue;
      const unsigned u = sums.row(i, e), place = atomicAdd(lists.length + u, 1u);
      entries[u * list_size + place] = {score, static_cast<int32_t>(i0 + sums.column(j, e))};
    }
  }
  /// Makes room for a tile's items in the warp's lists.
  __device__ void make_room() const {
    const unsigned lane = threadIdx.x % warp;
    unsigned full = __ballot_sync(
        full_warp, lane < users_of_warp &&
                       lists.length[own() + lane % users_of_warp] > list_size - rank_items);
    for (; full != 0; full &= full - 1) {
      const unsigned u = own() + (__ffs(static_cast<int>(full)) - 1);
      T to_beat = lists.to_beat[u];
      const unsigned left = all.template cut<width>(to_beat, list(u));
      if (lane != 0) continue;
      lists.length[u] = lists.exact[u] = left;
      lists.to_beat[u] = to_beat;
    }
  }
  /// Writes the warp's users' items.
  __device__ void write() const {
    for (unsigned u = own(); u < own() + users_of_warp && has(u); ++u) {
      all.template sort<width>(list(u));
      for (size_t k = threadIdx.x % warp; k < all.item.cols; k += warp)
        all.item.row(first + u)[k] = entries[u * list_size + k].item;
    }
  }
};

/// A block ranks for `rank_users` users at a time, over tiles of items in ascending order: a score
/// must beat the K-th best of earlier tiles, not equal it. Estimates of all scores, in TF32, leave
/// out most items: only those that could beat it are scored in full.
template <class T, int width>
__global__ void __launch_bounds__(rank_threads, 6) rank_kernel(Ranking<T> all) {
  using A = Operand<T, true, rank_users, depth<T>, rank_threads, width>;
  using B = Operand<T, true, rank_items, depth<T>, rank_threads, width>;
  alignas(16) __shared__ T tile_A[2][A::size], tile_B[2][B::size];
  __shared__ Lists<T> lists;
  const unsigned part_item = threadIdx.x / warp * 32;
  const auto n_items = static_cast<unsigned>(all.h_i.rows);
  const auto steps = static_cast<unsigned>((all.h_u.cols + depth<T> - 1) / depth<T>);  // of a tile
  const unsigned all_steps = (n_items + rank_items - 1) / rank_items * steps;
  A a(all.h_u, {all.users.at, all.item.rows});
  B b(all.h_i, {nullptr, n_items});
  Users<T, width> users{all, lists, all.lists + size_t{blockIdx.x} * rank_users * list_size,
                        size_t{blockIdx.x} * rank_users};
  for (; users.has(0); users.first += size_t{gridDim.x} * rank_users) {
    users.begin();
    a.begin(static_cast<unsigned>(users.first));
    Sums<T, 2, 4> sums{};
    unsigned item = 0, scored = 0;  // first items of the tiles that are read, and scored
    unsigned parts = 0, done = 0;   // of these tiles, so far
    for (unsigned step = 0; step <= all_steps; ++step) {
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
        add_product<false>(
            sums, all.h_u.cols - done * depth<T>,
            [&](unsigned r, unsigned k) { return A::at(at_A, r, k); },
            [&](unsigned c, unsigned k) { return B::at(at_B, part_item + c, k); });
        if (++done == steps) users.take(sums, scored + part_item);
      }
      if (step < all_steps) {
        if (reads_users) a.write(tile_A[step % 2]);
        b.write(tile_B[step % 2]);
      }
      __syncthreads();
      if (done < steps) continue;
      done = 0;
      scored += rank_items;
      users.make_room();
      __syncthreads();
    }
    users.write();
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
  T* const norms = lane().scores.template room<T>(item.rows + h_i.rows);
  for_each_row(stream(), item.rows + h_i.rows, [=] __device__(size_t r, unsigned) {
    const T* const x = r < item.rows ? h_u.row(static_cast<size_t>(users[r]))
                                     : h_i.row(r - item.rows);
    norms[r] = std::sqrt(dot_of_warp(x, x, h_i.cols));
  });
  const Ranking<T> all{item, h_u, h_i, users, graph.begin.data(), graph.neighbour.data(),
                       static_cast<int32_t>(graph.n_users), norms, norms + item.rows,
                       lane().lists.template room<Entry<T>>(blocks * rank_users * list_size)};
  const bool wide = h_i.cols % widest<T> == 0 && is_aligned(h_u.at) && is_aligned(h_i.at);
  const auto kernel = wide ? rank_kernel<T, widest<T>> : rank_kernel<T, 1>;
  launch(stream(), static_cast<unsigned>(blocks), rank_threads, kernel, all);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
