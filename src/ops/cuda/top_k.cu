// Ranking [Eq. 13]: scores and sorts the candidates that estimates leave (candidates.h).
#include "ops/cuda/candidates.h"
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned most_listed = 512;    // candidates of a user, at most
constexpr unsigned left_block = 512;     // threads of a block, at most
constexpr size_t left_blocks = 264;      // at most, for users that the lists do not serve
constexpr size_t most_bytes = 96 << 20;  // of working memory, about

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

constexpr unsigned score_lanes = 8;  // share a score,
constexpr unsigned scores_at_once = 4;  // of each, whose loads are under way together

/// at(k) = the score of this user, of d numbers, with item(k), for k = first, first + step, .. < n;
/// lanes that share a score have the same `first`. All lanes of a warp call it.
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
  for (unsigned i = lane; i < total; i += warp)
    if (of.has_trained(r, all[i].item)) all[i].score = minus_infinity<T>;
  __syncwarp();
  constexpr unsigned at_once = 3;  // of a lane: most users have some 65
  for (unsigned first = lane; first - lane < total; first += at_once * warp) {
    Entry<T> mine[at_once];
    unsigned places[at_once] = {};
#pragma unroll
    for (unsigned m = 0; m < at_once; ++m) mine[m] = all[min(first + m * warp, total - 1)];
    for (unsigned j = 0; j < total; ++j) {
      const Entry<T> other = all[j];
#pragma unroll
      for (unsigned m = 0; m < at_once; ++m) places[m] += better(other, mine[m]);
    }
#pragma unroll
    for (unsigned m = 0; m < at_once; ++m)
      if (mine[m].score > minus_infinity<T> && places[m] < of.item.cols)
        of.item.row(r)[places[m]] = mine[m].item;
  }
}

/// Ranks the users that are left: a block a user, which picks its best item k times. Whole warps.
template <int width, class T>
__global__ void __launch_bounds__(left_block) left_kernel(Ranking<T> of) {
  __shared__ Entry<T> memory[left_block];
  const auto n_items = static_cast<unsigned>(of.h_i.rows), threads = blockDim.x;
  T* const scores = of.scores + blockIdx.x * of.h_i.rows;
  for (uint32_t u = blockIdx.x; u < *of.left; u += gridDim.x) {
    const size_t r = of.left[1 + u];
    const int32_t* const end = of.end_trained(r);
    write_scores<width>(
        of, of.user(r), threadIdx.x / score_lanes, threads / score_lanes, n_items,
        [](unsigned k) { return k; }, [&](unsigned k) -> T& { return scores[k]; });
    __syncthreads();
    for (const int32_t* node = of.first_trained(r) + threadIdx.x; node < end; node += threads)
      scores[static_cast<size_t>(*node) - of.n_users] = minus_infinity<T>;
    for (size_t j = 0; j < of.item.cols; ++j) {
      __syncthreads();
      Entry<T> best = {minus_infinity<T>, -1};
      for (unsigned i = threadIdx.x; i < n_items; i += threads)
        if (scores[i] > best.score) best = {scores[i], static_cast<int32_t>(i)};
      memory[threadIdx.x] = best;
      __syncthreads();
      if (threadIdx.x >= warp) continue;
      for (unsigned k = threadIdx.x + warp; k < threads; k += warp)
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
    launch(stream, static_cast<unsigned>(blocks),
           std::clamp(blocks_of(of.h_i.rows, warp) * warp, warp, left_block),
           left_kernel<width, T>, of);
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
  const cudaStream_t stream = this->stream_for(item, h_u, h_i);
  auto& own = lane();
  of.packed_i = own.packed.template room<Packed<T>>(
      (of.item_groups() + blocks_of(at_once, group)) * of_group);
  of.packed_u = of.packed_i + of.item_groups() * of_group;
  of.strip = own.strips.template room<float>(at_once * (of.strips() + 1));
  of.threshold = of.strip + at_once * of.strips();
  of.list = own.lists.template room<int32_t>(at_once * of.lists() * list_size);
  of.listed = own.listed.template room<uint8_t>(at_once * of.lists());
  of.left = own.left.template room<uint32_t>(at_once + 2);
  of.longest = of.left + at_once + 1;
  of.scores = own.scores.template room<T>(blocks * n_items);
  BM3_CHECK(cudaMemsetAsync(of.longest, 0, sizeof *of.longest, stream));
  for_each_row(stream, of.item_groups() * group, [=] __device__(size_t k, unsigned lane) {
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
    rank(stream, of, blocks);
  }
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
