#pragma once
// The optimiser: Adam over all parameters, exact and lazy over the rows of tuned features.
#include "layers/batch.h"
#include "layers/parameters.h"
#include "layers/saved_array.h"

namespace bm3 {

struct AdamConfig {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decay = 1;        // the learning rate of epoch e, from 0, is lr decay^(e/50)
  size_t epoch_steps = 1;  // steps of an epoch
};

/// Adam (Kingma and Ba, 2015) for at most `max_steps` steps. A step is: `begin_step`, forward and
/// backward passes, `step`. Rows of tuned features that a batch does not touch wait with their
/// momentum; `begin_step` replays it for the rows that are needed next, to the same bits as if
/// every row had been updated in every step.
template <class T>
class Adam {
 public:
  /// `features` are the tuned ones, perhaps none.
  Adam(Ops<T>& ops, Parameters<T>& parameters, std::vector<Features<T>*> features,
       const AdamConfig& config, size_t max_steps);

  /// Advances t and replays the rows of tuned features that the step has a gradient of up to step
  /// t - 1.
  void begin_step(Rows rows);
  /// Updates from the gradients.
  void step(Rows rows);
  /// Replays every row of tuned features up to step t.
  void catch_up();
  /// Returns the moments, and the last steps of rows of tuned features, for checkpoints.
  std::vector<SavedArray> saved();
  /// Sets t <= max_steps, where the arrays of `saved` have their values of that step.
  void resume(size_t t);
  /// Returns t, on the device.
  const uint32_t* now() const { return step_.data(); }

 private:
  struct State {  // of one table of tuned features
    Features<T>* features;
    Table<T> m, v;
    Table<uint32_t> last;
    AdamRows<T> at(Rows rows) const { return {features->value, m, v, last.at, rows}; }
  };
  AdamTime<T> time() { return {constants_, schedule_.data(), step_.data()}; }

  Ops<T>& ops_;
  Parameters<T>& parameters_;
  AdamConstants<T> constants_;
  Array<AdamStep<T>> schedule_;  // [max_steps + 1]
  Array<uint32_t> step_;
  Table<T> m_, v_;
  std::vector<State> states_;
};

}  // namespace bm3
