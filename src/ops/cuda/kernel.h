#pragma once
// What the kernels share: sums of a warp and of a whole grid, vectors of a lane, launches.
#include <cub/block/block_reduce.cuh>
#include <initializer_list>

#include "ops/cuda/runtime.h"

namespace bm3::cuda {

constexpr unsigned full_warp = 0xffffffffu;

/// The sum over the warp's lanes, to the same bits in every lane; all lanes take part.
template <class T>
__device__ T warp_sum(T x) {
  for (unsigned other = warp / 2; other > 0; other /= 2) x += __shfl_xor_sync(full_warp, x, other);
  return x;
}

/// Number of this thread, and of its warp, in the grid; and how many the grid has.
__device__ inline size_t grid_thread() {
  return static_cast<size_t>(blockIdx.x) * block_threads + threadIdx.x;
}
__device__ inline size_t grid_threads() { return static_cast<size_t>(gridDim.x) * block_threads; }
__device__ inline size_t grid_warp() { return grid_thread() / warp; }
__device__ inline size_t grid_warps() { return grid_threads() / warp; }

/// Memory for a sum over a grid: one partial sum a block, and a counter that is 0 between kernels.
struct GridSum {
  double* partial;    // [sum_blocks]
  unsigned* counter;  // [1]
};
inline GridSum grid_sum(Workspace& memory) {
  auto* partial = memory.room<double>(sum_blocks + 1);
  return {partial, reinterpret_cast<unsigned*>(partial + sum_blocks)};
}

/// Returns true in the last block to arrive; all other blocks' writes are then visible. All threads
/// of a block call it, once in a kernel.
__device__ inline bool last_block(unsigned* counter) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0)  // the counter returns to 0 with the last block
    last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  __threadfence();
  return last;
}

/// Calls finish(sum of `mine` over all threads of the grid) in one thread. Blocks leave partial
/// sums, and the last block to be done adds these up in a fixed order, so that one launch is
/// enough.
template <class Finish>
__device__ void sum_over_grid(double mine, const GridSum& memory, const Finish& finish) {
  using BlockSum = cub::BlockReduce<double, block_threads>;
  __shared__ typename BlockSum::TempStorage shared;
  const double of_block = BlockSum(shared).Sum(mine);
  if (threadIdx.x == 0) memory.partial[blockIdx.x] = of_block;
  if (!last_block(memory.counter)) return;
  double sum = 0;
  for (unsigned k = threadIdx.x; k < gridDim.x; k += block_threads)
    sum += __ldcg(memory.partial + k);
  sum = BlockSum(shared).Sum(sum);
  if (threadIdx.x == 0) finish(sum);
}

/// Neighbouring numbers that are read and written at once.
template <class T, int width>
struct alignas(width * sizeof(T)) Vector {
  T x[width];
};
/// Of the widest such access, 16 bytes.
template <class T>
constexpr int widest = 16 / sizeof(T);

template <class T, int width>
__device__ Vector<T, width>& vector_at(T* x) {
  return *reinterpret_cast<Vector<T, width>*>(x);
}
template <class T, int width>
__device__ const Vector<T, width>& vector_at(const T* x) {
  return *reinterpret_cast<const Vector<T, width>*>(x);
}

/// Whether rows of d numbers from these addresses on can be taken as vectors of `width`.
template <class T>
bool in_vectors(size_t d, size_t width, std::initializer_list<const T*> arrays) {
  for (const T* a : arrays)
    if (reinterpret_cast<uintptr_t>(a) % (width * sizeof(T)) != 0) return false;
  return d % width == 0;
}

/// Starts kernel(arguments...) in these blocks of these threads.
template <class... Parameters, class... Arguments>
void start(cudaStream_t stream, dim3 blocks, dim3 threads, void (*kernel)(Parameters...),
           const Arguments&... arguments) {
  cudaLaunchConfig_t grid{};
  grid.gridDim = blocks;
  grid.blockDim = threads;
  grid.stream = stream;
  BM3_CHECK(cudaLaunchKernelEx(&grid, kernel, arguments...));
}

/// The same over a matrix, one thread an element.
template <class... Parameters, class... Arguments>
void launch_matrix(cudaStream_t stream, size_t rows, size_t columns,
                   void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (rows == 0 || columns == 0) return;
  const MatrixLaunch at = launch_over(rows, columns);
  start(stream, dim3(at.blocks_x, at.blocks_y), dim3(at.threads_x, at.threads_y), kernel,
        arguments...);
}
/// Row and column of this thread in such a launch.
__device__ inline size_t matrix_row() {
  return static_cast<size_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}
__device__ inline size_t matrix_column() {
  return static_cast<size_t>(blockIdx.y) * blockDim.x + threadIdx.x;
}

/// The same in this many blocks along a line; none for none.
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, unsigned blocks, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  if (blocks == 0) return;
  start(stream, blocks, block_threads, kernel, arguments...);
}

}  // namespace bm3::cuda
