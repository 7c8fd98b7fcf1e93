#pragma once
// How work is cut into launches and copies: whole-number arithmetic, for host code alone.
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

constexpr size_t row_padding = 128;       // of a batch
constexpr size_t rows_of_sum = 32;        // rows that a block sums at a time, column by column
constexpr unsigned most_row_parts = 128;  // partial sums of a column
constexpr size_t user_block = 2048;       // scores of a block: 16 MiB in float32, so that two
constexpr size_t item_block = 2048;       // stay in the level-2 cache of a large GPU
constexpr unsigned most_best = 64;        // longest list of best items,
constexpr unsigned list_size = 128;       // and with the candidates that wait beside it

/// cuBLAS's workspace by NVIDIA's advice, for GPUs of this major architecture.
constexpr size_t blas_workspace(int major) { return size_t{major >= 9 ? 32u : 4u} << 20; }

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

/// A ring of `slots` pieces of pinned memory through which uploads of any size pass: `next` names
/// the slot of the next piece.
struct Ring {
  size_t slots, slot_bytes;
  size_t turn = 0;
  /// Bytes of the next piece when `left` are still to go.
  constexpr size_t piece(size_t left) const { return std::min(left, slot_bytes); }
  constexpr size_t next() { return turn++ % slots; }
};

}  // namespace bm3::cuda
