#pragma once
// Random numbers, counter-based: a draw is a pure function of what it is for.
#include <cstdint>

#if defined(__CUDACC__)
#define BM3_HD __host__ __device__ inline
#else
#define BM3_HD inline
#endif

namespace bm3 {

/// What a random number is drawn for; with the seed, the step and the element it is the key of a
/// draw, so that no draw depends on the order in which the program asks for it.
enum class Stream : uint32_t {
  split = 1,       // 8:1:1 split of a data set without x_label
  shuffle = 2,     // order of the interactions; step = epoch
  negative = 3,    // a batch's negative items; step = epoch
  neighbour = 4,   // copies among a user's neighbours; step = epoch
  pruning = 5,     // edges that an epoch keeps; step = epoch
  parameter = 16,  // initial values; + index of the parameter
  synthetic = 64,  // built-in data; + index of the table
  view = 256,      // dropout masks [Eq. 5]; + table (0 nodes of the graph, 1 + m modality m)
  edge = 1024,     // dropped edges; + network (0 online, 1 target)
};

struct Random4 {
  uint32_t x[4];
};

/// Philox4x32-10 (Salmon et al., SC 2011): four random words as a pure function of the key `seed`
/// and the counter (block, step, stream). cuRAND's `curand_init(seed, stream << 32 | step, 4 *
/// block)` draws the same words.
BM3_HD Random4 philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t block) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = step, c3 = stream;
  const auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (uint32_t round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ (k0 + round * 0x9E3779B9u);
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ (k1 + round * 0xBB67AE85u);
    c3 = static_cast<uint32_t>(p0);
  }
  return {{c0, c1, c2, c3}};
}

BM3_HD Random4 philox(uint64_t seed, Stream stream, uint32_t step, uint64_t block) {
  return philox(seed, static_cast<uint32_t>(stream), step, block);
}

/// The block that holds the draws of columns 4*column_block .. 4*column_block + 3 of a table's row.
BM3_HD uint64_t mask_block(int64_t row, int64_t column_block) {
  return static_cast<uint64_t>(row) << 32 | static_cast<uint64_t>(column_block);
}

/// The block that holds the draws of edges 4*block .. 4*block + 3; block 0 holds their rate's.
BM3_HD uint64_t edge_block(uint64_t block) { return 1 + block; }

/// An entry is dropped when its random word is below this: p in units of 2^-32, an integer, so that
/// every device draws the same mask. p in [0, 1).
BM3_HD uint32_t drop_threshold(double p) { return static_cast<uint32_t>(p * 4294967296.0); }

/// A uniform number in (0, 1) from a random word.
BM3_HD double uniform01(uint32_t word) { return (word + 0.5) * (1.0 / 4294967296.0); }

}  // namespace bm3
