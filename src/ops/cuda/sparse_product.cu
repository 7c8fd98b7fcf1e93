#include "ops/cuda/sparse_product.h"

#include <climits>

#include "ops/cuda/kernel.h"

namespace bm3::cuda {
namespace {

/// value[e] = s_r s_j for each edge e = (r, j), and the rows' first edges in 32 bits: a warp a row.
template <class T>
__global__ void scaled_adjacency_kernel(T* value, int32_t* begin32, const int64_t* begin,
                                        const int32_t* neighbour, const T* scale, size_t n) {
  const size_t r = grid_warp();
  const unsigned lane = threadIdx.x % warp;
  if (r > n) return;
  if (lane == 0) begin32[r] = static_cast<int32_t>(begin[r]);
  if (r == n) return;
  for (int64_t e = begin[r] + lane; e < begin[r + 1]; e += warp)
    value[e] = scale[r] * scale[neighbour[e]];
}

template <class T>
constexpr cudaDataType type = sizeof(T) == 4 ? CUDA_R_32F : CUDA_R_64F;
constexpr auto plain = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr auto algorithm = CUSPARSE_SPMM_CSR_ALG3;  // the one that gives the same bits in every run

}  // namespace

template <class T>
SparseProduct<T>::SparseProduct(Runtime& runtime, cusparseHandle_t handle, const Graph<T>& graph,
                                size_t d)
    : handle_(handle),
      begin_(graph.begin.data()),
      neighbour_(graph.neighbour.data()),
      scale_(graph.scale.data()),
      d_(d),
      begin32_(runtime),
      value_(runtime),
      buffer_(runtime) {
  const size_t edges = graph.neighbour.size();
  if (edges > INT_MAX)
    throw Error("a graph of " + std::to_string(edges / 2) +
                " interactions exceeds cuSPARSE's limit");
  const size_t nodes = graph.n_nodes();
  auto* begin32 = begin32_.template room<int32_t>(nodes + 1);
  T* value = value_.template room<T>(edges);
  launch(runtime.stream(), blocks_of(nodes + 1, warps_of_block), scaled_adjacency_kernel<T>, value,
         begin32, begin_, neighbour_, scale_, nodes);

  // The matrix is only read; cuSPARSE's type has no const.
  const auto n = static_cast<int64_t>(nodes), columns = static_cast<int64_t>(d);
  cusparseSpMatDescr_t matrix = nullptr;
  BM3_CHECK(cusparseCreateCsr(&matrix, n, n, static_cast<int64_t>(edges), begin32,
                              const_cast<int32_t*>(neighbour_), value, CUSPARSE_INDEX_32I,
                              CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, type<T>));
  matrix_.reset(matrix);
  for (auto* dense : {&x_, &y_}) {  // the addresses come with each product; here any will do
    cusparseDnMatDescr_t description = nullptr;
    BM3_CHECK(cusparseCreateDnMat(&description, n, columns, columns, value, type<T>,
                                  CUSPARSE_ORDER_ROW));
    dense->reset(description);
  }
  const T one = 1;
  size_t bytes = 0;
  BM3_CHECK(cusparseSpMM_bufferSize(handle, plain, plain, &one, matrix, x_.get(), &one, y_.get(),
                                    type<T>, algorithm, &bytes));
  auto* const buffer = buffer_.template room<char>(bytes + 1);
  runtime.zero(buffer, bytes + 1);  // cuSPARSE may read what it has not written
  BM3_CHECK(cusparseSpMM_preprocess(handle, plain, plain, &one, matrix, x_.get(), &one, y_.get(),
                                    type<T>, algorithm, buffer));
}

template <class T>
void SparseProduct<T>::add(T* y, const T* x, T a) {
  const T one = 1;
  BM3_CHECK(cusparseDnMatSetValues(x_.get(), const_cast<T*>(x)));
  BM3_CHECK(cusparseDnMatSetValues(y_.get(), y));
  BM3_CHECK(cusparseSpMM(handle_, plain, plain, &a, matrix_.get(), x_.get(), &one, y_.get(),
                         type<T>, algorithm, buffer_.template room<char>(0)));
}

template class SparseProduct<float>;
template class SparseProduct<double>;

}  // namespace bm3::cuda
