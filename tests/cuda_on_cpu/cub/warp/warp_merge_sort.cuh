#pragma once
// CUB's sort of a warp's numbers, on the CPU. See cuda_runtime.h.
#include "cuda_runtime.h"

namespace cub {

template <class T, unsigned each, unsigned lanes>
class WarpMergeSort {
 public:
  struct TempStorage {
    T all[each * lanes];
  };
  explicit WarpMergeSort(TempStorage& memory) : memory_(memory) {}
  template <class Less>
  void Sort(T (&mine)[each], Less less) {
    T* const own = memory_.all + threadIdx.x % lanes * each;
    std::copy_n(mine, each, own);
    __syncwarp();
    if (threadIdx.x % lanes == 0) std::sort(memory_.all, memory_.all + each * lanes, less);
    __syncwarp();
    std::copy_n(own, each, mine);
  }

 private:
  TempStorage& memory_;
};

}  // namespace cub
