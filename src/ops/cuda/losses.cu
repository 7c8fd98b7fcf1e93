// The losses' one pass over rows: cosine [Eq. 8] and regulariser [Eq. 12].
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/kernel.h"

namespace bm3 {
namespace {

using namespace cuda;

constexpr unsigned widest_row = 1024;  // of a cosine, in numbers

/// The lane's columns of a row of d numbers, 0 beyond its end.
template <unsigned columns, class E>
__device__ void load_columns(E (&to)[columns], const E* row, size_t d) {
  for (unsigned i = 0; i < columns; ++i) {
    const size_t c = threadIdx.x % warp + i * warp;
    to[i] = c < d ? row[c] : E(0);
  }
}

/// A warp a row: view, norms, dot product, loss and gradient. The row, its gradient and the target
/// at hand stay in registers, a lane's `columns` of each; d is up to columns * warp.
template <unsigned columns, class T>
__global__ void cosine_loss_kernel(double* loss, T* d_a, const T* a, View<T> b, Pairs pairs,
                                   double scale, size_t d, GridSum memory) {
  const unsigned lane = threadIdx.x % warp;
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    // Without targets the pairs of a row are all the same one: count it once, that many times.
    const int32_t begin = pairs.begin[r], all = pairs.begin[r + 1];
    if (begin == all) continue;
    const int32_t end = pairs.target ? all : begin + 1;
    const T times = static_cast<T>(pairs.target ? 1 : all - begin);
    T a_r[columns], d_a_r[columns] = {}, h[columns];  // h and mask: of the next target
    uint8_t mask[columns];
    const auto load_target = [&](int32_t k) {
      const View<T> b_k = b.from((pairs.target ? static_cast<size_t>(pairs.target[k]) : r) * d);
      load_columns(h, b_k.h, d);
      load_columns(mask, b_k.mask, d);
    };
    load_columns(a_r, a + r * d, d);
    if (d_a) load_columns(d_a_r, d_a + r * d, d);
    load_target(begin);
    T aa = 0;
    for (const T x : a_r) aa += x * x;
    aa = warp_sum(aa);
    for (int32_t k = begin; k < end; ++k) {
      T b_k[columns], ab = 0, bb = 0;
      for (unsigned i = 0; i < columns; ++i) {
        b_k[i] = view_entry(h[i], mask[i], b.kept);
        ab += a_r[i] * b_k[i];
        bb += b_k[i] * b_k[i];
      }
      if (k + 1 < end) load_target(k + 1);  // under way while this pair is finished
      ab = warp_sum(ab);
      bb = warp_sum(bb);
      sum += static_cast<double>(times) * (1.0 + static_cast<double>(cosine_forward(ab, aa, bb)));
      T on_b, on_a;
      cosine_backward(on_b, on_a, ab, aa, bb);
      on_b *= times * static_cast<T>(scale);
      on_a *= times * static_cast<T>(scale);
      for (unsigned i = 0; i < columns; ++i) d_a_r[i] += on_b * b_k[i] + on_a * a_r[i];
    }
    for (unsigned i = 0; d_a && i < columns; ++i)
      if (lane + i * warp < d) d_a[r * d + lane + i * warp] = d_a_r[i];
  }
  // Every lane has its row's sum: one of them speaks for the warp.
  sum_over_grid(lane == 0 ? sum : 0.0, memory, [&](double total) { *loss += scale * total; });
}

template <class T>
__global__ void squared_forward_kernel(double* loss, const T* x, Pairs pairs, double scale,
                                       size_t d, GridSum memory) {
  double sum = 0;
  for (size_t r = grid_warp(); r < pairs.n; r += grid_warps()) {
    const int32_t times = pairs.begin[r + 1] - pairs.begin[r];
    if (times > 0) sum += times * static_cast<double>(warp_square(x + r * d, d));
  }
  sum_over_grid(threadIdx.x % warp == 0 ? sum : 0.0, memory,
                [&](double total) { *loss += scale * total; });
}

template <class T>
__global__ void squared_backward_kernel(T* d_x, const T* x, Pairs pairs, double scale, size_t d) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r >= pairs.n || c >= d) return;
  const T factor = static_cast<T>(2 * scale * (pairs.begin[r + 1] - pairs.begin[r]));
  d_x[r * d + c] += factor * x[r * d + c];
}

template <class T>
__global__ void norm_forward_kernel(double* loss, double* norm, const T* x, double scale, size_t n,
                                    GridSum memory) {
  T squares = 0;
  for (size_t i = grid_thread(); i < n; i += grid_threads()) squares += x[i] * x[i];
  sum_over_grid(static_cast<double>(squares), memory, [&](double total) {
    *norm = sqrt(total);
    *loss += scale * *norm;
  });
}

template <class T>
__global__ void norm_backward_kernel(T* d_x, const double* norm, const T* x, double scale,
                                     size_t n) {
  __shared__ T factor;  // a division in double is slow on many GPUs: one a block
  if (threadIdx.x == 0) factor = static_cast<T>(*norm > 0 ? scale / *norm : 0.0);
  __syncthreads();
  const size_t i = grid_thread();
  if (i < n) d_x[i] = factor * x[i];
}

}  // namespace

// loss = scale * sum over pairs of 1 + C(a, b);  d_a += scale (on_b b + on_a a)
template <class T>
void CudaOps<T>::cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b,
                             const Pairs& pairs, double scale, size_t d) {
  if (d > widest_row)
    throw Error("cosines of rows of " + std::to_string(d) + " numbers: a GPU takes up to " +
                std::to_string(widest_row) + "; take a smaller --dim or --device cpu");
  const auto kernel = d <= 2 * warp   ? cosine_loss_kernel<2, T>
                      : d <= 8 * warp ? cosine_loss_kernel<8, T>
                                      : cosine_loss_kernel<widest_row / warp, T>;
  launch(stream(), blocks_of_sum(pairs.n, warps_of_block), kernel, loss, d_a, a, b, pairs, scale, d,
         grid_sum());
}

// loss = scale * sum over pairs of |x|^2
template <class T>
void CudaOps<T>::squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                                 size_t d) {
  launch(stream(), blocks_of_sum(pairs.n, warps_of_block), squared_forward_kernel<T>, loss, x,
         pairs, scale, d, grid_sum());
}

// loss = scale * sum over pairs of |x|^2:  d_x += 2 scale (number of pairs) x
template <class T>
void CudaOps<T>::squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) {
  launch_matrix(stream(), pairs.n, d, squared_backward_kernel<T>, d_x, x, pairs, scale, d);
}

// loss = scale |x|_F
template <class T>
void CudaOps<T>::norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) {
  const unsigned blocks = std::max(blocks_of_sum(n, block_threads), 1u);  // |x| = 0 for no x
  launch(stream(), blocks, norm_forward_kernel<T>, loss, norm, x, scale, n, grid_sum());
}

// loss = scale |x|_F:  d_x = scale x / |x|_F
template <class T>
void CudaOps<T>::norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) {
  launch(stream(), blocks_of(n, block_threads), norm_backward_kernel<T>, d_x, norm, x, scale, n);
}

template class CudaOps<float>;
template class CudaOps<double>;

}  // namespace bm3
