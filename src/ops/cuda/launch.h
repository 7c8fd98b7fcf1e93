#pragma once
// How work is cut into launches: whole-number arithmetic, for host code alone.
#include <algorithm>
#include <cstddef>
#include <string>

#include "error.h"

namespace bm3::cuda {

constexpr unsigned warp = 32;            // threads that run together
constexpr unsigned block_threads = 256;  // threads of a block, in every kernel
constexpr unsigned warps_of_block = block_threads / warp;
constexpr size_t most_blocks = 2147483647;  // in a grid's x direction
constexpr unsigned sum_blocks = 1024;       // most blocks of a kernel that sums

/// A size for a person, rounded up.
inline std::string mebibytes(size_t bytes) {
  return std::to_string((bytes >> 20) + (bytes % (size_t{1} << 20) != 0)) + " MiB";
}

/// Blocks that cover n elements, `each` a block; 0 for none.
constexpr unsigned blocks_of(size_t n, size_t each) {
  const size_t blocks = n / each + (n % each != 0);
  if (blocks > most_blocks)
    throw Error("a launch over " + std::to_string(n) + " elements exceeds CUDA's largest grid");
  return static_cast<unsigned>(blocks);
}

/// Blocks of a kernel that sums n elements, `each` a block and turn. It depends on n alone, not on
/// the GPU, so that the order of the sum does not either.
constexpr unsigned blocks_of_sum(size_t n, size_t each) {
  return std::min(blocks_of(n, each), sum_blocks);
}

/// A launch over a matrix: threads (x: columns, y: rows) of blocks (x: rows, y: columns). Blocks in
/// a grid's y direction are few, so rows, which may be many, lie along x.
struct MatrixLaunch {
  unsigned blocks_x, blocks_y, threads_x, threads_y;
};

/// The launch for [rows, columns]: one thread an element, narrow matrices with several rows a
/// block.
constexpr MatrixLaunch launch_over(size_t rows, size_t columns) {
  unsigned x = 1;
  while (x < block_threads && x < columns) x *= 2;
  const unsigned y = block_threads / x;
  const unsigned across = blocks_of(columns, x);
  if (across > 65535)
    throw Error("a launch over " + std::to_string(columns) +
                " columns exceeds CUDA's largest grid");
  return {blocks_of(rows, y), across, x, y};
}

}  // namespace bm3::cuda
