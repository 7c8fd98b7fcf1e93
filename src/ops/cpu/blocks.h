#pragma once
// The blocks into which the CPU's operations cut their work, where working memory goes by them.
#include <cstddef>

namespace bm3::cpu {

constexpr size_t row_block = 128;     // rows of a product, and of its gathered copy
constexpr size_t column_slice = 128;  // columns of x whose part of d_W one thread computes
constexpr size_t sum_block = 512;     // rows whose sum is one partial sum
constexpr size_t pair_block = 128;    // rows of pairs whose sum is one partial sum
constexpr size_t norm_block = 4096;   // numbers of a norm, likewise
constexpr size_t user_block = 128;    // users and items of a block of scores
constexpr size_t item_block = 512;
constexpr size_t metric_block = 1024;  // users whose metrics' sums are one partial sum

/// Rows whose part of d_W [in, out] is one partial matrix, of n.
constexpr size_t rows_of_part(size_t n, size_t in) {
  return in <= sum_block ? sum_block : n > 0 ? n : 1;
}

}  // namespace bm3::cpu
