// Ranking [Eq. 13] in two passes over estimates of the scores, which are never written: the first
// finds for each user a threshold that enough of them reach, the second lists the items that do or
// might, which are few. These are then scored and sorted.
#include <cfloat>
#include <cstring>
#include <limits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/packed.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned groups_of_part = 16;  // of items: a block's, `parts` groups apart
constexpr unsigned groups_of_strip = 4;  // a lane's columns of these groups are a strip, 32 items
constexpr unsigned strips_of_part = groups_of_part / groups_of_strip * 4;
constexpr unsigned lists_of_part = 4;    // a user's in a block: each lane has one
constexpr unsigned list_size = 16;       // candidates of a list,
constexpr unsigned most_listed = 512;    // and of a user
constexpr unsigned warps_of_small = 4;   // warps of a block with shared memory, or many registers
constexpr unsigned small_block = warps_of_small * warp;
constexpr unsigned left_block = 512;
constexpr size_t left_blocks = 264;      // at most, for users that the lists do not serve
constexpr size_t most_bytes = 96 << 20;  // of working memory, about
template <class T>
constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

template <class T>
struct alignas(2 * sizeof(T)) Entry {  // read and written at once
  T score;
  int32_t item;
};
/// Better first; equal scores by the lower number.
template <class T>
__device__ bool better(const Entry<T>& a, const Entry<T>& b) {
  return (a.score > b.score) | ((a.score == b.score) & (a.item < b.item));  // without branches
}

/// A ranking of some users and its working memory.
template <class T>
struct Ranking {
  Matrix<int32_t> item;  // [n, k]
  Matrix<const T> h_u, h_i;
  Rows users;              // rows of h_u
  const int64_t* begin;    // of each user's training items,
  const int32_t* trained;  // nodes from n_users on
  size_t n_users, parts;
  T *packed_u = nullptr, *packed_i = nullptr;  // [groups, steps, group * step]
  uint32_t* longest = nullptr;  // |h_i| at most, a float's bits
  float* strip = nullptr;       // [n, strips]: the best estimate of each
  float* threshold = nullptr;   // [n]: |h_u|, and then what to reach
  uint8_t* listed = nullptr;    // [n, lists]: how many candidates there were
  int32_t* list = nullptr;      // [n, lists, list_size]: as many of them as it holds
  uint32_t* left = nullptr;     // [1 + n]: how many users the lists do not serve, and which
  T* scores = nullptr;          // [warps, n_items] for these

  __host__ __device__ size_t strips() const { return parts * strips_of_part; }
  __host__ __device__ size_t lists() const { return parts * lists_of_part; }
  __device__ size_t n_trained(size_t r) const { return begin[users[r] + 1] - begin[users[r]]; }
  /// Item number k of those that user r has in training.
  __device__ size_t trained_item(size_t r, size_t k) const {
    return static_cast<size_t>(trained[begin[users[r]] + static_cast<int64_t>(k)]) - n_users;
  }
  __device__ const T* user(size_t r) const { return h_u.row(static_cast<size_t>(users[r])); }
  __host__ __device__ size_t steps() const { return (h_i.cols + step - 1) / step; }
  __host__ __device__ size_t item_groups() const { return (h_i.rows + group - 1) / group; }
};

constexpr unsigned score_lanes = 8;  // share a score,
constexpr unsigned scores_at_once = 4;  // of each, whose loads are under way together

/// Writes the score of this user, of d numbers, with item(k) at(k) for k = first, first + step, .. <
/// n; lanes that share a score have the same `first`. All lanes of a warp call it.
template <int width, class T, class At, class Item>
__device__ void write_scores(const Ranking<T>& of, const T* h_u, unsigned first, unsigned step,
                             unsigned n, const Item& item, const At& at) {
  const auto d = static_cast<unsigned>(of.h_i.cols);
  const unsigned own = threadIdx.x % score_lanes;
  for (unsigned k0 = first; k0 - first < n; k0 += scores_at_once * step) {
    const T* h_i[scores_at_once];
    T sum[scores_at_once] = {};
#pragma unroll
    for (unsigned m = 0; m < scores_at_once; ++m)  // beyond the end the last one again
      h_i[m] = of.h_i.at + size_t{item(min(k0 + m * step, n - 1))} * d;
    for (unsigned c = own * width; c < d; c += score_lanes * width) {
      const Vector<T, width> of_u = vector_at<width>(h_u + c);
#pragma unroll
      for (unsigned m = 0; m < scores_at_once; ++m) {
        const Vector<T, width> of_i = vector_at<width>(h_i[m] + c);
        for (int k = 0; k < width; ++k) sum[m] += of_u.x[k] * of_i.x[k];
      }
    }
#pragma unroll
    for (unsigned m = 0; m < scores_at_once; ++m) {
      for (unsigned other = score_lanes / 2; other > 0; other /= 2)
        sum[m] += __shfl_xor_sync(full_warp, sum[m], other);
      if (own == 0 && k0 + m * step < n) at(k0 + m * step) = sum[m];
    }
  }
}

/// The first user of the warp's group in kernels of estimates.
__device__ inline unsigned first_user() {
  return (blockIdx.x * warps_of_small + threadIdx.x / warp) * group;
}

/// A warp's estimates for a group of users and a part's groups of items, of which a group has every
/// item_groups'th, since a user's best items are often neighbours: calls use(estimates, i, n,
/// distance) for each of them; a lane has the estimates [4, min(n, 8)] of the items i,
/// i + distance, ..
template <class T, class Use>
__device__ void for_estimates(const Ranking<T>& of, const Use& use) {
  const auto n_items = static_cast<unsigned>(of.h_i.rows), parts = static_cast<unsigned>(of.parts);
  const auto n_groups = static_cast<unsigned>(of.item_groups());
  const size_t steps = of.steps(), size = steps * group * step;
  const T* const users = of.packed_u + first_user() / group * size;
  for (unsigned i = blockIdx.y; i < n_groups; i += parts) {
    const T* const items = of.packed_i + i * size;
    Sums<T> sums{};
    for (size_t at = 0; at < size; at += group * step) add_packed(sums, users + at, items + at);
    const unsigned column = sums.first_column(), columns = (n_items - i + n_groups - 1) / n_groups;
    use(sums, i + column * n_groups, column < columns ? columns - column : 0u, n_groups);
  }
}

/// Rounds down.
__device__ inline float as_threshold(float x) { return x; }
__device__ inline float as_threshold(double x) {
  const auto rounded = static_cast<float>(x);
  return static_cast<double>(rounded) > x ? nextafterf(rounded, minus_infinity<float>) : rounded;
}

/// The best estimate of each strip: the 8 columns that a lane has of each of four groups.
template <class T>
__global__ void __launch_bounds__(small_block, 4) strips_kernel(Ranking<T> of) {
  if (first_user() >= of.item.rows) return;  // the whole warp
  const size_t r = first_user() + Sums<T>::first_row();
  float* const strip = of.strip + r * of.strips() + blockIdx.y * strips_of_part + threadIdx.x % 4;
  T best[4];
  const auto clear = [&] {
    for (T& each : best) each = minus_infinity<T>;
  };
  const auto write = [&](unsigned k) {
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
      if (r + j < of.item.rows) strip[j * of.strips() + k * 4] = as_threshold(best[j]);
    clear();
  };
  clear();
  unsigned done = 0;  // groups
  for_estimates(of, [&](const Sums<T>& s, unsigned, unsigned n, unsigned) {
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
#pragma unroll
      for (unsigned c = 0; c < 8; ++c)
        if (c < n) best[j] = max(best[j], s.x[j][c]);
    if (++done % groups_of_strip == 0) write(done / groups_of_strip - 1);
  });
  for (unsigned k = done / groups_of_strip; k < groups_of_part / groups_of_strip; ++k) write(k);
}

/// Numbers in the order of the floats with these bits, and back.
__device__ inline uint32_t ordered(uint32_t bits) {
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline uint32_t unordered(uint32_t key) {
  return key & 0x80000000u ? key & 0x7fffffffu : ~key;
}

/// What an item that belongs in the list reaches: as many strips as the list is long and the user
/// has trained on reach a number, and with it as many items; both estimates may be off. Of the
/// largest such number the first bits. A warp a user.
template <class T>
__global__ void threshold_kernel(Ranking<T> of) {
  constexpr unsigned of_lane = 8, bits = 18;
  const unsigned lane = threadIdx.x % warp, strips = static_cast<unsigned>(of.strips());
  const size_t r = grid_warp();
  if (r >= of.item.rows) return;
  const auto* strip = reinterpret_cast<const uint32_t*>(of.strip) + r * strips;
  const auto wanted = static_cast<unsigned>(of.item.cols + of.n_trained(r));
  uint32_t key[of_lane], reached_by_enough = 0;
  const auto load = [&](unsigned first) {
#pragma unroll
    for (unsigned i = 0; i < of_lane; ++i) {
      const unsigned s = first + i * warp + lane;
      key[i] = s < strips ? ordered(strip[s]) : 0;
    }
  };
  load(0);
  for (uint32_t bit = 31; bit >= 32 - bits; --bit) {
    const uint32_t next = reached_by_enough | 1u << bit;
    unsigned reached = 0;
    for (unsigned s = 0; s < strips; s += of_lane * warp) {
      if (strips > of_lane * warp) load(s);
#pragma unroll
      for (unsigned i = 0; i < of_lane; ++i)
        reached += __popc(__ballot_sync(full_warp, key[i] >= next));
    }
    if (reached >= wanted) reached_by_enough = next;
  }
  constexpr float lowest = -FLT_MAX;
  float longest, reached = lowest;
  std::memcpy(&longest, of.longest, sizeof longest);
  const float error = of.threshold[r] * longest * estimate_error(of.h_u.cols);
  const uint32_t number = unordered(max(reached_by_enough, ordered(0xff7fffffu)));
  std::memcpy(&reached, &number, sizeof reached);
  __syncwarp();  // all have read the length
  if (lane == 0) of.threshold[r] = max(reached - 2 * error, lowest);
}

/// Lists the items that reach their user's threshold, a lane in lists of its own.
template <class T>
__global__ void __launch_bounds__(small_block, 4) candidates_kernel(Ranking<T> of) {
  if (first_user() >= of.item.rows) return;  // the whole warp
  const size_t r = first_user() + Sums<T>::first_row();
  const size_t first = of.lists() * r + blockIdx.y * lists_of_part + threadIdx.x % 4;
  uint32_t listed = 0;  // of the lane's four users, a byte each: at most 128
  T threshold[4];
#pragma unroll
  for (unsigned j = 0; j < 4; ++j)
    threshold[j] = r + j < of.item.rows ? static_cast<T>(of.threshold[r + j]) : -minus_infinity<T>;
  for_estimates(of, [&](const Sums<T>& s, unsigned i, unsigned n, unsigned distance) {
    uint32_t reach = 0;  // bits 8 j + c
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
#pragma unroll
      for (unsigned c = 0; c < 8; ++c)
        if (s.x[j][c] >= threshold[j] && c < n) reach |= 1u << (8 * j + c);
    for (; reach != 0; reach &= reach - 1) {
      const auto bit = static_cast<unsigned>(__ffs(static_cast<int>(reach)) - 1), j = bit / 8;
      const unsigned n_listed = listed >> 8 * j & 255;
      if (n_listed < list_size)
        of.list[(first + j * of.lists()) * list_size + n_listed] =
            static_cast<int32_t>(i + bit % 8 * distance);
      listed += 1u << 8 * j;
    }
  });
#pragma unroll
  for (unsigned j = 0; j < 4; ++j)
    if (r + j < of.item.rows)
      of.listed[first + j * of.lists()] = static_cast<uint8_t>(listed >> 8 * j);
}

/// Scores a user's candidates and sorts them: an item's place is the number of better ones. A warp
/// a user. Users with too many are left.
template <int width, class T>
__global__ void __launch_bounds__(small_block) sort_kernel(Ranking<T> of) {
  __shared__ Entry<T> memory[warps_of_small][most_listed];
  const unsigned lane = threadIdx.x % warp, lists = static_cast<unsigned>(of.lists());
  Entry<T>* const all = memory[threadIdx.x / warp];
  const size_t r = blockIdx.x * warps_of_small + threadIdx.x / warp;
  if (r >= of.item.rows) return;  // the whole warp
  unsigned total = 0;
  for (unsigned l = lane; l - lane < lists && total <= most_listed; l += warp) {
    const size_t at = r * lists + l;
    const unsigned n = l < lists ? of.listed[at] : 0;
    unsigned before = total;
#pragma unroll
    for (unsigned bit = 0; bit < 8; ++bit) {  // sums of n's binary digits
      const unsigned lanes = __ballot_sync(full_warp, n >> bit & 1);
      before += __popc(lanes & ((1u << lane) - 1)) << bit;
      total += __popc(lanes) << bit;
    }
    if (__any_sync(full_warp, n > list_size)) total = most_listed + 1;
    for (unsigned j = 0; j < n && total <= most_listed; ++j)
      all[before + j].item = of.list[at * list_size + j];
  }
  if (total > most_listed) {
    if (lane == 0) of.left[1 + atomicAdd(of.left, 1u)] = static_cast<uint32_t>(r);
    return;
  }
  for (size_t j = lane; j < of.item.cols; j += warp) of.item.row(r)[j] = -1;
  __syncwarp();
  write_scores<width>(
      of, of.user(r), lane / score_lanes, warp / score_lanes, total,
      [&](unsigned k) { return static_cast<unsigned>(all[k].item); },
      [&](unsigned k) -> T& { return all[k].score; });
  __syncwarp();
  const size_t n_trained = of.n_trained(r);
  for (size_t first = 0; first < n_trained; first += warp) {
    const int32_t own =
        first + lane < n_trained ? static_cast<int32_t>(of.trained_item(r, first + lane)) : -1;
    for (unsigned k = 0; k < warp && first + k < n_trained; ++k) {
      const int32_t item = __shfl_sync(full_warp, own, k);
      for (unsigned i = lane; i < total; i += warp)
        if (all[i].item == item) all[i].score = minus_infinity<T>;
    }
  }
  __syncwarp();
  for (unsigned i = lane; i < total; i += warp) {
    const Entry<T> mine = all[i];
    unsigned place = 0;
    for (unsigned j = 0; j < total; ++j) place += better(all[j], mine);
    if (mine.score > minus_infinity<T> && place < of.item.cols) of.item.row(r)[place] = mine.item;
  }
}

/// Ranks the users that are left: a block a user, which picks its best item k times.
template <int width, class T>
__global__ void __launch_bounds__(left_block) left_kernel(Ranking<T> of) {
  __shared__ Entry<T> memory[left_block];
  const auto n_items = static_cast<unsigned>(of.h_i.rows);
  T* const scores = of.scores + blockIdx.x * of.h_i.rows;
  for (uint32_t u = blockIdx.x; u < *of.left; u += gridDim.x) {
    const size_t r = of.left[1 + u], n_trained = of.n_trained(r);
    write_scores<width>(
        of, of.user(r), threadIdx.x / score_lanes, left_block / score_lanes, n_items,
        [](unsigned k) { return k; }, [&](unsigned k) -> T& { return scores[k]; });
    __syncthreads();
    for (size_t k = threadIdx.x; k < n_trained; k += left_block)
      scores[of.trained_item(r, k)] = minus_infinity<T>;
    for (size_t j = 0; j < of.item.cols; ++j) {
      __syncthreads();
      Entry<T> best = {minus_infinity<T>, -1};
      for (unsigned i = threadIdx.x; i < n_items; i += left_block)
        if (scores[i] > best.score) best = {scores[i], static_cast<int32_t>(i)};
      memory[threadIdx.x] = best;
      __syncthreads();
      if (threadIdx.x >= warp) continue;
      for (unsigned k = threadIdx.x + warp; k < left_block; k += warp)
        if (better(memory[k], best)) best = memory[k];
      for (unsigned other = warp / 2; other > 0; other /= 2) {
        const Entry<T> theirs = {__shfl_xor_sync(full_warp, best.score, other),
                                 __shfl_xor_sync(full_warp, best.item, other)};
        if (better(theirs, best)) best = theirs;
      }
      if (threadIdx.x > 0) continue;
      of.item.row(r)[j] = best.item;
      if (best.item >= 0) scores[best.item] = minus_infinity<T>;
    }
    __syncthreads();
  }
}

/// Ranks these users; `blocks` share of.scores.
template <class T>
void rank(cudaStream_t stream, const Ranking<T>& of, size_t blocks) {
  const size_t n = of.item.rows, n_groups = blocks_of(n, group);
  const size_t of_group = of.steps() * group * step;
  for_each_row(stream, n_groups * group, [=] __device__(size_t r, unsigned lane) {
    const float length = pack<false>(of.packed_u + r / group * of_group, r % group,
                                     r < n ? of.user(r) : nullptr, of.h_u.cols);
    if (lane == 0 && r < n) of.threshold[r] = length;
    if (lane == 0 && r == 0) *of.left = 0;
  });
  const dim3 parts(blocks_of(n_groups, warps_of_small), static_cast<unsigned>(of.parts));
  launch(stream, parts, small_block, strips_kernel<T>, of);
  launch(stream, blocks_of(n, warps_of_block), block_threads, threshold_kernel<T>, of);
  launch(stream, parts, small_block, candidates_kernel<T>, of);
  by_width<T>(of.h_i.cols, 1, {of.h_u.at, of.h_i.at}, [&](auto width) {
    launch(stream, blocks_of(n, warps_of_small), small_block, sort_kernel<width, T>, of);
    launch(stream, static_cast<unsigned>(blocks), left_block, left_kernel<width, T>, of);
  });
}

}  // namespace

template <class T>
void CudaOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                       const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  const size_t n = item.rows, n_items = h_i.rows;
  if (n == 0 || item.cols == 0) return;
  Ranking<T> of{item, h_u, h_i, users, graph.begin.data(), graph.neighbour.data(), graph.n_users,
                std::max<size_t>(1, blocks_of(n_items, group * groups_of_part))};
  const size_t bytes_of_user = 4 * (of.strips() + of.lists() * list_size);  // and some more
  const size_t at_once =
      std::min(std::max(most_bytes / bytes_of_user / group, size_t{1}) * group, n);
  const size_t blocks = std::clamp<size_t>(most_bytes / (n_items + 1) / sizeof(T), 1, left_blocks);
  const size_t of_group = of.steps() * group * step;
  auto& own = lane();
  of.packed_i = own.packed.template room<T>(
      (of.item_groups() + blocks_of(at_once, group)) * of_group);
  of.packed_u = of.packed_i + of.item_groups() * of_group;
  of.strip = own.strips.template room<float>(at_once * (of.strips() + 1));
  of.threshold = of.strip + at_once * of.strips();
  of.list = own.lists.template room<int32_t>(at_once * of.lists() * list_size);
  of.listed = own.listed.template room<uint8_t>(at_once * of.lists());
  of.left = own.left.template room<uint32_t>(at_once + 2);
  of.longest = of.left + at_once + 1;
  of.scores = own.scores.template room<T>(blocks * n_items);
  zero(of.longest, sizeof *of.longest);
  for_each_row(stream(), of.item_groups() * group, [=] __device__(size_t k, unsigned lane) {
    const size_t i = k % group * of.item_groups() + k / group;
    const float length = pack<true>(of.packed_i + k / group * of_group, k % group,
                                    i < of.h_i.rows ? of.h_i.row(i) : nullptr, of.h_i.cols);
    uint32_t bits;
    std::memcpy(&bits, &length, sizeof bits);
    if (lane == 0) atomicMax(of.longest, bits);  // in the order of the numbers: they are not < 0
  });
  for (size_t first = 0; first < n; first += at_once) {
    of.item = item.slice(first, std::min(at_once, n - first));
    if (users.at) {
      of.users = {users.at + first, of.item.rows};
    } else {
      of.h_u = h_u.slice(first, of.item.rows);
      of.begin = graph.begin.data() + first;
    }
    rank(stream(), of, blocks);
  }
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
