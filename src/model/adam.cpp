#include "model/adam.h"

#include <cmath>

namespace bm3 {

template <class T>
Adam<T>::Adam(Ops<T>& ops, Bm3<T>& model, const AdamConfig& config, size_t max_steps)
    : ops_(ops),
      model_(model),
      constants_(config.beta1, config.beta2, config.epsilon),
      step_(ops, 1),
      m_(ops, model.values().size()),
      v_(ops, model.values().size()) {
  std::vector<AdamStep<T>> schedule(max_steps + 1);
  for (size_t t = 1; t <= max_steps; ++t) {
    const auto power = static_cast<double>(t);
    schedule[t] = {static_cast<T>(config.lr / (1 - std::pow(config.beta1, power))),
                   static_cast<T>(1 / std::sqrt(1 - std::pow(config.beta2, power)))};
  }
  schedule_ = Array<AdamStep<T>>(ops, schedule);
  if (!model.config().tuned) return;
  for (auto& e : model.modalities())
    features_.push_back({Array<T>::table(ops, e.features.size()),
                         Array<T>::table(ops, e.features.size()),
                         Array<uint32_t>(ops, model.n_items()), {}, {}});
}

template <class T>
void Adam<T>::fetch_ahead() {
  for (size_t k = 0; k < features_.size(); ++k)
    for (size_t slot = 0; slot < 2; ++slot) {
      const size_t n = model_.modalities()[k].copy[slot].size();
      features_[k].copy_of_m[slot] = Array<T>(ops_, n);
      features_[k].copy_of_v[slot] = Array<T>(ops_, n);
    }
}

template <class T>
void Adam<T>::fetch(const Batch& batch) {
  if (!batch.fetched) return;
  for (size_t k = 0; k < features_.size(); ++k) {
    Features& of = features_[k];
    const size_t dim = model_.modalities()[k].dim;
    const AdamRows<T> copy = rows(k, batch);
    ops_.gather_rows(copy.m, of.m.data(), batch.items, batch.n_items, dim);
    ops_.gather_rows(copy.v, of.v.data(), batch.items, batch.n_items, dim);
  }
}

template <class T>
void Adam<T>::carry(const Batch& batch) {
  if (!batch.fetched) return;
  Batch before = batch;
  before.slot = 1 - batch.slot;
  for (size_t k = 0; k < features_.size(); ++k) {
    const size_t dim = model_.modalities()[k].dim, n = model_.modalities()[k].copy[0].size() / dim;
    const AdamRows<T> from = rows(k, before), to = rows(k, batch);
    ops_.scatter_rows(to.p, from.p, batch.carried, n, dim);
    ops_.scatter_rows(to.m, from.m, batch.carried, n, dim);
    ops_.scatter_rows(to.v, from.v, batch.carried, n, dim);
  }
}

template <class T>
void Adam<T>::write_back(const Batch& batch) {
  if (!batch.fetched || features_.empty()) return;
  ops_.beside(batch.slot, [this, batch] {
    for (size_t k = 0; k < features_.size(); ++k) {
      Features& of = features_[k];
      auto& e = model_.modalities()[k];
      const AdamRows<T> copy = rows(k, batch);
      ops_.scatter_rows(e.features.data(), copy.p, batch.items, batch.n_items, e.dim);
      ops_.scatter_rows(of.m.data(), copy.m, batch.items, batch.n_items, e.dim);
      ops_.scatter_rows(of.v.data(), copy.v, batch.items, batch.n_items, e.dim);
    }
  });
}

template <class T>
AdamRows<T> Adam<T>::rows(size_t k, const Batch& batch) {
  Features& of = features_[k];
  auto& e = model_.modalities()[k];
  if (!batch.fetched)
    return {e.features.data(), of.m.data(), of.v.data(), of.last.data(), batch.items};
  return {e.copy_of(batch).data(), of.copy_of_m[batch.slot].data(),
          of.copy_of_v[batch.slot].data(), of.last.data(), batch.items, true};
}

template <class T>
void Adam<T>::begin_step(const Batch& batch) {
  ops_.advance(step_.data());
  if (features_.empty()) return;
  ops_.beside(part_of_step, [this, batch] {
    for (size_t k = 0; k < features_.size(); ++k)
      ops_.adam_replay(rows(k, batch), constants_, schedule_.data(), step_.data(), -1,
                       batch.n_items, model_.modalities()[k].dim);
  });
}

template <class T>
void Adam<T>::step(const Batch& batch) {
  ops_.adam(model_.values().data(), m_.data(), v_.data(), model_.gradients().data(), constants_,
            schedule_.data(), step_.data(), m_.size());
  for (size_t k = 0; k < features_.size(); ++k) {
    auto& e = model_.modalities()[k];
    ops_.adam_rows(rows(k, batch), e.d_features.data(), constants_, schedule_.data(), step_.data(),
                   batch.n_items, e.dim);
  }
}

template <class T>
void Adam<T>::catch_up() {
  for (size_t slot = 0; slot < 2; ++slot) ops_.join(slot);  // the last rows are written back
  for (size_t k = 0; k < features_.size(); ++k)
    ops_.adam_replay(rows(k, Batch{}), constants_, schedule_.data(), step_.data(), 0,
                     model_.n_items(), model_.modalities()[k].dim);
}

template class Adam<float>;
template class Adam<double>;

}  // namespace bm3
