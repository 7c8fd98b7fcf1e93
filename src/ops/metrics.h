#pragma once
// Ranking metrics of one user, as the paper's protocol (4.3) and the released code compute them:
// shared by the CPU and the CUDA operations, in double on both.
#include <cstddef>

#include "ops/scalar.h"

namespace bm3 {

constexpr size_t n_cutoffs = 4;
/// K: where lists are cut, the c-th of n_cutoffs.
BM3_HD constexpr size_t cutoff(size_t c) {
  constexpr size_t lengths[n_cutoffs] = {5, 10, 20, 50};
  return lengths[c];
}
constexpr size_t longest_list = cutoff(n_cutoffs - 1);
static_assert(longest_list <= 64, "a user's hits are the bits of a word");

enum class Metric : size_t { recall, ndcg, precision, map };
constexpr size_t n_metrics = 4 * n_cutoffs;  // each at each cut-off, Recall's first

/// The m-th of n_metrics of a user with n > 0 held-out items. Bit r - 1 of `hits`: the item at rank
/// r is one of them. ideal [longest_list + 1]: for each n, the DCG of hits at ranks 1 .. n.
///   Recall@K = hits / n;  Precision@K = hits / K;
///   NDCG@K = sum over hits at rank r of 1/log2(r+1), over the same sum for min(n, K) hits;
///   MAP@K: (sum over hits at rank r of Precision@r) / min(n, K).
BM3_HD double user_metric(size_t m, uint64_t hits, size_t n, const double* ideal) {
  const size_t K = cutoff(m % n_cutoffs), best = n < K ? n : K;
  double found = 0, dcg = 0, precisions = 0;
  for (size_t r = 1; r <= K && hits >> (r - 1) != 0; ++r) {
    if ((hits >> (r - 1) & 1) == 0) continue;
    found += 1;
    dcg += ideal[r] - ideal[r - 1];
    precisions += found / static_cast<double>(r);
  }
  switch (static_cast<Metric>(m / n_cutoffs)) {
    case Metric::recall: return found / static_cast<double>(n);
    case Metric::ndcg: return dcg / ideal[best];
    case Metric::precision: return found / static_cast<double>(K);
    default: return precisions / static_cast<double>(best);
  }
}

}  // namespace bm3
