// LightGCN's sparse product [Eq. 3], with the read-out's terms [Eq. 4] in the same pass; and by
// cuSPARSE.
#include <climits>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr int64_t long_row = 64;  // rows with more neighbours are shared by a block's warps
/// Neighbours whose rows are loaded together: what the registers hold at four blocks a
/// multiprocessor, the most that every architecture takes.
template <class T>
constexpr int at_once = 32 / sizeof(T);

/// y = a S A S x + b z and the graph's arrays, as a kernel takes them.
template <class T>
struct Propagation {
  T* y;
  const T *x, *z;
  T a, b_user, b_item;
  const int64_t* begin;
  const int32_t* neighbour;
  const T* scale;
  int64_t n_users, n_nodes;
  size_t d;
};

/// sum_j s_j x_j over the neighbours j at first .. last, in columns c .. c + width of each lane
/// with c < d. All loads of a batch of neighbours are under way before the first is added.
template <int width, class T>
__device__ Vector<T, width> neighbour_sum(const Propagation<T>& p, int64_t first, int64_t last,
                                          size_t c) {
  Vector<T, width> sum{};
  if (c >= p.d) return sum;
  constexpr int n = at_once<T>;
  for (int64_t e = first; e < last; e += n) {
    int32_t j[n];
    T s[n];
    Vector<T, width> x[n];
#pragma unroll
    for (int k = 0; k < n; ++k) j[k] = e + k < last ? p.neighbour[e + k] : -1;
#pragma unroll
    for (int k = 0; k < n; ++k) {
      s[k] = j[k] >= 0 ? p.scale[j[k]] : T(0);
      x[k] = j[k] >= 0 ? vector_at<width>(p.x + static_cast<size_t>(j[k]) * p.d + c)
                       : Vector<T, width>{};
    }
#pragma unroll
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < width; ++i) sum.x[i] += s[k] * x[k].x[i];
  }
  return sum;
}

/// y = a s_r sum() + b z in the lane's columns of a row; z is loaded while the sum is formed.
template <int width, class T, class Sum>
__device__ void write_row(const Propagation<T>& p, int64_t node, size_t c, const Sum& sum) {
  if (c >= p.d) return;
  const size_t at = static_cast<size_t>(node) * p.d + c;
  const T a_r = p.a * p.scale[node], b = node < p.n_users ? p.b_user : p.b_item;
  const Vector<T, width> z = vector_at<width>(p.z + at);
  Vector<T, width> y = sum();
  for (int i = 0; i < width; ++i) y.x[i] = a_r * y.x[i] + b * z.x[i];
  vector_at<width>(p.y + at) = y;
}

/// A warp a row; then all warps together each of the block's long rows. The last rows come first:
/// items have the longest lists, and one that starts late would keep the GPU waiting.
template <int width, class T>
__global__ void __launch_bounds__(block_threads, 4) propagate_kernel(Propagation<T> p) {
  __shared__ Vector<T, width> part[warps_of_block][warp];
  const unsigned own = threadIdx.x / warp, lane = threadIdx.x % warp;
  const int64_t top = p.n_nodes - 1 - static_cast<int64_t>(blockIdx.x) * warps_of_block;
  const int64_t node = top - own, of_lane = top - lane;  // the block's rows: top, top - 1, ..
  const bool is_long = lane < warps_of_block && of_lane >= 0 && p.a != T(0) &&
                       p.begin[of_lane + 1] - p.begin[of_lane] > long_row;
  const unsigned long_rows = __ballot_sync(full_warp, is_long);  // the same in every warp
  for (size_t tile = 0; tile < p.d; tile += warp * width) {
    const size_t c = tile + lane * width;
    if (node >= 0 && (long_rows >> own & 1) == 0)
      write_row<width>(p, node, c, [&] {
        return p.a != T(0) ? neighbour_sum<width>(p, p.begin[node], p.begin[node + 1], c)
                           : Vector<T, width>{};
      });
    for (unsigned left = long_rows; left != 0; left &= left - 1) {
      const int64_t r = top - (__ffs(static_cast<int>(left)) - 1);
      const int64_t first = p.begin[r], last = p.begin[r + 1];
      const int64_t each = (last - first + warps_of_block - 1) / warps_of_block;
      const int64_t from = first + own * each;
      part[own][lane] = neighbour_sum<width>(p, from, min(from + each, last), c);
      __syncthreads();
      if (own == 0)
        write_row<width>(p, r, c, [&] {
          Vector<T, width> sum = part[0][lane];
          for (unsigned k = 1; k < warps_of_block; ++k)
            for (int i = 0; i < width; ++i) sum.x[i] += part[k][lane].x[i];
          return sum;
        });
      __syncthreads();
    }
  }
}

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

constexpr auto plain = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr auto algorithm = CUSPARSE_SPMM_CSR_ALG3;  // the one that gives the same bits in every run

}  // namespace

template <class T>
cuda::SparseProduct<T>::SparseProduct(Runtime& runtime, cusparseHandle_t with,
                                      const Graph<T>& graph, size_t d)
    : handle(with), begin(graph.begin.data()), neighbour(graph.neighbour.data()),
      scale(graph.scale.data()), begin32(runtime), value(runtime), buffer(runtime) {
  const size_t edges = graph.neighbour.size(), nodes = graph.n_nodes();
  if (edges > INT_MAX)
    throw Error("a graph of " + std::to_string(edges / 2) +
                " interactions exceeds cuSPARSE's limit");
  auto* const begins = begin32.template room<int32_t>(nodes + 1);
  T* const values = value.template room<T>(edges);
  launch(runtime.stream(), blocks_of(nodes + 1, warps_of_block), block_threads,
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
  BM3_CHECK(cusparseSpMM_bufferSize(handle, plain, plain, &one, matrix.get(), on_x.get(), &one,
                                    on_y.get(), real<T>, algorithm, &bytes));
  auto* const at = buffer.template room<char>(bytes + 1);
  runtime.zero(at, bytes + 1);  // cuSPARSE may read what it has not written
  BM3_CHECK(cusparseSpMM_preprocess(handle, plain, plain, &one, matrix.get(), on_x.get(), &one,
                                    on_y.get(), real<T>, algorithm, at));
}

template <class T>
void cuda::SparseProduct<T>::add(T* y, const T* x, T a) {
  const T one = 1;
  BM3_CHECK(cusparseDnMatSetValues(on_x.get(), const_cast<T*>(x)));
  BM3_CHECK(cusparseDnMatSetValues(on_y.get(), y));
  BM3_CHECK(cusparseSpMM(handle, plain, plain, &a, matrix.get(), on_x.get(), &one, on_y.get(),
                         real<T>, algorithm, buffer.template room<char>(0)));
}

// y = a S A S x + b z
template <class T>
void CudaOps<T>::propagate(Matrix<T> y, ConstMatrix<T> x, ConstMatrix<T> z, T a, T b_user, T b_item,
                           const Graph<T>& graph) {
  shapes::propagate(y, x, z, graph);
  const bool by_cusparse = lane().sparse && a != T(0) && graph.neighbour.size() > 0 &&
                           !graph.changes;  // cuSPARSE's form of a graph is made once
  const Propagation<T> p{y.at, x.at, z.at, by_cusparse ? T(0) : a, b_user, b_item,
                         graph.begin.data(), graph.neighbour.data(), graph.scale.data(),
                         static_cast<int64_t>(graph.n_users), static_cast<int64_t>(y.rows), y.cols};
  by_width<T>(y.cols, warp, {y.at, x.at, z.at}, [&](auto width) {
    launch(stream(), blocks_of(y.rows, warps_of_block), block_threads, propagate_kernel<width, T>,
           p);
  });
  if (!by_cusparse) return;
  const auto [product, is_new] = lane().products.try_emplace(
      {graph.begin.data(), y.cols}, *this, lane().sparse.get(), graph, y.cols);
  product->second.add(y.at, x.at, a);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
