#pragma once
// The three stop-gradient losses [Eq. 9-11]: means over the batch's B pairs of 1 + C(h~, sg(h')),
// so that 0 is perfect. Each adds itself to *loss and, unless d_h is null, its gradient to d_h; the
// views h' [Eq. 5] are targets and have none (dL/dh~ = sum of dC/dh~, see `cosine_backward`).
#include "model/batch.h"
#include "ops/ops.h"

namespace bm3 {

/// L_rec = C(h~_u, sg(h'_i)) + C(sg(h'_u), h~_i). [Eq. 9] h, d_h and view are a batch's rows:
/// users', and from element `items` on items'.
template <class T>
void reconstruct_loss(Ops<T>& ops, double* loss, T* d_h, const T* h, const View<T>& view,
                      size_t items, const Batch& batch, size_t d) {
  const double mean = 1.0 / static_cast<double>(batch.size);
  ops.cosine_loss(loss, d_h, h, view.from(items), batch.by_user, mean, d);
  ops.cosine_loss(loss, d_h ? d_h + items : nullptr, h + items, view, batch.by_item, mean, d);
}

/// The item rows' own pairs: row r with target row r, as often as the item occurs in the batch.
inline Pairs each_item(const Batch& batch) { return {batch.n_items, batch.by_item.begin, nullptr}; }

/// L_align = C(h~_m^i, sg(h'_i)) of one modality, times `weight`. [Eq. 10] All [batch.n_items, d].
template <class T>
void align_loss(Ops<T>& ops, double* loss, T* d_h_m, const T* h_m, const View<T>& view_i,
                const Batch& batch, double weight, size_t d) {
  ops.cosine_loss(loss, d_h_m, h_m, view_i, each_item(batch),
                  weight / static_cast<double>(batch.size), d);
}

/// L_mask = C(h~_m^i, sg(h'_m^i)) of one modality, times `weight`. [Eq. 11] All [batch.n_items, d].
template <class T>
void mask_loss(Ops<T>& ops, double* loss, T* d_h_m, const T* h_m, const View<T>& view_m,
               const Batch& batch, double weight, size_t d) {
  ops.cosine_loss(loss, d_h_m, h_m, view_m, each_item(batch),
                  weight / static_cast<double>(batch.size), d);
}

}  // namespace bm3
