#pragma once
// The shapes that operands must have, as operations.inc states them. A debug build checks them
// where an operation's body begins.
#include <stdexcept>
#include <string>

#include "ops/ops.h"

namespace bm3::shapes {

#ifdef NDEBUG
constexpr bool checked = false;
#else
constexpr bool checked = true;
#endif

#define BM3_SHAPE(condition)                    \
  if (::bm3::shapes::checked && !(condition)) \
  throw std::logic_error(std::string(__func__) + ": expected " #condition)

template <class A, class B>
bool same(const Matrix<A>& a, const Matrix<B>& b) {
  return a.rows == b.rows && a.cols == b.cols;
}
template <class T>
bool are_rows_of(Rows rows, size_t n, const Matrix<T>& x) {
  return rows.at ? rows.n == n : x.rows == n;
}

template <class T>
void linear(const Matrix<T>& y, const Matrix<const T>& x, Rows rows, const Matrix<const T>& W,
            const Matrix<const T>& b) {
  BM3_SHAPE(are_rows_of(rows, y.rows, x));
  BM3_SHAPE(x.cols == W.rows && y.cols == W.cols);
  BM3_SHAPE(!b.at || (b.rows == 1 && b.cols == W.cols));
}
template <class T>
void linear_backward(const Matrix<T>& d_x, const Matrix<T>& d_W, const Matrix<T>& d_b,
                     const Matrix<const T>& d_y, const Matrix<const T>& x, Rows rows,
                     const Matrix<const T>& W) {
  BM3_SHAPE(are_rows_of(rows, d_y.rows, x));
  BM3_SHAPE(!d_x.at || (d_x.rows == d_y.rows && d_x.cols == W.rows));
  BM3_SHAPE(same(d_W, W) && x.cols == W.rows && d_y.cols == W.cols);
  BM3_SHAPE(!d_b.at || (d_b.rows == 1 && d_b.cols == W.cols));
}
template <class T>
void propagate(const Matrix<T>& y, const Matrix<const T>& x, const Matrix<const T>& z,
               const Graph<T>& graph) {
  BM3_SHAPE(same(y, x) && same(y, z) && y.rows == graph.n_nodes());
  BM3_SHAPE(y.at != x.at && y.at != z.at);
}
template <class T>
void cosine(const Matrix<T>& d_a, const Matrix<const T>& a, const View<T>& b, const Pairs& pairs) {
  BM3_SHAPE(same(d_a, a) && b.h.cols == a.cols);
  BM3_SHAPE(pairs.n == a.rows && (pairs.target || b.h.rows >= a.rows));
}
template <class T>
void pair_loss(const Matrix<T>& x, const Matrix<T>& c, const Matrix<T>& d_u,
               const Matrix<const T>& u, const Matrix<const T>& i, const Triples& triples) {
  BM3_SHAPE(same(x, c) && c.cols == 1 && same(d_u, u) && u.cols == i.cols);
  BM3_SHAPE(triples.by_user.n == u.rows && triples.by_user.target && triples.negative);
}
/// Weights w of edges between rows of y and of x, either of which is written.
template <class T>
void weighted(const Matrix<const T>& w, const Matrix<const T>& y, const Matrix<const T>& x,
              const Pairs& pairs) {
  BM3_SHAPE(y.cols == x.cols && w.cols == 1);
  BM3_SHAPE(pairs.n == y.rows && pairs.begin && pairs.target);
}
template <class T>
void weighted_sums(const Matrix<T>& y, double b, const Matrix<const T>& z,
                   const Matrix<const T>& w, const Matrix<const T>& x, const Pairs& pairs) {
  weighted<T>(w, y, x, pairs);
  BM3_SHAPE((b == 0 || same(y, z)) && y.at != x.at);
}
/// Weights w of the edges of the rows of c by alpha [n_modalities, number of edges].
template <class T>
void edge_weights(const Matrix<const T>& w, const Matrix<const int32_t>& chosen,
                  const Matrix<const T>& alpha, const Matrix<const T>& c, const Pairs& pairs) {
  BM3_SHAPE(same(w, chosen) && w.cols == 1);
  BM3_SHAPE(alpha.rows == c.cols && alpha.cols == w.rows && c.cols > 0);
  BM3_SHAPE(pairs.n == c.rows && pairs.begin);
}
template <class T>
void adam_rows(const AdamRows<T>& at) {
  BM3_SHAPE(same(at.p, at.m) && same(at.p, at.v));
  BM3_SHAPE(at.rows.at || at.rows.n == at.p.rows);
}
template <class T>
void top_k(const Matrix<int32_t>& item, const Matrix<const T>& h_u, const Matrix<const T>& h_i,
           Rows users, const Graph<T>& graph) {
  BM3_SHAPE(users.n == item.rows && h_u.cols == h_i.cols);
  BM3_SHAPE(h_u.rows == graph.n_users && h_i.rows == graph.n_items);
}

}  // namespace bm3::shapes
