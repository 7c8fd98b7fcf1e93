#pragma once
// The seam between models and devices: every operation, once in words and signatures; `cpu/` and
// `cuda/` hold the bodies, file beside file.
//
// Outputs come first, inputs are const, numbers come last. "=" marks an output that is overwritten,
// "+=" one that is added to. A gradient is its variable's name with `d_`. Every sum runs in an
// order that depends on sizes alone: the same inputs give the same bytes, whatever the number of
// threads. A debug build checks the shapes (shapes.h); operations throw only where a device fails.
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

template <class T>
class Ops : public virtual Device {
 public:
  // ------------------------------------------------------------------ linear layers [Eq. 1, 6]

  /// y [n, out] = x[rows] W + b, with x [*, in], W [in, out], b [1, out]; without b (null),
  /// y += x[rows] W.
  virtual void linear_forward(Matrix<T> y, ConstMatrix<T> x, Rows rows, ConstMatrix<T> W,
                              ConstMatrix<T> b) = 0;
  /// y_rk = sum_j x_rj W_jk + b_k, so d_x [n, in] = d_y W^T (unless null), d_W [in, out] =
  /// x[rows]^T d_y, and d_b [1, out] = column sums of d_y [n, out] (unless null). x[rows] must be
  /// what the last linear_forward with this x and these rows read, if there was one: its copy may
  /// be used again.
  virtual void linear_backward(Matrix<T> d_x, Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y,
                               ConstMatrix<T> x, Rows rows, ConstMatrix<T> W) = 0;

  // ------------------------------------------------------------------------- graph [Eq. 3, 4]

  /// y [n_nodes, d] = a S A S x + b z, with S = D^-1/2, and b = b_user or b_item by the row's kind.
  /// The matrix is symmetric, so the same call is its own backward. y must be neither x nor z.
  /// a = 0 leaves x unread.
  virtual void propagate(Matrix<T> y, ConstMatrix<T> x, ConstMatrix<T> z, T a, T b_user, T b_item,
                         const Graph<T>& graph) = 0;

  // --------------------------------------------------------------------------------- rows

  /// y [n, d] = x[rows].
  virtual void gather_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) = 0;
  /// y[rows] += x [n, d], the backward of gather_rows; rows are distinct.
  virtual void scatter_add_rows(Matrix<T> y, ConstMatrix<T> x, Rows rows) = 0;
  /// Columns to .. to + n of y [r, *] = columns from .. from + n of x [r, *]. Concatenates columns
  /// and takes them apart again.
  virtual void copy_columns(Matrix<T> y, size_t to, ConstMatrix<T> x, size_t from, size_t n) = 0;
  /// y = b y + a x, entry by entry. b = 0 leaves y unread.
  virtual void add(Matrix<T> y, double b, ConstMatrix<T> x, double a) = 0;
  /// y = x where x > 0, else 0.01 x. y may be x.
  virtual void leaky_relu_forward(Matrix<T> y, ConstMatrix<T> x) = 0;
  /// d_x = d_y where y > 0, else 0.01 d_y; y has the sign of x. d_x may be d_y.
  virtual void leaky_relu_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> y) = 0;
  /// Each row of y = x / max(|x|, 1e-12).
  virtual void normalise_forward(Matrix<T> y, ConstMatrix<T> x) = 0;
  /// d|x|/dx = x/|x|, so each row of d_x = (d_y - y (y . d_y)) / |x| with y = x / |x|; below the
  /// floor d_x = d_y / 1e-12. d_x may be d_y.
  virtual void normalise_backward(Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x) = 0;

  // --------------------------------------------------------------------------------- edges

  /// y [n, d] += scale * sum over the row's pairs k of w_edge[k] x_target[k]: y += S x for the
  /// sparse matrix S of these weights. With the pairs of its transpose it is its own backward,
  /// d_x += S^T d_y. w [*, 1], x [*, d].
  virtual void add_weighted(Matrix<T> y, ConstMatrix<T> w, ConstMatrix<T> x, const Pairs& pairs,
                            double scale) = 0;
  /// w_edge[k] += scale * y_r . x_target[k] for each pair k of row r: with y = d_y it is the
  /// gradient of add_weighted's weights. w [*, 1], y [n, d], x [*, d]; edges are distinct.
  virtual void edge_dot(Matrix<T> w, ConstMatrix<T> y, ConstMatrix<T> x, const Pairs& pairs,
                        double scale) = 0;
  /// alpha_e = exp(a_e - max) / (sum of exp(a - max) + 1e-16) over the edges e of each row. alpha
  /// and a [*, 1]; alpha may be a.
  virtual void edge_softmax_forward(Matrix<T> alpha, ConstMatrix<T> a, const Pairs& pairs) = 0;
  /// d_a_e = alpha_e (d_alpha_e - sum over the row's edges of alpha d_alpha). d_a may be d_alpha.
  virtual void edge_softmax_backward(Matrix<T> d_a, ConstMatrix<T> d_alpha, ConstMatrix<T> alpha,
                                     const Pairs& pairs) = 0;
  /// y = w * mask / (1 - *rate): the weights of the edges that are kept, so that a sum over a row's
  /// edges keeps its mean. All [n, 1].
  virtual void drop_edges(Matrix<T> y, ConstMatrix<T> w, Matrix<const uint8_t> mask,
                          const double* rate) = 0;
  /// The weight of each edge e of row r: w_e = max(0, max over m of alpha_me c_rm), and chosen_e =
  /// the first m with this maximum, or -1 where w_e = 0. w and chosen [*, 1], alpha
  /// [n_modalities, *], c [n, n_modalities].
  virtual void edge_weights_forward(Matrix<T> w, Matrix<int32_t> chosen, ConstMatrix<T> alpha,
                                    ConstMatrix<T> c, const Pairs& pairs) = 0;
  /// dw_e = c_rm dalpha_me + alpha_me dc_rm for m = chosen_e, so d_alpha_me = c_rm d_w_e there,
  /// else 0, and d_c_rm = sum over the row's edges that chose m of alpha_me d_w_e.
  virtual void edge_weights_backward(Matrix<T> d_alpha, Matrix<T> d_c, ConstMatrix<T> d_w,
                                     Matrix<const int32_t> chosen, ConstMatrix<T> alpha,
                                     ConstMatrix<T> c, const Pairs& pairs) = 0;

  // -------------------------------------------------------------------------- masks [Eq. 5]

  /// mask [n, d] = 0 where the entry (rows[k], column) is dropped, else 1: drawn with probability
  /// p in [0, 1) from Philox with the key (seed, stream, *step, row, column); rows below 2^30.
  virtual void draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) = 0;
  /// *rate = ratio times a uniform number in (0, 1), and mask [n, 1] = 0 where an edge is dropped,
  /// with probability *rate, else 1: drawn from Philox with the key (seed, stream, *step). ratio in
  /// [0, 1].
  virtual void draw_edges(Matrix<uint8_t> mask, double* rate, double ratio,
                          const DrawKey& key) = 0;

  // ------------------------------------------------------------------------ losses [Eq. 8-12]

  /// One pass over views, their cosines and the gradient: *loss += mean * sum over pairs of
  /// 1 + C(a_r, b_target), and d_a [n, d] += weight * its gradient. a [n, d]; b: views of [*, d].
  virtual void cosine_loss(double* loss, Matrix<T> d_a, ConstMatrix<T> a, const View<T>& b,
                           const Pairs& pairs, double mean, double weight) = 0;
  /// BPR's loss in one pass over the users' rows: for each triple x [B, 1] = u_r . (i_p - i_n),
  /// *loss += mean * sum of pair_forward(x), c [B, 1] = weight * mean * pair_backward(x) = dL/dx
  /// and d_u [n, d] += sum of c (i_p - i_n). u [n, d]; i [*, d]. add_weighted with w = c gives the
  /// positives' gradient, d_i += sum of c u; with scale = -1 the negatives'.
  virtual void pair_loss(double* loss, Matrix<T> x, Matrix<T> c, Matrix<T> d_u, ConstMatrix<T> u,
                         ConstMatrix<T> i, const Triples& triples, PairForm form, double mean,
                         double weight) = 0;
  /// The regulariser on a batch's rows x [n, d], each counted once for each of its pairs:
  /// *norm = |x|_F and *loss += mean * |x|_F, or, in the squared form, mean * |x|_F^2.
  virtual void penalty_forward(double* loss, double* norm, ConstMatrix<T> x, const Pairs& pairs,
                               RegForm form, double mean) = 0;
  /// d_x [n, d] += (number of the row's pairs) * scale * x / |x|_F, or, in the squared form,
  /// * scale * 2 x; 0 where *norm is 0.
  virtual void penalty_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                                const Pairs& pairs, RegForm form, double scale) = 0;
  /// The norm form on a whole table: *norm = |x|_F and *loss += mean * |x|_F.
  virtual void norm_forward(double* loss, double* norm, ConstMatrix<T> x, double mean) = 0;
  /// d_x = scale * x / |x|_F with |x|_F = *norm, since d|x|_F/dx = x/|x|_F; 0 where *norm is 0. d_x
  /// may be x.
  virtual void norm_backward(Matrix<T> d_x, const double* norm, ConstMatrix<T> x,
                             double scale) = 0;

  // --------------------------------------------------------------------------------------- Adam

  /// *step += 1, on the device.
  virtual void advance(uint32_t* step) = 0;
  /// Step t = *step of every entry of p, m, v with the gradient g, all [1, n].
  virtual void adam(Matrix<T> p, Matrix<T> m, Matrix<T> v, ConstMatrix<T> g,
                    const AdamTime<T>& time) = 0;
  /// Brings rows up to date to step t = *step + lag: the updates with gradient 0 of the steps
  /// last[row] + 1 .. t, then last[row] = t. A row without history (last = 0) stays as it is: m and
  /// v are 0.
  virtual void adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) = 0;
  /// Step t = *step on rows with the gradients g [n, d]; the rows are up to date to step t - 1;
  /// then last[row] = t.
  virtual void adam_rows(const AdamRows<T>& at, ConstMatrix<T> g, const AdamTime<T>& time) = 0;

  // -------------------------------------------------------------------------- ranking [Eq. 13]

  /// item [n, k] = the k items with the largest h_u[users[r]] . h_i, best first, without those the
  /// user has in the graph; equal scores by the lower item number; -1 where none is left.
  /// h_u [n_users, d], h_i [n_items, d].
  virtual void top_k(Matrix<int32_t> item, ConstMatrix<T> h_u, ConstMatrix<T> h_i, Rows users,
                     const Graph<T>& graph) = 0;

  // ------------------------------------------------------------------------------ metrics (4.3)

  /// sums [n_metrics] = sums over the users of `truth` of user_metric, whose table is `ideal`, for
  /// the ranked lists item [*, k].
  virtual void metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
                       const double* ideal) = 0;
};

/// Returns the operations on this computer's processor with `threads` OpenMP threads (0: as many as
/// OpenMP gives).
template <class T>
std::unique_ptr<Ops<T>> make_cpu_ops(int threads);

}  // namespace bm3
