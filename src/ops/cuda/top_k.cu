// Ranking [Eq. 13] in two passes over the scores, which are never written: the first finds for each
// user a threshold that enough of them reach, the second lists those that do, which are few.
#include <limits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tile.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned tiles_of_part = 16;  // of items: a block's, `parts` tiles apart
constexpr unsigned tiles_of_strip = 4;  // a lane's columns in these tiles are a strip, 32 items
constexpr unsigned strips_of_part = tiles_of_part / tiles_of_strip * (side / 8);
constexpr unsigned lists_of_part = 2;    // for each user: of either half of a tile's columns
constexpr unsigned list_size = 32;       // candidates of a list,
constexpr unsigned most_listed = 256;    // and of a user
constexpr unsigned sort_threads = 128;   // of a block: each warp has a user
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
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}

/// A ranking of some users and its working memory.
template <class T>
struct Ranking {
  Matrix<int32_t> item;  // [n, k]
  Matrix<const T> h_u, h_i;
  Rows users;             // rows of h_u
  const int64_t* begin;   // of each user's training items,
  const int32_t* trained;  // nodes from n_users on
  size_t n_users, parts;
  float* strip = nullptr;      // [n, strips]: the best score of each
  float* threshold = nullptr;  // [n]
  uint32_t* listed = nullptr;  // [n, lists]: how many candidates there were
  Entry<T>* list = nullptr;    // [n, lists, list_size]: as many of them as it holds
  uint32_t* left = nullptr;    // [1 + n]: how many users the lists do not serve, and which
  T* scores = nullptr;         // [blocks, n_items] for these

  __host__ __device__ size_t strips() const { return parts * strips_of_part; }
  __host__ __device__ size_t lists() const { return parts * lists_of_part; }
  __device__ size_t n_trained(size_t r) const { return begin[users[r] + 1] - begin[users[r]]; }
  /// Item number k of those that user r has in training.
  __device__ size_t trained_item(size_t r, size_t k) const {
    return static_cast<size_t>(trained[begin[users[r]] + static_cast<int64_t>(k)]) - n_users;
  }
};

/// A block's scores of 64 users with the items of a part: calls use(scores, tile, i, n) for each of
/// the part's tiles, where a lane has the scores [4, n] of the items from i on.
template <int width, class T, class Use>
__device__ void for_scores(const Ranking<T>& of, const Use& use) {
  using Rows64 = Operand<T, true, width>;
  alignas(16) __shared__ Tiles<T> tiles;
  const unsigned part = blockIdx.y, own = threadIdx.x / warp;
  const unsigned part_row = own / 2 * 32, part_column = own % 2 * 32;
  const auto d = static_cast<unsigned>(of.h_i.cols), n_items = static_cast<unsigned>(of.h_i.rows);
  const auto parts = static_cast<unsigned>(of.parts);
  const unsigned depths = (d + depth<T> - 1) / depth<T>;
  const auto first_item = [&](unsigned tile) { return (tile * parts + part) * side; };
  const unsigned n_tiles = ((n_items + side - 1) / side + parts - 1 - part) / parts;
  Rows64 a(of.h_u, {of.users.at, of.item.rows}), b(of.h_i, {nullptr, n_items});
  a.begin(blockIdx.x * side, 0);
  b.begin(first_item(0), 0);
  Sums<T> sums{};
  unsigned read = 0, used = 0, to_read = 0, tile = 0;  // depths and tiles of them
  for_tiles<T>(
      tiles, n_tiles * depths,
      [&](T* of_A, T* of_B) {
        a.read(of_A);
        b.read(of_B);
        if (++read < depths) return;
        read = 0;
        a.back();
        b.begin(first_item(++to_read), 0);
      },
      [&](const T* of_A, const T* of_B) {
        add_product<Rows64, Rows64>(sums, of_A, of_B, part_row, part_column, d - used * depth<T>);
        if (++used < depths) return;
        const unsigned i = first_item(tile) + part_column + sums.first_column();
        use(sums, tile++, i, i < n_items ? min(8u, n_items - i) : 0u);
        used = 0;
        sums = {};
      });
}

/// Rounds down.
__device__ inline float as_threshold(float x) { return x; }
__device__ inline float as_threshold(double x) {
  const auto rounded = static_cast<float>(x);
  return static_cast<double>(rounded) > x ? nextafterf(rounded, minus_infinity<float>) : rounded;
}

/// The best score of each strip: the 8 columns that a lane has of each of four tiles.
template <int width, class T>
__global__ void __launch_bounds__(product_threads, 3) strips_kernel(Ranking<T> of) {
  constexpr T least = minus_infinity<T>;
  const unsigned lane_of_row = threadIdx.x / warp % 2 * 4 + threadIdx.x % 4;  // 8 a user
  const unsigned r = blockIdx.x * side + threadIdx.x / warp / 2 * 32 + Sums<T>::first_row();
  T best[4] = {least, least, least, least};
  const auto finish = [&](unsigned group) {
    const size_t strip = blockIdx.y * strips_of_part + group * 8 + lane_of_row;
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      if (r + j < of.item.rows) of.strip[(r + j) * of.strips() + strip] = as_threshold(best[j]);
      best[j] = least;
    }
  };
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *of.left = 0;
  unsigned done = 0;  // strips
  for_scores<width>(of, [&](const Sums<T>& s, unsigned tile, unsigned, unsigned n) {
#pragma unroll
    for (unsigned c = 0; c < 8; ++c)
#pragma unroll
      for (unsigned j = 0; j < 4; ++j)
        if (c < n && s.x[j][c] > best[j]) best[j] = s.x[j][c];
    if ((tile + 1) % tiles_of_strip == 0) finish(done++);
  });
  while (done < tiles_of_part / tiles_of_strip) finish(done++);
}

/// Numbers in the order of the floats with these bits, and back.
__device__ inline uint32_t ordered(uint32_t bits) {
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline uint32_t unordered(uint32_t key) {
  return key & 0x80000000u ? key & 0x7fffffffu : ~key;
}

/// A number that is reached by as many strips as the list is long and the user has trained on, so
/// that enough items reach it: of the largest such, the first bits. A warp a user.
template <class T>
__global__ void threshold_kernel(Ranking<T> of) {
  constexpr unsigned of_lane = 8, bits = 24;
  const unsigned lane = threadIdx.x % warp;
  const size_t r = grid_warp(), strips = of.strips();
  if (r >= of.item.rows) return;
  const auto* strip = reinterpret_cast<const uint32_t*>(of.strip) + r * strips;
  const size_t wanted = of.item.cols + of.n_trained(r);
  uint32_t key[of_lane], threshold = 0;
  const auto load = [&](size_t first) {
#pragma unroll
    for (unsigned i = 0; i < of_lane; ++i) {
      const size_t s = first + i * warp + lane;
      key[i] = s < strips ? ordered(strip[s]) : 0;
    }
  };
  load(0);
  for (uint32_t bit = 31; bit >= 32 - bits; --bit) {
    const uint32_t next = threshold | 1u << bit;
    size_t reached = 0;
    for (size_t s = 0; s < strips; s += of_lane * warp) {
      if (strips > of_lane * warp) load(s);
#pragma unroll
      for (unsigned i = 0; i < of_lane; ++i)
        reached += __popc(__ballot_sync(full_warp, key[i] >= next));
    }
    if (reached >= wanted) threshold = next;
  }
  if (lane > 0) return;
  threshold = max(threshold, ordered(0xff7fffffu));  // the lowest number: above -infinity
  reinterpret_cast<uint32_t*>(of.threshold)[r] = unordered(threshold);
}

/// Lists the items that reach their user's threshold. Four lanes have the same user: what they take
/// at once lies in the order of the lanes.
template <int width, class T>
__global__ void __launch_bounds__(product_threads, 3) candidates_kernel(Ranking<T> of) {
  const unsigned lane = threadIdx.x % warp, quad = lane / 4 * 4;
  const size_t own_list = blockIdx.y * lists_of_part + threadIdx.x / warp % 2;
  const unsigned first_row =
      blockIdx.x * side + threadIdx.x / warp / 2 * 32 + Sums<T>::first_row();
  unsigned listed[4] = {};
  T threshold[4];
#pragma unroll
  for (unsigned j = 0; j < 4; ++j)
    threshold[j] = first_row + j < of.item.rows ? static_cast<T>(of.threshold[first_row + j])
                                                : -minus_infinity<T>;
  for_scores<width>(of, [&](const Sums<T>& s, unsigned, unsigned i, unsigned n) {
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      const auto reaches = [&](unsigned c) { return c < n && s.x[j][c] >= threshold[j]; };
      bool any = false;
#pragma unroll
      for (unsigned c = 0; c < 8; ++c) any = any || reaches(c);
      if (!__any_sync(full_warp, any)) continue;
#pragma unroll
      for (unsigned c = 0; c < 8; ++c) {
        const unsigned takers = __ballot_sync(full_warp, reaches(c));
        if (takers == 0) continue;
        const unsigned of_quad = takers >> quad & 15;
        const unsigned place = listed[j] + __popc(of_quad & ((1u << lane % 4) - 1));
        if (reaches(c) && place < list_size)
          of.list[((first_row + j) * of.lists() + own_list) * list_size + place] = {
              s.x[j][c], static_cast<int32_t>(i + c)};
        listed[j] += __popc(of_quad);
      }
    }
  });
#pragma unroll
  for (unsigned j = 0; j < 4; ++j)
    if (lane % 4 == 0 && first_row + j < of.item.rows)
      of.listed[(first_row + j) * of.lists() + own_list] = listed[j];
}

/// Sorts a user's candidates: an item's place is the number of better ones. A warp a user. Users
/// with too many are left.
template <class T>
__global__ void __launch_bounds__(sort_threads) sort_kernel(Ranking<T> of) {
  __shared__ Entry<T> memory[sort_threads / warp][most_listed];
  const unsigned lane = threadIdx.x % warp;
  Entry<T>* const all = memory[threadIdx.x / warp];
  const size_t r = blockIdx.x * (sort_threads / warp) + threadIdx.x / warp;
  if (r >= of.item.rows) return;  // the whole warp
  unsigned total = 0;
  for (size_t l = lane; l - lane < of.lists(); l += warp) {
    const size_t at = r * of.lists() + l;
    const unsigned n = l < of.lists() ? of.listed[at] : 0;
    unsigned before = total, sum = 0;  // by n's binary digits
#pragma unroll
    for (unsigned bit = 0; bit < 6; ++bit) {
      const unsigned lanes = __ballot_sync(full_warp, n >> bit & 1);
      before += __popc(lanes & ((1u << lane) - 1)) << bit;
      sum += __popc(lanes) << bit;
    }
    total += __any_sync(full_warp, n > list_size) ? most_listed + 1 : sum;
    for (unsigned j = 0; j < n && total <= most_listed; ++j)
      all[before + j] = of.list[at * list_size + j];
    if (total > most_listed) break;
  }
  if (total > most_listed) {
    if (lane == 0) of.left[1 + atomicAdd(of.left, 1u)] = static_cast<uint32_t>(r);
    return;
  }
  for (size_t j = lane; j < of.item.cols; j += warp) of.item.row(r)[j] = -1;
  __syncwarp();
  const size_t n_trained = of.n_trained(r);
  for (unsigned i = lane; i < total; i += warp)
    for (size_t k = 0; k < n_trained; ++k)
      if (of.trained_item(r, k) == static_cast<size_t>(all[i].item))
        all[i].score = minus_infinity<T>;
  __syncwarp();
  for (unsigned i = lane; i < total; i += warp) {
    const Entry<T> mine = all[i];
    unsigned place = 0;
    for (unsigned j = 0; j < total; ++j) place += better(all[j], mine);
    if (mine.score > minus_infinity<T> && place < of.item.cols) of.item.row(r)[place] = mine.item;
  }
}

/// Ranks the users that are left: a warp a user, which picks its best item k times.
template <class T>
__global__ void left_kernel(Ranking<T> of) {
  const unsigned lane = threadIdx.x % warp;
  const size_t n_items = of.h_i.rows, d = of.h_i.cols;
  T* const scores = of.scores + grid_warp() * n_items;
  for (size_t u = grid_warp(); u < *of.left; u += grid_warps()) {
    const size_t r = of.left[1 + u], n_trained = of.n_trained(r);
    const T* const h_u = of.h_u.row(static_cast<size_t>(of.users[r]));
    for (size_t i = lane; i < n_items; i += warp) {
      T sum = 0;
      for (size_t c = 0; c < d; ++c) sum += h_u[c] * of.h_i.row(i)[c];
      scores[i] = sum;
    }
    __syncwarp();
    for (size_t k = lane; k < n_trained; k += warp)
      scores[of.trained_item(r, k)] = minus_infinity<T>;
    for (size_t j = 0; j < of.item.cols; ++j) {
      __syncwarp();
      Entry<T> best = {minus_infinity<T>, -1};
      for (size_t i = lane; i < n_items; i += warp)
        if (scores[i] > best.score) best = {scores[i], static_cast<int32_t>(i)};
      for (unsigned other = warp / 2; other > 0; other /= 2) {
        const Entry<T> theirs = {__shfl_xor_sync(full_warp, best.score, other),
                                 __shfl_xor_sync(full_warp, best.item, other)};
        if (better(theirs, best)) best = theirs;
      }
      if (lane > 0) continue;
      of.item.row(r)[j] = best.item;
      if (best.item >= 0) scores[best.item] = minus_infinity<T>;
    }
    __syncwarp();
  }
}

}  // namespace

template <class T>
void CudaOps<T>::top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                       const Graph<T>& graph) {
  shapes::top_k(item, h_u, h_i, users, graph);
  const size_t n = item.rows, n_items = h_i.rows;
  if (n == 0 || item.cols == 0) return;
  Ranking<T> of{item, h_u, h_i, users, graph.begin.data(), graph.neighbour.data(), graph.n_users,
                std::max<size_t>(1, blocks_of(n_items, side * tiles_of_part))};
  const size_t bytes_of_user = of.strips() * sizeof(float) + of.lists() * sizeof(uint32_t) +
                               of.lists() * list_size * sizeof(Entry<T>);
  const size_t at_once = std::min(std::max(most_bytes / bytes_of_user / side, size_t{1}) * side, n);
  const size_t blocks = std::clamp<size_t>(
      most_bytes / (n_items + 1) / sizeof(T) / warps_of_block, 1, left_blocks);
  auto& own = lane();
  of.list = own.lists.template room<Entry<T>>(at_once * of.lists() * list_size);
  of.strip = own.strips.template room<float>(at_once * (of.strips() + 1));
  of.threshold = of.strip + at_once * of.strips();
  of.listed = own.listed.template room<uint32_t>(at_once * (of.lists() + 1) + 1);
  of.left = of.listed + at_once * of.lists();
  of.scores = own.scores.template room<T>(blocks * warps_of_block * n_items);
  const auto rank = [&](auto width) {
    const dim3 tiles(blocks_of(of.item.rows, side), static_cast<unsigned>(of.parts));
    launch(stream(), tiles, product_threads, strips_kernel<width, T>, of);
    launch(stream(), blocks_of(of.item.rows, warps_of_block), block_threads, threshold_kernel<T>,
           of);
    launch(stream(), tiles, product_threads, candidates_kernel<width, T>, of);
    launch(stream(), blocks_of(of.item.rows, sort_threads / warp), sort_threads, sort_kernel<T>,
           of);
    launch(stream(), static_cast<unsigned>(blocks), block_threads, left_kernel<T>, of);
  };
  for (size_t first = 0; first < n; first += at_once) {
    of.item = item.slice(first, std::min(at_once, n - first));
    if (users.at) of.users = {users.at + first, of.item.rows};
    else of.h_u = h_u.slice(first, of.item.rows), of.begin = graph.begin.data() + first;
    constexpr int width = sizeof(T) == 4 ? widest<T> : 1;  // double is for proofs
    if (h_i.cols % width == 0 && is_aligned(of.h_u.at) && is_aligned(h_i.at))
      rank(std::integral_constant<int, width>());
    else
      rank(std::integral_constant<int, 1>());
  }
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
