#pragma once
// The optimiser: Adam over all parameters, exact and lazy over the rows of tuned features.
#include "model/bm3.h"

namespace bm3 {

struct AdamConfig {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

/// Adam for the parameters of `model`, for at most `max_steps` steps. A step t is: `begin_step`,
/// forward and backward passes, `step`. Between steps, rows of tuned features that no batch has
/// touched wait with their momentum; `begin_step` replays it for the rows that are needed next, to
/// the same bits as if every row had been updated in every step.
template <class T>
class Adam {
 public:
  Adam(Ops<T>& ops, Bm3<T>& model, const AdamConfig& config, size_t max_steps);

  // Tuned features that lie far away are fetched ahead like frozen ones (Bm3::fetch_ahead), with
  // their m and v: begin_step and step work on the copies. The order of a batch: `fetch`, beside
  // the step before; `carry`, since that step may have updated rows that both batches have, and
  // before the other slot is fetched into again; the step; `write_back`, beside the next one.

  /// After the model's.
  void fetch_ahead();
  void fetch(const Batch& batch);
  /// The rows that the batch before had too, from its copies to this batch's.
  void carry(const Batch& batch);
  /// The copies to the tables.
  void write_back(const Batch& batch);

  /// t += 1, and the batch's rows of tuned features up to date to t - 1, beside what comes until
  /// Bm3::losses.
  void begin_step(const Batch& batch);
  /// The update from the model's gradients.
  void step(const Batch& batch);
  /// Every row of tuned features up to date to t.
  void catch_up();
  /// t, on the device.
  const uint32_t* now() const { return step_.data(); }

 private:
  struct Features {  // the state of one table of tuned features
    Array<T> m, v;
    Array<uint32_t> last;
    Array<T> copy_of_m[2], copy_of_v[2];  // as Bm3::Modality::copy, when fetched ahead
  };
  /// The batch's rows of modality k, as they lie in the tables or as copies.
  AdamRows<T> rows(size_t k, const Batch& batch);
  Ops<T>& ops_;
  Bm3<T>& model_;
  AdamConstants<T> constants_;
  Array<AdamStep<T>> schedule_;  // [max_steps + 1]
  Array<uint32_t> step_;
  Array<T> m_, v_;
  std::vector<Features> features_;  // one a modality, when tuned
};

}  // namespace bm3
