#pragma once
// A batch in terms of its distinct users and items: what is the same for every occurrence of a node
// (projection, view, prediction) is computed once.
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

/// B interactions (u, i) on the device. Rows of users come in the order of their first occurrence,
/// likewise items; rows past the last distinct one are padding (-1, without pairs).
struct Batch {
  size_t size = 0;                 // B
  size_t n_users = 0, n_items = 0; // rows, padding included
  const int32_t* users = nullptr;  // [n_users] node numbers, followed in memory by
  const int32_t* nodes_of_items = nullptr;  // [n_items] node numbers
  const int32_t* items = nullptr;           // [n_items] item numbers
  Pairs by_user{};  // for each user row, the item rows it meets
  Pairs by_item{};  // for each item row, the user rows it meets
  const int32_t* carried = nullptr;  // [max_items] item rows of the batch before: the row here
  size_t slot = 0;       // which of the loader's two places it lies in
  bool fetched = false;  // whether it has copies of its rows from tables far away (Bm3::fetch)
};

/// Turns interactions into a Batch on a device, in memory taken once for batches of `max_size`.
class BatchLoader {
 public:
  BatchLoader(Device& device, int64_t n_users, int64_t n_items, size_t max_size);
  /// The batch of pairs[0..size), size <= max_size; valid until the next call for its slot, 0 or 1.
  Batch load(const Interaction* pairs, size_t size, size_t slot = 0);
  /// Most rows of distinct users, and of items, that a batch can have.
  size_t max_users() const { return max_users_; }
  size_t max_items() const { return max_items_; }

 private:
  Device& device_;
  int64_t n_users_;
  size_t max_users_, max_items_;
  std::vector<int32_t> row_of_user_, row_of_item_;  // -1 where not in the batch at hand
  std::vector<int32_t> before_;                     // [max_items] item numbers of the batch before
  std::vector<int32_t> host_;
  Array<int32_t> memory_;  // of two slots
};

}  // namespace bm3
