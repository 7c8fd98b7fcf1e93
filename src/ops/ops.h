#pragma once
// The seam between the model and the devices: every operation BM3 needs, once in words and
// signatures; `cpu/` and `cuda/` hold the bodies, file beside file.
//
// Conventions. Matrices are row-major. Outputs come first, inputs are const, sizes come last.
// "=" marks an output that is overwritten, "+=" one that is added to. A gradient is its variable's
// name with `d_`. A row list may hold -1, which is padding: a gathered row is then zero, a
// scattered row goes nowhere. Every sum runs in an order that depends on sizes alone: the same
// inputs give the same bytes, whatever the number of threads. Shapes are the caller's duty;
// operations raise errors only where a device can fail.
#include <memory>

#include "ops/device.h"
#include "ops/metrics.h"
#include "ops/scalar.h"

namespace bm3 {

/// The symmetric adjacency A of the training interactions with nodes 0..n_users-1 (users) and
/// n_users..n_users+n_items-1 (items), and the scaling D^-1/2 of its rows. Arrays on the device.
template <class T>
struct Graph {
  int64_t n_users = 0, n_items = 0;
  Array<int64_t> begin;      // [n_nodes + 1]: neighbours of r are neighbour[begin[r] .. begin[r+1])
  Array<int32_t> neighbour;  // [2 n_interactions], ascending within a row
  Array<T> scale;            // [n_nodes]: degree^-1/2, 0 for an isolated node
  int64_t n_nodes() const { return n_users + n_items; }
};

/// Pairs (row, target) in segments: row r of n is paired with target[k] for k in begin[r] ..
/// begin[r+1]; without `target`, with row r itself, begin[r+1] - begin[r] times.
struct Pairs {
  size_t n;
  const int32_t* begin;   // [n + 1]
  const int32_t* target;  // [begin[n]] or null
};

/// Rows of tables [*, d] that Adam updates one by one, and the step of each row's last update.
template <class T>
struct AdamRows {
  T *p, *m, *v;         // tables or, when `copied`, [n, d]: copies of the rows in their order
  uint32_t* last;       // of the tables' rows; 0: none yet
  const int32_t* rows;  // [n], distinct; null: the first n rows
  bool copied = false;
  /// The row that is k-th in `rows`, -1 for padding; and where it stands in p, m and v.
  BM3_HD int64_t row(size_t k) const { return rows ? rows[k] : static_cast<int64_t>(k); }
  BM3_HD size_t place(size_t k) const { return copied ? k : static_cast<size_t>(row(k)); }
};

/// A dropout view h' = h * mask / (1 - p) [Eq. 5] of rows h [*, d] with their mask [*, d]. It is
/// read entry by entry and never stored, and it is a target only: operations that take one give it
/// no gradient. That is the stop-gradient.
template <class T>
struct View {
  const T* h;
  const uint8_t* mask;
  T kept;  // 1 / (1 - p)
  BM3_HD T operator[](size_t i) const { return view_entry(h[i], mask[i], kept); }
  /// The view without its first n elements.
  BM3_HD View from(size_t n) const { return {h + n, mask + n, kept}; }
};

/// What was held out of n users, in segments: the t-th has item[begin[t] .. begin[t+1]), at least
/// one; the ranked list is row[t] of all lists.
struct Truth {
  size_t n;
  const int32_t* row;   // [n]
  const size_t* begin;  // [n + 1]
  const int32_t* item;  // [begin[n]]
};

template <class T>
class Ops : public Device {
 public:
  // ------------------------------------------------------------------ linear layers [Eq. 1, 6]

  /// y [n, out] = x[rows] W + b, with x [*, in], W [in, out], b [out]; without `rows`, of x's first
  /// n rows.
  virtual void linear_forward(T* y, const T* x, const int32_t* rows, const T* W, const T* b,
                              size_t n, size_t in, size_t out) = 0;
  /// y_rk = sum_j x_rj W_jk + b_k, so d_x [n, in] = d_y W^T (unless null), d_W [in, out] =
  /// x[rows]^T d_y, and d_b [out] = column sums of d_y [n, out].
  virtual void linear_backward(T* d_x, T* d_W, T* d_b, const T* d_y, const T* x,
                               const int32_t* rows, const T* W, size_t n, size_t in,
                               size_t out) = 0;

  // ------------------------------------------------------------------------- graph [Eq. 3, 4]

  /// y [n_nodes, d] = a S A S x + b z, with S = D^-1/2, and b = b_user or b_item by the row's kind.
  /// The matrix is symmetric, so the same call is its own backward. y must be neither x nor z. a =
  /// 0 leaves x unread.
  virtual void propagate(T* y, const T* x, const T* z, T a, T b_user, T b_item,
                         const Graph<T>& graph, size_t d) = 0;

  // --------------------------------------------------------------------------------- rows

  /// y [n, d] = x[rows].
  virtual void gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) = 0;
  /// y[rows] += x [n, d], the backward of gather_rows; rows are distinct.
  virtual void scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) = 0;
  /// y[rows] = x [n, d]; rows are distinct.
  virtual void scatter_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) = 0;

  // -------------------------------------------------------------------------- masks [Eq. 5]

  /// mask [n, d] = 0 where the entry (rows[k], column) is dropped, else 1: drawn with probability p
  /// from Philox with the key (seed, stream, *step, row, column). p in [0, 1).
  virtual void draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p,
                         uint64_t seed, uint32_t stream, const uint32_t* step) = 0;

  // ------------------------------------------------------------------------- losses [Eq. 8-12]

  /// One pass over views, their cosines and the gradient: *loss += scale * sum over pairs of
  /// 1 + C(a_r, b_target), and, unless d_a is null, d_a [n, d] += its gradient. a [n, d]; b: views
  /// of [*, d].
  virtual void cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b, const Pairs& pairs,
                           double scale, size_t d) = 0;
  /// *loss += scale * sum over pairs of |x_r|^2, x [n, d]: the squared form of the regulariser.
  virtual void squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                               size_t d) = 0;
  /// d_x [n, d] += 2 scale (number of the row's pairs) x.
  virtual void squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale,
                                size_t d) = 0;
  /// *norm = |x|_F of x [n] and *loss += scale * |x|_F. The norm form of the regulariser.
  virtual void norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) = 0;
  /// d_x [n] = scale * x / |x|_F with |x|_F = *norm, since d|x|_F/dx = x/|x|_F; 0 where *norm is 0.
  /// d_x may be x.
  virtual void norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) = 0;

  // ------------------------------------------------------------------------------------ Adam

  /// *step += 1.
  virtual void advance(uint32_t* step) = 0;
  /// Step t = *step of Adam on p, m, v [n] with the gradient g; schedule[t] is the step's part.
  virtual void adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
                    const AdamStep<T>* schedule, const uint32_t* step, size_t n) = 0;
  /// Brings rows of tables up to date to step *step + lag: repeats, for each step since the row's
  /// own `last`, Adam's update with a zero gradient, to the same bits as a dense Adam; then
  /// last[row] = *step + lag. A row whose `last` is 0 has never had a gradient, has no momentum to
  /// replay and stays as it is.
  virtual void adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                           const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                           size_t d) = 0;
  /// Step t = *step on rows with the gradients g [n, d]; the rows are up to date to step t - 1;
  /// then last[row] = t.
  virtual void adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                         const AdamStep<T>* schedule, const uint32_t* step, size_t n,
                         size_t d) = 0;

  // -------------------------------------------------------------------------- ranking [Eq. 13]

  /// item [n, k] = the k items with the largest h_u[users[r]] . h_i, best first, without those the
  /// user has in the graph; equal scores by the lower item number; -1 when fewer are left. score
  /// [n, k] = their scores, 0 beside a -1. h_u [n_users, d], h_i [n_items, d].
  virtual void top_k(int32_t* item, T* score, const T* h_u, const T* h_i, const int32_t* users,
                     const Graph<T>& graph, size_t k, size_t n, size_t d) = 0;

  // ------------------------------------------------------------------------------ metrics (4.3)

  /// sums [n_metrics] = sums over the users of `truth` of user_metric, whose table is `ideal`, for
  /// the ranked lists item [*, k].
  virtual void metrics(double* sums, const int32_t* item, const Truth& truth, const double* ideal,
                       size_t k) = 0;
};

/// The operations on this computer's processor with `threads` OpenMP threads (0: as many as OpenMP
/// gives).
template <class T>
std::unique_ptr<Ops<T>> make_cpu_ops(int threads);

}  // namespace bm3
