#pragma once
// The propagation's sparse product [Eq. 3] by cuSPARSE.
#include "ops/cuda/runtime.h"
#include "ops/ops.h"

namespace bm3::cuda {

/// y [n_nodes, d] += a S A S x with cuSPARSE: the scaled adjacency S A S in CSR form, descriptors
/// and buffer, made once for a graph, whose arrays then stay as they are, and a d. S A S is
/// symmetric, so the transposed product is never needed.
template <class T>
class SparseProduct {
 public:
  SparseProduct(Runtime& runtime, cusparseHandle_t handle, const Graph<T>& graph, size_t d);
  /// y += a S A S x.
  void add(T* y, const T* x, T a);
  bool is_for(const Graph<T>& graph, size_t d) const {
    return begin_ == graph.begin.data() && d_ == d;
  }
  /// Returns whether `gone` holds for the address of one of the graph's arrays.
  template <class Gone>
  bool uses(const Gone& gone) const {
    return gone(begin_) || gone(neighbour_) || gone(scale_);
  }

 private:
  cusparseHandle_t handle_;
  const int64_t* begin_;
  const int32_t* neighbour_;
  const T* scale_;
  size_t d_;
  Workspace begin32_, value_, buffer_;  // cuSPARSE wants both kinds of indices of one type
  Owned<cusparseSpMatDescr_t, cusparseDestroySpMat> matrix_;
  Owned<cusparseDnMatDescr_t, cusparseDestroyDnMat> x_, y_;
};

}  // namespace bm3::cuda
