#pragma once
// Ranking's two passes over estimates of the scores, which are never written: the first finds for
// each user a threshold that enough of them reach, the second lists the items that reach it or
// might, which are few.
#include <cfloat>
#include <limits>

#include "ops/cuda/packed.h"
#include "ops/ops.h"

namespace bm3::cuda {

constexpr unsigned groups_of_part = 16;  // of items: a block's, `parts` groups apart
constexpr unsigned groups_of_strip = 4;  // a lane's columns of these groups are a strip, 32 items
constexpr unsigned strips_of_part = groups_of_part / groups_of_strip * 4;
constexpr unsigned lists_of_part = 4;   // a user's in a block: each lane has one
constexpr unsigned list_size = 16;      // candidates of a list
constexpr unsigned warps_of_small = 4;  // warps of a block with much memory
constexpr unsigned small_block = warps_of_small * warp;
template <class T>
constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

/// A ranking of some users and its working memory.
template <class T>
struct Ranking {
  Matrix<int32_t> item;  // [n, k]
  Matrix<const T> h_u, h_i;
  Rows users;              // rows of h_u
  const int64_t* begin;    // of each user's training items,
  const int32_t* trained;  // nodes from n_users on
  size_t n_users, parts;
  Packed<T> *packed_u = nullptr, *packed_i = nullptr;  // [groups, steps, group * step]
  uint32_t* longest = nullptr;  // |h_i| at most, a float's bits
  float* strip = nullptr;       // [n, strips]: the best estimate of each
  float* threshold = nullptr;   // [n]: |h_u|, and then what to reach
  uint8_t* listed = nullptr;    // [n, lists]: how many candidates there were
  int32_t* list = nullptr;      // [n, lists, list_size]: as many of them as it holds
  uint32_t* left = nullptr;     // [1 + n]: how many users the lists do not serve, and which
  T* scores = nullptr;          // [blocks, n_items] for these

  __host__ __device__ size_t strips() const { return parts * strips_of_part; }
  __host__ __device__ size_t lists() const { return parts * lists_of_part; }
  /// Returns where user r's training items begin and end, in ascending order.
  __device__ const int32_t* first_trained(size_t r) const { return trained + begin[users[r]]; }
  __device__ const int32_t* end_trained(size_t r) const { return trained + begin[users[r] + 1]; }
  __device__ bool has_trained(size_t r, int32_t i) const {
    const int32_t *first = first_trained(r), *end = end_trained(r);
    const auto node = static_cast<int32_t>(n_users) + i;
    while (end - first > 1) {
      const int32_t* const middle = first + (end - first) / 2;
      (*middle <= node ? first : end) = middle;
    }
    return first < end && *first == node;
  }
  __device__ const T* user(size_t r) const { return h_u.row(static_cast<size_t>(users[r])); }
  __host__ __device__ size_t steps() const { return (h_i.cols + step - 1) / step; }
  __host__ __device__ size_t item_groups() const { return (h_i.rows + group - 1) / group; }
};

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
  const Packed<T>* const users = of.packed_u + first_user() / group * size;
  for (unsigned i = blockIdx.y; i < n_groups; i += parts) {
    const Packed<T>* const items = of.packed_i + i * size;
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
  const auto wanted = static_cast<unsigned>(of.item.cols) +
                      static_cast<unsigned>(of.end_trained(r) - of.first_trained(r));
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
  const float error = estimate_error(of.threshold[r], longest, of.h_u.cols);
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

}  // namespace bm3::cuda
