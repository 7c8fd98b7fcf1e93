#pragma once
// The optimiser: Adam over all parameters, exact and lazy over the rows of tuned features.
#include <cmath>

#include "layers/parameters.h"
#include "layers/saved_array.h"

namespace bm3 {

struct AdamConfig {
  double lr;
  double decay = 1;        // the learning rate of epoch e, from 0, is lr decay^(e/50)
  size_t epoch_steps = 1;  // steps of an epoch
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

/// Adam (Kingma and Ba, 2015) for at most `max_steps` steps. A step is: `begin_step`, forward and
/// backward passes, `step`. Rows of tuned features that a batch does not touch wait with their
/// momentum; `begin_step` replays it for the rows that are needed next, to the same bits as if
/// every row had been updated in every step.
template <class T>
class Adam {
 public:
  /// `features` are the tuned ones, perhaps none. `step` is t <= max_steps, on the device.
  Adam(Ops<T>& ops, Parameters<T>& parameters, std::vector<Features<T>*> features,
       const AdamConfig& config, size_t max_steps, const uint32_t* step)
      : ops_(ops),
        parameters_(parameters),
        constants_(config.beta1, config.beta2, config.epsilon),
        step_(step),
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
      const size_t rows = e->value.rows, cols = e->value.cols;
      states_.push_back({e, {ops, rows, cols}, {ops, rows, cols}, {ops, rows, 1}});
    }
  }

  /// Replays, up to step t - 1, the rows of tuned features that have a gradient in step t.
  void begin_step(Rows rows) {
    for (State& state : states_) ops_.adam_replay(state.at(rows), time(), -1);
  }
  /// Does step t, from the gradients. Tables and layers are apart: a device may have the gradients
  /// of the one before those of the other.
  void step(Rows rows) {
    const auto adam = [&](size_t first, size_t end) {
      const auto part = [=](const Matrix<T>& all) {
        return Matrix<T>{all.at + first, 1, end - first};
      };
      ops_.adam(part(parameters_.values()), part(m_), part(v_), part(parameters_.gradients()),
                time());
    };
    const size_t tables = parameters_.size_of_tables();
    adam(0, tables);
    adam(tables, m_.size());
    for (State& state : states_)
      ops_.adam_rows(state.at(rows), state.features->gradient(rows.n), time());
  }
  /// Replays every row of tuned features up to step t.
  void catch_up() {
    for (State& state : states_) ops_.adam_replay(state.at({nullptr, state.m.rows}), time(), 0);
  }

  /// Returns the moments, and the last steps of rows of tuned features, for checkpoints.
  std::vector<SavedArray> saved() {
    std::vector<SavedArray> out;
    for (const auto& p : parameters_.all()) {
      const auto first = static_cast<size_t>(p.value.at - parameters_.values().at);
      out.push_back(saved_array("adam/m/" + p.name, Matrix<T>{m_.at + first, p.rows, p.cols}));
      out.push_back(saved_array("adam/v/" + p.name, Matrix<T>{v_.at + first, p.rows, p.cols}));
    }
    for (State& state : states_) {
      const std::string& name = state.features->name;
      out.push_back(saved_array("adam/features/m/" + name, state.m));
      out.push_back(saved_array("adam/features/v/" + name, state.v));
      out.push_back(saved_array("adam/features/last/" + name, state.last));
    }
    return out;
  }

 private:
  struct State {  // of one table of tuned features
    Features<T>* features;
    Table<T> m, v;
    Table<uint32_t> last;
    AdamRows<T> at(Rows rows) const { return {features->value, m, v, last.at, rows}; }
  };
  AdamTime<T> time() { return {constants_, schedule_.data(), step_}; }

  Ops<T>& ops_;
  Parameters<T>& parameters_;
  AdamConstants<T> constants_;
  Array<AdamStep<T>> schedule_;  // [max_steps + 1]
  const uint32_t* step_;
  Table<T> m_, v_;
  std::vector<State> states_;
};

}  // namespace bm3
