// Rows of a batch and the dropout masks of their views [Eq. 5].
#include <curand_kernel.h>

#include "ops/cuda/cuda_ops.h"

namespace bm3 {
namespace {

using namespace cuda;

/// y [n, d] = x[rows] in vectors E; `distance`: from row to row of x.
template <class E>
__global__ void copy_rows_kernel(Matrix<E> y, const E* x, size_t distance, Rows rows) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= y.rows || c >= y.cols) return;
  y.row(r)[c] = rows[r] < 0 ? E{} : x[static_cast<size_t>(rows[r]) * distance + c];
}

/// y[rows] += x [n, d], a thread `width` columns.
template <int width, class T>
__global__ void add_rows_kernel(Matrix<T> y, Matrix<const T> x, Rows rows) {
  const size_t r = matrix_row(), c = matrix_column() * width;
  if (r >= x.rows || c >= x.cols || rows[r] < 0) return;
  const Vector<T, width> more = vector_at<width>(x.row(r) + c);
  T* const to = y.row(static_cast<size_t>(rows[r])) + c;
  Vector<T, width> sum = vector_at<width>(to);
  for (int k = 0; k < width; ++k) sum.x[k] += more.x[k];
  vector_at<width>(to) = sum;
}

/// A call of draw_mask.
struct Draw {
  Matrix<uint8_t> mask;
  Rows rows;
  uint32_t threshold;
  DrawKey key;
};

/// One thread draws four neighbouring columns.
__global__ void draw_masks_kernel(Calls<Draw> all) {
  const unsigned of = all.own();
  const auto& [mask, rows, threshold, key] = all.at[of];
  const size_t r = matrix_row() - size_t{all.blocks[of].first} * blockDim.y;
  const size_t block = matrix_column();
  if (r >= mask.rows || block >= (mask.cols + 3) / 4) return;
  // The words of random.h's `philox`. What cuRAND computes ahead is not used, so that the compiler
  // leaves one evaluation of the generator.
  curandStatePhilox4_32_10_t state;
  curand_init(key.seed, uint64_t{key.stream} << 32 | *key.step,
              4 * mask_block(rows[r], static_cast<int64_t>(block)), &state);
  const uint4 random = curand4(&state);
  const Vector<uint8_t, 4> four{{random.x >= threshold, random.y >= threshold,
                                 random.z >= threshold, random.w >= threshold}};
  uint8_t* const to = mask.row(r) + 4 * block;
  if (4 * block + 4 <= mask.cols && reinterpret_cast<uintptr_t>(to) % 4 == 0) {
    vector_at<4>(to) = four;
  } else {
    for (size_t lane = 0; lane < 4 && 4 * block + lane < mask.cols; ++lane) to[lane] = four.x[lane];
  }
}

/// Masks that are drawn one after another become one launch.
class WaitingDraws final : public Waiting {
 public:
  bool takes(const Draw& call) const {
    for (unsigned k = 0; k < all_.n; ++k)
      if (conflict(spans_of(call.mask), spans_of(all_.at[k].mask))) return false;
    return all_.n < all_.most && size_t{all_.n_blocks} + blocks_for(call) <= most_blocks &&
           call.mask.cols == all_.at[0].mask.cols;
  }
  void add(const Draw& call) { all_.add(call, {all_.n_blocks, blocks_for(call)}); }
  void launch(cudaStream_t stream) const override {
    const auto [blocks, threads] = launch_over(1, (all_.at[0].mask.cols + 3) / 4);
    cuda::launch(stream, dim3(all_.n_blocks, blocks.y), threads, draw_masks_kernel, all_);
  }

 private:
  static unsigned blocks_for(const Draw& call) {
    return launch_over(call.mask.rows, (call.mask.cols + 3) / 4).first.x;
  }
  Calls<Draw> all_;
};

/// One thread draws four neighbouring edges.
__global__ void draw_edges_kernel(Matrix<uint8_t> mask, double* rate, double ratio, DrawKey key) {
  const size_t block = grid_thread();
  const double own = drop_rate(ratio, philox(key.seed, key.stream, *key.step, 0).x[0]);
  if (block == 0) *rate = own;
  if (4 * block >= mask.rows) return;
  const uint32_t threshold = drop_threshold(own);
  const Random4 random = philox(key.seed, key.stream, *key.step, edge_block(block));
  for (size_t lane = 0; lane < 4 && 4 * block + lane < mask.rows; ++lane)
    mask.at[4 * block + lane] = random.x[lane] >= threshold;
}

}  // namespace

template <class T>
void CudaOps<T>::copy_rows(cudaStream_t stream, Matrix<T> y, const T* x, size_t distance,
                           Rows rows) {
  by_width<T>(y.cols, 1, {y.at, x}, [&](auto width) {
    using E = Vector<T, width>;
    const Matrix<E> out{reinterpret_cast<E*>(y.at), y.rows, y.cols / width};
    launch_matrix(stream, out.rows, out.cols, copy_rows_kernel<E>, out,
                  reinterpret_cast<const E*>(x), distance / width, rows);
  });
}

// y = x[rows]
template <class T>
void CudaOps<T>::gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  BM3_SHAPE(rows.n == y.rows && x.cols == y.cols);
  copy_rows(this->stream_for(y, x), y, x.at, x.cols, rows);
}

// y = x[rows]:  d_x[rows] += d_y
template <class T>
void CudaOps<T>::scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) {
  BM3_SHAPE(rows.n == x.rows && x.cols == y.cols);
  const cudaStream_t stream = this->stream_for(y, x);
  by_width<T>(x.cols, 1, {y.at, x.at}, [&](auto width) {
    launch_matrix(stream, x.rows, x.cols / width, add_rows_kernel<width, T>, y, x, rows);
  });
}

template <class T>
void CudaOps<T>::draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) {
  BM3_SHAPE(rows.n == mask.rows);
  this->template put_off<WaitingDraws>(Draw{mask, rows, drop_threshold(p), key}, mask, key.step);
}

template <class T>
void CudaOps<T>::draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) {
  BM3_SHAPE(mask.cols == 1);
  const cudaStream_t stream = this->stream_for(mask, rate, key.step);
  launch(stream, std::max(1u, blocks_of(mask.rows, 4 * block_threads)), block_threads,
         draw_edges_kernel, mask, rate, ratio, key);  // also without edges: it draws the rate
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
