// Metrics of ranked lists (paper 4.3): a warp a user, and sums over the grid.
#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

static_assert(n_metrics <= warp && warp % n_metrics == 0, "a lane has one metric");
static_assert(sum_blocks * n_metrics <= most_partial_sums);

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

/// Lane m has metric m.
__global__ void metrics_kernel(double* sums, Matrix<const int32_t> item, Truth truth,
                               const double* ideal, double* partial) {
  const unsigned lane = threadIdx.x % warp;
  double mine = 0;
  for (size_t t = grid_warp(); t < truth.n; t += grid_warps()) {
    const size_t begin = truth.begin[t], n = truth.begin[t + 1] - begin;
    const int32_t* list = item.row(static_cast<size_t>(truth.row[t]));
    const uint64_t hits = hits_of(list, item.cols, truth.item + begin, n);
    if (hits != 0 && lane < n_metrics) mine += user_metric(lane, hits, n, ideal);
  }
  sum_over_grid(mine, n_metrics, partial, [&](double sum) { sums[threadIdx.x] = sum; });
}

}  // namespace

// sums = over users, of each metric at each cut-off
template <class T>
void CudaOps<T>::metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
                         const double* ideal) {
  const cudaStream_t stream = this->stream_for(Matrix<double>{sums, 1, n_metrics}, item);
  launch(stream, blocks_of_sum(truth.n), block_threads, metrics_kernel, sums, item, truth, ideal,
         partial_sums());
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
