#include "layers/adam.h"

#include <cmath>

namespace bm3 {

template <class T>
Adam<T>::Adam(Ops<T>& ops, Parameters<T>& parameters, std::vector<Features<T>*> features,
              const AdamConfig& config, size_t max_steps)
    : ops_(ops),
      parameters_(parameters),
      constants_(config.beta1, config.beta2, config.epsilon),
      step_(ops, 1),
      m_(ops, 1, parameters.values().size()),
      v_(ops, 1, m_.size()) {
  std::vector<AdamStep<T>> schedule(max_steps + 1);
  for (size_t t = 1; t <= max_steps; ++t) {
    const auto power = static_cast<double>(t);
    const auto epoch = static_cast<double>((t - 1) / config.epoch_steps);
    const double lr = config.lr * std::pow(config.decay, epoch / 50);
    schedule[t] = {static_cast<T>(lr / (1 - std::pow(config.beta1, power))),
                   static_cast<T>(1 / std::sqrt(1 - std::pow(config.beta2, power)))};
  }
  schedule_ = Array<AdamStep<T>>(ops, schedule);
  for (auto* e : features) {
    const auto [at, rows, cols] = static_cast<Matrix<T>>(e->value);
    states_.push_back({e, {ops, rows, cols}, {ops, rows, cols}, {ops, rows, 1}});
  }
}

template <class T>
void Adam<T>::begin_step(Rows rows) {
  ops_.advance(step_.data());
  for (State& state : states_) ops_.adam_replay(state.at(rows), time(), -1);
}

template <class T>
void Adam<T>::step(Rows rows) {
  ops_.adam(parameters_.values(), m_, v_, parameters_.gradients(), time());
  for (State& state : states_)
    ops_.adam_rows(state.at(rows), state.features->gradient(rows.n), time());
}

template <class T>
void Adam<T>::catch_up() {
  for (State& state : states_)
    ops_.adam_replay(state.at({nullptr, state.m.rows}), time(), 0);
}

template <class T>
std::vector<SavedArray> Adam<T>::saved() {
  std::vector<SavedArray> out;
  for (const auto& p : parameters_.all()) {
    const auto first = static_cast<size_t>(p.value.at - parameters_.values().at);
    for (auto* moment : {&m_, &v_})
      out.push_back(saved_array((moment == &m_ ? "adam/m/" : "adam/v/") + p.name,
                                Matrix<T>{moment->at + first, p.rows, p.cols}));
  }
  for (State& state : states_) {
    const std::string& name = state.features->name;
    out.push_back(saved_array("adam/features/m/" + name, state.m));
    out.push_back(saved_array("adam/features/v/" + name, state.v));
    out.push_back(saved_array("adam/features/last/" + name, state.last));
  }
  return out;
}

template <class T>
void Adam<T>::resume(size_t t) {
  step_.upload({static_cast<uint32_t>(t)});
}

template class Adam<float>;
template class Adam<double>;

}  // namespace bm3
