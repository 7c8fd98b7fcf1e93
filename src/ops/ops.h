#pragma once
// The seam between models and devices: the operands, and the operations, which operations.inc
// states; `cpu/` and `cuda/` hold the bodies, in files of the same names.
#include <memory>

#include "ops/device.h"
#include "ops/metrics.h"
#include "ops/scalar.h"

namespace bm3 {

/// The symmetric adjacency A of the training interactions, with nodes 0 .. n_users - 1 (users) and
/// n_users .. n_nodes - 1 (items), and the scaling D^-1/2 of its rows. Arrays on the device.
template <class T>
struct Graph {
  size_t n_users = 0, n_items = 0;
  Array<int64_t> begin;      // [n_nodes + 1]: neighbours of r are neighbour[begin[r] .. begin[r+1])
  Array<int32_t> neighbour;  // [2 n_interactions], ascending within a row
  Array<T> scale;            // [n_nodes]: degree^-1/2, 0 for an isolated node
  double degree_epsilon = 0; // what was added to each degree
  bool changes = false;      // its edges are replaced from time to time
  size_t n_nodes() const { return n_users + n_items; }
};

/// Pairs (row, target) in segments: row r of n is paired with target[k] for k in begin[r] ..
/// begin[r+1]; without `target`, with row r itself, begin[r+1] - begin[r] times; without `begin`,
/// with row r itself, once. Pair k is the edge edge[k], or k where there is no `edge` [begin[n]].
struct Pairs {
  size_t n = 0;
  const int32_t* begin = nullptr;   // [n + 1] or null
  const int32_t* target = nullptr;  // [begin[n]] or null
  const int32_t* edge = nullptr;
  BM3_HD size_t edge_of(int32_t k) const { return static_cast<size_t>(edge ? edge[k] : k); }
};

/// Triples (user, positive, negative): the positives of user row r are the targets of its pairs e,
/// and negative[e] is the negative of the same triple.
struct Triples {
  Pairs by_user;
  const int32_t* negative = nullptr;
};

/// A dropout view h' = h * mask / (1 - p) [Eq. 5] of rows h [n, d] with their mask [n, d]. It is
/// read entry by entry and never stored, and it is a target only: operations that take one give it
/// no gradient. That is the stop-gradient.
template <class T>
struct View {
  Matrix<const T> h;
  const uint8_t* mask;
  T kept;  // 1 / (1 - p)
  /// The entry at i of all rows x cols.
  BM3_HD T operator[](size_t i) const { return view_entry(h.at[i], mask[i], kept); }
  /// Rows first .. first + n.
  View slice(size_t first, size_t n) const {
    return {h.slice(first, n), mask + first * h.cols, kept};
  }
};

/// What a random number is drawn for, apart from the row and column (random.h). `step` is on the
/// device.
struct DrawKey {
  uint64_t seed;
  uint32_t stream;
  const uint32_t* step;
};

/// What Adam's update depends on but the element: t = *step and its row of `schedule` [t + 1]. On
/// the device.
template <class T>
struct AdamTime {
  AdamConstants<T> constants;
  const AdamStep<T>* schedule;
  const uint32_t* step;
};

/// Rows of tables p, m, v [*, d] that Adam updates one by one, and the step of each row's last
/// update (0: none yet). `rows` are distinct.
template <class T>
struct AdamRows {
  Matrix<T> p, m, v;
  uint32_t* last;  // [p.rows]
  Rows rows;
};

/// What was held out of n users, in segments: the t-th has item[begin[t] .. begin[t+1]), at least
/// one; the ranked list is row[t] of all lists.
struct Truth {
  size_t n;
  const int32_t* row;   // [n]
  const size_t* begin;  // [n + 1]
  const int32_t* item;  // [begin[n]]
};

/// The parts of a loss, so that many threads can add to it at once, each to its own.
constexpr size_t loss_parts = 8192;

template <class T>
class Ops : public virtual Device {
 public:
#define BM3_HERE = 0
#include "ops/operations.inc"

  /// y += scale * S x.
  void add_weighted(Matrix<T> y, ConstMatrix<T> w, ConstMatrix<T> x, const Pairs& pairs,
                    double scale) {
    add_weighted(y, 1, y, w, x, pairs, scale);
  }
};

/// Returns the operations on this computer's processor with `threads` OpenMP threads (0: as many as
/// OpenMP gives).
template <class T>
std::unique_ptr<Ops<T>> make_cpu_ops(int threads);

}  // namespace bm3
