#pragma once
// CUB's sum over a block, on the CPU. See cuda_runtime.h.
#include <limits>

#include "cuda_runtime.h"

namespace cub {

template <class T, int threads>
class BlockReduce {
 public:
  struct TempStorage {
    T all[threads];
  };
  explicit BlockReduce(TempStorage& memory) : memory_(memory) {}
  /// In the first thread; the others get nothing that they may use.
  T Sum(T mine) {
    memory_.all[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x != 0) return std::numeric_limits<T>::quiet_NaN();
    for (unsigned t = 1; t < threads; ++t) mine += memory_.all[t];
    return mine;
  }

 private:
  TempStorage& memory_;
};

}  // namespace cub
