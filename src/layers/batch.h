#pragma once
// A batch in terms of its distinct users and items: what is the same for every occurrence of a node
// (projection, view, prediction) is computed once.
#include <vector>

#include "data/inter.h"
#include "ops/ops.h"

namespace bm3 {

/// B interactions (u, i) on the device, and perhaps a negative item for each. Rows of users come in
/// the order of their first occurrence, likewise items, positives first; the rows after the last
/// distinct one are padding (-1, without pairs).
struct Batch {
  size_t size = 0;   // B
  const uint32_t* step = nullptr;  // t, the number of the batch's step, on the device
  Rows users;        // [n_users] node numbers
  Rows items;        // [n_items] item numbers
  Rows nodes;        // [n_users + n_items] node numbers: users, then items
  Pairs by_user;     // for each user row, the item rows it meets
  Pairs by_item;     // for each item row, the user rows it meets, and the pairs' edges in by_user
  Pairs by_negative; // for each item row, the user rows whose negative it is, likewise
  Triples triples;   // by_user with the negatives' item rows
};

/// Rows of a batch, one block below the other: users, items, and the items of each modality.
template <class M>
struct Blocks {
  M all;
  size_t n_users, n_items;
  M nodes() const { return all.slice(0, n_users + n_items); }
  M user() const { return all.slice(0, n_users); }
  /// Block k of the items' blocks: their own, then each modality's.
  M items(size_t k) const { return all.slice(n_users + k * n_items, n_items); }
  M item() const { return items(0); }
  M modality(size_t m) const { return items(1 + m); }
  M modalities() const {
    const size_t first = n_users + n_items;
    return all.slice(first, all.rows - first);
  }
};

/// Turns interactions into a Batch on a device, in memory taken once for batches of `max_size`.
class BatchLoader {
 public:
  BatchLoader(Device& device, size_t n_users, size_t n_items, size_t max_size, bool negatives);
  /// Returns step t's batch of pairs[0..size), size <= max_size, with the negative items
  /// negatives[0..size) if this loader takes them; valid until the next call.
  Batch load(size_t t, const Interaction* pairs, const int32_t* negatives, size_t size);
  /// Where t is, on the device.
  const uint32_t* step() const { return step_; }
  /// Sets t without a batch.
  void set_step(size_t t);
  /// The most rows of users, of items and of pairs that a batch can have.
  size_t max_users() const { return max_users_; }
  size_t max_items() const { return max_items_; }
  size_t max_size() const { return max_size_; }

 private:
  Device& device_;
  size_t n_users_, max_size_, max_users_, max_items_;
  bool negatives_;
  std::vector<int32_t> row_of_user_, row_of_item_;
  std::vector<int32_t> user_row_, item_row_, negative_row_, edge_;  // of each pair; in by_user
  std::vector<int32_t> host_;
  Array<int32_t> memory_;
  uint32_t* step_;
};

/// Memory for rows of d numbers of any batch: its users, its items, and items of each modality.
template <class E>
class BatchRows {
 public:
  BatchRows(Device& device, const BatchLoader& loader, size_t d, size_t n_modalities = 0)
      : n_modalities_(n_modalities),
        memory_(device, loader.max_users() + (1 + n_modalities) * loader.max_items(), d) {}
  /// Returns the rows of this batch.
  Blocks<Matrix<E>> operator()(const Batch& batch) const {
    const size_t rows = batch.users.n + (1 + n_modalities_) * batch.items.n;
    return {memory_.slice(0, rows), batch.users.n, batch.items.n};
  }
  /// Returns the rows of the largest batch.
  Matrix<E> all() const { return memory_; }

 private:
  size_t n_modalities_;
  Table<E> memory_;
};

/// d_table [*, d] = d_rows [n, d] in the gathered rows, which are distinct, and 0 elsewhere.
template <class T>
void scatter_rows(Ops<T>& ops, Matrix<T> d_table, ConstMatrix<T> d_rows, Rows rows) {
  ops.zero(d_table);
  ops.scatter_add_rows(d_table, d_rows, rows);
}

}  // namespace bm3
