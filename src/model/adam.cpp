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
                         Array<uint32_t>(ops, model.n_items())});
}

template <class T>
void Adam<T>::begin_step(const Batch& batch) {
  ops_.advance(step_.data());
  for (size_t k = 0; k < features_.size(); ++k) {
    auto& e = model_.modalities()[k];
    auto& state = features_[k];
    ops_.adam_replay(e.features.data(), state.m.data(), state.v.data(), state.last.data(),
                     batch.items, constants_, schedule_.data(), step_.data(), -1, batch.n_items,
                     e.dim);
  }
}

template <class T>
void Adam<T>::step(const Batch& batch) {
  ops_.adam(model_.values().data(), m_.data(), v_.data(), model_.gradients().data(), constants_,
            schedule_.data(), step_.data(), m_.size());
  for (size_t k = 0; k < features_.size(); ++k) {
    auto& e = model_.modalities()[k];
    auto& state = features_[k];
    ops_.adam_rows(e.features.data(), state.m.data(), state.v.data(), state.last.data(),
                   batch.items, e.d_features.data(), constants_, schedule_.data(), step_.data(),
                   batch.n_items, e.dim);
  }
}

template <class T>
void Adam<T>::catch_up() {
  for (size_t k = 0; k < features_.size(); ++k) {
    auto& e = model_.modalities()[k];
    auto& state = features_[k];
    ops_.adam_replay(e.features.data(), state.m.data(), state.v.data(), state.last.data(), nullptr,
                     constants_, schedule_.data(), step_.data(), 0, model_.n_items(), e.dim);
  }
}

template class Adam<float>;
template class Adam<double>;

}  // namespace bm3
