// LightGCN's sparse product [Eq. 3], with the read-out's terms [Eq. 4] in the same pass; and by
// cuSPARSE.
#include <climits>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/row_sums.h"

namespace bm3 {
namespace {

using namespace cuda;

/// y = a S A S x + b z and the graph's arrays, as a kernel takes them.
template <class T>
struct Propagation {
  using Real = T;
  T* y;
  const T *x, *z;
  T a_all, b_user, b_item;
  const int64_t* first;
  const int32_t* neighbour;
  const T* scale;
  int64_t n_users, n_rows;
  size_t d;

  /// Without a, no row has entries.
  __device__ int64_t begin(int64_t r) const { return a_all != T(0) ? first[r] : 0; }
  __device__ int32_t column(int64_t e) const { return neighbour[e]; }
  __device__ T weight(int64_t, int32_t j) const { return scale[j]; }
  __device__ T a(int64_t r) const { return a_all * scale[r]; }
  __device__ T b(int64_t r) const { return r < n_users ? b_user : b_item; }
};

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

constexpr auto as_is = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr auto algorithm = CUSPARSE_SPMM_CSR_ALG3;  // the one that gives the same bits in every run

}  // namespace

template <class T>
cuda::SparseProduct<T>::SparseProduct(Runtime& runtime, cudaStream_t stream,
                                      cusparseHandle_t with, const Graph<T>& graph, size_t d)
    : handle(with), begin(graph.begin.data()), neighbour(graph.neighbour.data()),
      scale(graph.scale.data()), begin32(runtime), value(runtime), buffer(runtime) {
  const size_t edges = graph.neighbour.size(), nodes = graph.n_nodes();
  if (edges > INT_MAX)
    throw Error("a graph of ", edges / 2, " interactions exceeds cuSPARSE's limit");
  auto* const begins = begin32.template room<int32_t>(nodes + 1);
  T* const values = value.template room<T>(edges);
  launch(stream, blocks_of(nodes + 1, warps_of_block), block_threads,
         scaled_adjacency_kernel<T>, values, begins, begin, neighbour, scale, nodes);

  // The matrix is only read; cuSPARSE's type has no const.
  const auto n = static_cast<int64_t>(nodes), columns = static_cast<int64_t>(d);
  BM3_CHECK(cusparseCreateCsr(Into(matrix), n, n, static_cast<int64_t>(edges), begins,
                              const_cast<int32_t*>(neighbour), values, CUSPARSE_INDEX_32I,
                              CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, real<T>));
  for (auto* dense : {&on_x, &on_y})  // the addresses come with each product; here any will do
    BM3_CHECK(cusparseCreateDnMat(Into(*dense), n, columns, columns, values, real<T>,
                                  CUSPARSE_ORDER_ROW));
  const T one = 1;
  size_t bytes = 0;
  BM3_CHECK(cusparseSpMM_bufferSize(handle, as_is, as_is, &one, matrix.get(), on_x.get(), &one,
                                    on_y.get(), real<T>, algorithm, &bytes));
  auto* const at = buffer.template room<char>(bytes + 1);
  BM3_CHECK(cudaMemsetAsync(at, 0, bytes + 1, stream));  // cuSPARSE may read it before it writes
  BM3_CHECK(cusparseSpMM_preprocess(handle, as_is, as_is, &one, matrix.get(), on_x.get(), &one,
                                    on_y.get(), real<T>, algorithm, at));
}

template <class T>
void cuda::SparseProduct<T>::add(T* y, const T* x, T a) {
  const T one = 1;
  BM3_CHECK(cusparseDnMatSetValues(on_x.get(), const_cast<T*>(x)));
  BM3_CHECK(cusparseDnMatSetValues(on_y.get(), y));
  BM3_CHECK(cusparseSpMM(handle, as_is, as_is, &a, matrix.get(), on_x.get(), &one, on_y.get(),
                         real<T>, algorithm, buffer.template room<char>(0)));
}

// y = a S A S x + b z
template <class T>
void CudaOps<T>::propagate(Matrix<T> y, ConstMatrix<T> x, ConstMatrix<T> z, T a, T b_user, T b_item,
                           const Graph<T>& graph) {
  shapes::propagate(y, x, z, graph);
  const cudaStream_t stream = this->stream_for(y, x, z);
  const bool by_cusparse = lane().sparse && a != T(0) && graph.neighbour.size() > 0 &&
                           !graph.changes;  // cuSPARSE's form of a graph is made once
  const Propagation<T> p{y.at, x.at, z.at, by_cusparse ? T(0) : a, b_user, b_item,
                         graph.begin.data(), graph.neighbour.data(), graph.scale.data(),
                         static_cast<int64_t>(graph.n_users), static_cast<int64_t>(y.rows), y.cols};
  sum_rows(stream, p, {y.at, x.at, z.at});
  if (!by_cusparse) return;
  const auto [product, is_new] = lane().products.try_emplace(
      {graph.begin.data(), y.cols}, *this, stream, lane().sparse.get(), graph, y.cols);
  product->second.add(y.at, x.at, a);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
