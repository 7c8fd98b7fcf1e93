// Metrics of ranked lists (paper 4.3): users in blocks, whose sums are added in block order.
#include "ops/cpu/cpu_ops.h"

namespace bm3 {
namespace {

/// See user_metric. Most users have one or two items: each is compared with the whole list.
uint64_t hits_of(const int32_t* list, size_t k, const int32_t* items, size_t n) {
  const size_t length = std::min(k, longest_list);
  uint64_t hits = 0;
  for (size_t j = 0; j < n; ++j)
#pragma omp simd reduction(| : hits)
    for (size_t r = 0; r < length; ++r) hits |= uint64_t{list[r] == items[j]} << r;
  return hits;
}

}  // namespace

// sums = over users, of each metric at each cut-off
template <class T>
void CpuOps<T>::metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
                        const double* ideal) {
  constexpr size_t metric_block = 1024;  // users whose metrics' sums are one partial sum
  partial_.assign((truth.n + metric_block - 1) / metric_block * n_metrics, 0.0);
  for_blocks(truth.n, metric_block, [&](size_t block, size_t first, size_t last) {
    double* const sum = partial_.data() + block * n_metrics;
    for (size_t t = first; t < last; ++t) {
      const size_t begin = truth.begin[t], n = truth.begin[t + 1] - begin;
      const int32_t* list = item.row(static_cast<size_t>(truth.row[t]));
      const uint64_t hits = hits_of(list, item.cols, truth.item + begin, n);
      if (hits == 0) continue;  // all are 0
      for (size_t m = 0; m < n_metrics; ++m) sum[m] += user_metric(m, hits, n, ideal);
    }
  });
  std::fill_n(sums, n_metrics, 0.0);
  for (size_t i = 0; i < partial_.size(); ++i) sums[i % n_metrics] += partial_[i];
}

template class CpuOps<float>;
template class CpuOps<double>;

}  // namespace bm3
