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
      m_(ops, parameters.values().size()),
      v_(ops, parameters.values().size()) {
  std::vector<AdamStep<T>> schedule(max_steps + 1);
  for (size_t t = 1; t <= max_steps; ++t) {
    const auto power = static_cast<double>(t);
    const auto epoch = static_cast<double>((t - 1) / config.epoch_steps);
    const double lr = config.lr * std::pow(config.decay, epoch / 50);
    schedule[t] = {static_cast<T>(lr / (1 - std::pow(config.beta1, power))),
                   static_cast<T>(1 / std::sqrt(1 - std::pow(config.beta2, power)))};
  }
  schedule_ = Array<AdamStep<T>>(ops, schedule);
  for (auto* e : features)
    states_.push_back({e, Array<T>(ops, e->value.size()), Array<T>(ops, e->value.size()),
                       Array<uint32_t>(ops, e->value.rows)});
}

template <class T>
AdamRows<T> Adam<T>::rows_of(State& state, Rows rows) {
  const Matrix<T>& e = state.features->value;
  return {e, state.m.matrix(e.rows, e.cols), state.v.matrix(e.rows, e.cols), state.last.data(),
          rows};
}

template <class T>
void Adam<T>::begin_step(Rows rows) {
  ops_.advance(step_.data());
  for (State& state : states_) ops_.adam_replay(rows_of(state, rows), time(), -1);
}

template <class T>
void Adam<T>::step(Rows rows) {
  ops_.adam(parameters_.values(), m_.matrix(1, m_.size()), v_.matrix(1, v_.size()),
            parameters_.gradients(), time());
  for (State& state : states_)
    ops_.adam_rows(rows_of(state, rows), state.features->gradient(rows.n), time());
}

template <class T>
void Adam<T>::catch_up() {
  for (State& state : states_)
    ops_.adam_replay(rows_of(state, {nullptr, state.features->value.rows}), time(), 0);
}

template <class T>
std::vector<SavedArray> Adam<T>::saved() {
  std::vector<SavedArray> out;
  for (const auto& p : parameters_.all()) {
    const auto first = static_cast<size_t>(p.value.at - parameters_.values().at);
    for (auto* moment : {&m_, &v_})
      out.push_back(saved_array((moment == &m_ ? "adam/m/" : "adam/v/") + p.name,
                                Matrix<T>{moment->data() + first, p.value.rows, p.value.cols}));
  }
  for (State& state : states_) {
    const auto [e, m, v, last, rows] = rows_of(state, {});
    out.push_back(saved_array("adam/features/m/" + state.features->name, m));
    out.push_back(saved_array("adam/features/v/" + state.features->name, v));
    out.push_back(saved_array("adam/features/last/" + state.features->name,
                              Matrix<uint32_t>{last, e.rows, 1}));
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
