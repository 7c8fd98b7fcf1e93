#pragma once
// The last term of Eq. 12, on the representations before the predictor.
#include "model/batch.h"
#include "ops/ops.h"

namespace bm3 {

enum class RegForm {
  norm,     // lambda (|H_u|_F + |H_i|_F) / n_items over all nodes: the released code
  squared,  // lambda mean over the batch's pairs of |h_u|^2 + |h_i|^2: the paper's text
};

/// Adds the term to *loss. H [n_nodes, d]; z: a batch's rows of H, users then items; norms [2]
/// keeps |H_u|_F and |H_i|_F for the backward pass of the norm form.
template <class T>
void regulariser_forward(Ops<T>& ops, double* loss, double* norms, const T* H, const T* z,
                         RegForm form, double lambda, const Graph<T>& graph, const Batch& batch,
                         size_t d) {
  const size_t users = static_cast<size_t>(graph.n_users) * d;
  const size_t items = static_cast<size_t>(graph.n_items) * d;
  if (form == RegForm::norm) {
    const double scale = lambda / static_cast<double>(graph.n_items);
    ops.norm_forward(loss, norms, H, scale, users);
    ops.norm_forward(loss, norms + 1, H + users, scale, items);
  } else {
    const double scale = lambda / static_cast<double>(batch.size);
    ops.squared_forward(loss, z, batch.by_user, scale, d);
    ops.squared_forward(loss, z + batch.n_users * d, batch.by_item, scale, d);
  }
}

/// The gradients of the forward pass. Norm: d_H = scale H/|H|_F, side by side (d|H|_F/dH = H/|H|_F;
/// d_H may be H). Squared: d_H = 0 and d_z += 2 scale z for each pair of the row.
template <class T>
void regulariser_backward(Ops<T>& ops, T* d_H, T* d_z, const double* norms, const T* H, const T* z,
                          RegForm form, double lambda, const Graph<T>& graph, const Batch& batch,
                          size_t d) {
  const size_t users = static_cast<size_t>(graph.n_users) * d;
  const size_t items = static_cast<size_t>(graph.n_items) * d;
  if (form == RegForm::norm) {
    const double scale = lambda / static_cast<double>(graph.n_items);
    ops.norm_backward(d_H, norms, H, scale, users);
    ops.norm_backward(d_H + users, norms + 1, H + users, scale, items);
  } else {
    const double scale = lambda / static_cast<double>(batch.size);
    ops.zero(d_H, (users + items) * sizeof(T));
    ops.squared_backward(d_z, z, batch.by_user, scale, d);
    ops.squared_backward(d_z + batch.n_users * d, z + batch.n_users * d, batch.by_item, scale, d);
  }
}

}  // namespace bm3
