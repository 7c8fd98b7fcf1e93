// Metrics of ranked lists (paper 4.3): a warp a user, and sums over the grid.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

static_assert(n_metrics <= warp && block_threads % n_metrics == 0, "a lane has one metric");

/// See user_metric. Each item is compared with 32 ranks of the list at once.
__device__ uint64_t hits_of(const int32_t* list, size_t k, const int32_t* items, size_t n) {
  uint64_t hits = 0;
  for (unsigned first = 0; first < longest_list && first < k; first += warp) {
    const unsigned r = first + threadIdx.x % warp;
    const int32_t listed = r < longest_list && r < k ? list[r] : -1;
    bool hit = false;
    for (size_t j = 0; j < n; ++j) hit |= items[j] == listed;
    hits |= uint64_t{__ballot_sync(full_warp, hit)} << first;
  }
  return hits;
}

/// In thread m < n_metrics, the sum of `mine` of the block's threads m, m + n_metrics, ...
__device__ double sum_of_block(double mine) {
  __shared__ double all[block_threads];
  __syncthreads();  // what an earlier call left there has been read
  all[threadIdx.x] = mine;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x < n_metrics)
    for (unsigned t = threadIdx.x; t < block_threads; t += n_metrics) sum += all[t];
  return sum;
}

/// Lane m has metric m. memory.partial is [blocks, n_metrics] here.
__global__ void metrics_kernel(double* sums, Matrix<const int32_t> item, Truth truth,
                               const double* ideal, GridSum memory) {
  const unsigned lane = threadIdx.x % warp;
  double sum = 0;
  for (size_t t = grid_warp(); t < truth.n; t += grid_warps()) {
    const size_t begin = truth.begin[t], n = truth.begin[t + 1] - begin;
    const int32_t* list = item.row(static_cast<size_t>(truth.row[t]));
    const uint64_t hits = hits_of(list, item.cols, truth.item + begin, n);
    if (hits != 0 && lane < n_metrics) sum += user_metric(lane, hits, n, ideal);
  }
  sum = sum_of_block(sum);
  if (threadIdx.x < n_metrics) memory.partial[blockIdx.x * n_metrics + threadIdx.x] = sum;
  if (!last_block(memory.counter)) return;
  sum = 0;
  for (size_t i = threadIdx.x; i < gridDim.x * n_metrics; i += block_threads)
    sum += __ldcg(memory.partial + i);
  sum = sum_of_block(sum);
  if (threadIdx.x < n_metrics) sums[threadIdx.x] = sum;
}

}  // namespace

// sums = over users, of each metric at each cut-off
template <class T>
void CudaOps<T>::metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
                         const double* ideal) {
  const unsigned blocks = std::max(blocks_of_sum(truth.n, warps_of_block), 1u);  // 0 for nobody
  const GridSum memory{lane().metric_parts.template room<double>(blocks * n_metrics),
                       grid_sum().counter};
  launch(stream(), blocks, metrics_kernel, sums, item, truth, ideal, memory);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
