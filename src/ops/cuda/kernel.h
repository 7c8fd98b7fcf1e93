#pragma once
// What the kernels share: sums of a warp and of a whole grid, vectors of a lane, launches.
#include <initializer_list>

#include "ops/cuda/runtime.h"

namespace bm3::cuda {

constexpr unsigned full_warp = 0xffffffffu;

/// Number of this thread, and of its warp, in the grid; and how many warps the grid has.
__device__ inline size_t grid_thread() {
  return static_cast<size_t>(blockIdx.x) * block_threads + threadIdx.x;
}
__device__ inline size_t grid_warp() { return grid_thread() / warp; }
__device__ inline size_t grid_warps() { return static_cast<size_t>(gridDim.x) * warps_of_block; }

// ---------------------------------------------------------------------------------------- sums

/// Returns the sum over the warp's lanes, to the same bits in every lane; all lanes take part.
template <class T>
__device__ T warp_sum(T x) {
  for (unsigned other = warp / 2; other > 0; other /= 2) x += __shfl_xor_sync(full_warp, x, other);
  return x;
}

/// Returns, in lane k, the sum over its group of `lanes` of x[k % n], n and `lanes` powers of two;
/// leaves x in pieces. The order of a sum does not depend on n. All lanes of the warp take part.
template <unsigned lanes, unsigned n, class T>
__device__ T group_sums(T (&x)[n]) {
  static_assert(2 * n <= lanes);
#pragma unroll
  for (unsigned other = lanes / 4; other > 0; other /= 2) {
    const bool upper = threadIdx.x & other;  // this lane goes on with x[other ..], where n is more
#pragma unroll
    for (unsigned k = 0; k < (other < n ? other : n); ++k) {
      const bool halves = other < n;
      const T given = halves && !upper ? x[(k + other) % n] : x[k];
      const T kept = halves && upper ? x[(k + other) % n] : x[k];
      x[k] = kept + __shfl_xor_sync(full_warp, given, other);
    }
  }
  return x[0] + __shfl_xor_sync(full_warp, x[0], lanes / 2);
}

/// Returns, in thread c < columns (a power of two), the sum of `mine` over the block's threads c, c
/// + columns, ..; all threads of the block call it.
__device__ inline double sum_of_block(double mine, unsigned columns) {
  __shared__ double all[block_threads];
  for (unsigned other = warp / 2; other >= columns; other /= 2)
    mine += __shfl_xor_sync(full_warp, mine, other);  // columns that a warp has more than once
  __syncthreads();  // what the previous call left there has been read
  all[threadIdx.x] = mine;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x < columns)
    for (unsigned k = threadIdx.x; k < block_threads; k += columns < warp ? warp : columns)
      sum += all[k];
  return sum;
}

constexpr size_t most_partial_sums = 32768;  // of all blocks and columns

/// Returns x[first] + x[first + step] + .. below x[n], whose loads are under way together: what
/// other blocks left in x.
__device__ inline double sum_of_parts(const double* x, unsigned first, unsigned n, unsigned step) {
  constexpr unsigned at_once = 8;
  double sum = 0;
  for (unsigned k = first; k < n; k += at_once * step) {
    double part[at_once];
#pragma unroll
    for (unsigned i = 0; i < at_once; ++i)
      part[i] = k + i * step < n ? __ldcg(x + k + i * step) : 0;
#pragma unroll
    for (unsigned i = 0; i < at_once; ++i) sum += part[i];
  }
  return sum;
}

/// Calls finish(sum) in each thread c < columns, with the sum of `mine` over the threads c, c +
/// columns, .. of every block. Blocks leave partial sums, and the last block to be done adds these
/// up in a fixed order, so that one launch is enough. `partial` [most_partial_sums + 1] ends with a
/// counter that is 0 between kernels.
template <class Finish>
__device__ void sum_over_grid(double mine, unsigned columns, double* partial,
                              const Finish& finish) {
  double sum = sum_of_block(mine, columns);
  if (threadIdx.x < columns) partial[blockIdx.x * columns + threadIdx.x] = sum;
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {  // the counter returns to 0 with the last block
    __threadfence();
    last = atomicInc(reinterpret_cast<unsigned*>(partial + most_partial_sums), gridDim.x - 1) ==
           gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  sum = sum_of_parts(partial, threadIdx.x, gridDim.x * columns, block_threads);
  sum = sum_of_block(sum, columns);
  if (threadIdx.x < columns) finish(sum);
}

// ------------------------------------------------------------------------------------- vectors

/// Neighbouring numbers that are read and written at once.
template <class T, int width>
struct alignas(width * sizeof(T)) Vector {
  T x[width];
};
/// Of the widest such access, 16 bytes.
template <class T>
constexpr int widest = 16 / sizeof(T);

template <int width, class T>
__device__ auto& vector_at(T* x) {
  using V = Vector<std::remove_const_t<T>, width>;
  return *reinterpret_cast<std::conditional_t<std::is_const_v<T>, const V, V>*>(x);
}

/// *to = from in one access; of a plain assignment the compiler may make one a number.
template <int width, class T>
__device__ void store(T* to, const Vector<T, width>& from) {
  if constexpr (sizeof from == sizeof(float4))
    __stwb(reinterpret_cast<float4*>(to), *reinterpret_cast<const float4*>(&from));
  else
    vector_at<width>(to) = from;
}

/// Returns whether such an access may begin there.
inline bool is_aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

/// Calls launch(width) with the widest vectors in which `lanes` threads share rows of d numbers at
/// these addresses, none of them idle.
template <class T, class Launch>
void by_width(size_t d, size_t lanes, std::initializer_list<const T*> arrays,
              const Launch& launch) {
  const auto fits = [&](size_t width) {
    for (const T* a : arrays)
      if (reinterpret_cast<uintptr_t>(a) % (width * sizeof(T)) != 0) return false;
    return d % width == 0 && d >= lanes * width;
  };
  if (fits(widest<T>)) return launch(std::integral_constant<int, widest<T>>());
  if (fits(2)) return launch(std::integral_constant<int, 2>());
  launch(std::integral_constant<int, 1>());
}

constexpr unsigned widest_row = 1024;  // that a warp's registers hold

/// Throws where rows of d numbers are wider than a warp's registers.
inline void refuse_wide(const char* what, size_t d) {
  if (d > widest_row)
    throw Error(what, " of rows of ", d, " numbers: a GPU takes up to ", widest_row,
                "; take a smaller --dim or --device cpu");
}

/// Calls launch(columns) with the number of a lane's columns for rows of d numbers.
template <class Launch>
void by_columns(size_t d, const Launch& launch) {
  if (d <= 2 * warp) return launch(std::integral_constant<unsigned, 2>());
  if (d <= 8 * warp) return launch(std::integral_constant<unsigned, 8>());
  launch(std::integral_constant<unsigned, widest_row / warp>());
}

// ------------------------------------------------------------------------------------ launches

/// Starts kernel(arguments...) in these blocks, if any, of these threads. Of kernels side by side,
/// blocks of the lower `priority` start first: 0 is the least urgent, -1 all others.
template <class... Parameters, class... Arguments>
void launch_with(int priority, cudaStream_t stream, dim3 blocks, dim3 threads,
                 void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (blocks.x == 0 || blocks.y == 0) return;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributePriority;
  attribute.val.priority = priority;
  cudaLaunchConfig_t grid{};
  grid.gridDim = blocks;
  grid.blockDim = threads;
  grid.stream = stream;
  grid.attrs = &attribute;
  grid.numAttrs = 1;
  BM3_CHECK(cudaLaunchKernelEx(&grid, kernel, arguments...));
}
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, dim3 blocks, dim3 threads, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  launch_with(-1, stream, blocks, threads, kernel, arguments...);
}
/// The same for work that fills the GPU for long, or that nothing waits for: others pass it.
template <class... Parameters, class... Arguments>
void launch_behind(cudaStream_t stream, dim3 blocks, dim3 threads, void (*kernel)(Parameters...),
                   const Arguments&... arguments) {
  launch_with(0, stream, blocks, threads, kernel, arguments...);
}
/// The same over a matrix, one thread an element.
template <class... Parameters, class... Arguments>
void launch_matrix(cudaStream_t stream, size_t rows, size_t columns,
                   void (*kernel)(Parameters...), const Arguments&... arguments) {
  const auto [blocks, threads] = launch_over(rows, columns);
  launch(stream, blocks, threads, kernel, arguments...);
}
/// Row and column of this thread in such a launch.
__device__ inline size_t matrix_row() {
  return static_cast<size_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}
__device__ inline size_t matrix_column() {
  return static_cast<size_t>(blockIdx.y) * blockDim.x + threadIdx.x;
}

/// Blocks first .. first + n of a grid.
struct Blocks {
  unsigned first, n;
  __device__ bool has(unsigned block) const { return block - first < n; }
};
/// Calls of one operation, side by side in one grid.
template <class Call>
struct Calls {
  static constexpr unsigned most = 8;
  unsigned n = 0, n_blocks = 0;
  Blocks blocks[most];  // of each call: together, so that a kernel finds its own in one read
  Call at[most];
  void add(const Call& call, Blocks of_it) {
    blocks[n] = of_it;
    at[n++] = call;
    n_blocks = std::max(n_blocks, of_it.first + of_it.n);
  }
  /// Returns the first call of this block.
  __device__ unsigned own() const {
    unsigned k = 0;
    while (!blocks[k].has(blockIdx.x)) ++k;
    return k;
  }
};

template <class Body>
__global__ void entry_kernel(size_t rows, size_t columns, Body body) {
  const size_t r = matrix_row(), c = matrix_column();
  if (r < rows && c < columns) body(r, c);
}
/// Calls body(r, c) for each entry of a matrix, a thread an entry.
template <class Body>
void for_each_entry(cudaStream_t stream, size_t rows, size_t columns, const Body& body) {
  launch_matrix(stream, rows, columns, entry_kernel<Body>, rows, columns, body);
}

template <class Body>
__global__ void row_kernel(size_t n, Body body) {
  if (const size_t r = grid_warp(); r < n) body(r, threadIdx.x % warp);
}
/// Calls body(r, lane) for each of n rows, a warp a row.
template <class Body>
void for_each_row(cudaStream_t stream, size_t n, const Body& body) {
  launch(stream, blocks_of(n, warps_of_block), block_threads, row_kernel<Body>, n, body);
}

}  // namespace bm3::cuda
