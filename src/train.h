#pragma once
// Training by the paper's protocol (4.4): Adam on shuffled batches, validation after each epoch,
// early stop, figures of the best validation epoch.
#include <functional>

#include "data/dataset.h"
#include "evaluate.h"
#include "models/model.h"

namespace bm3 {

/// The settings that every model's training has, lr, batch, epochs, patience and seed, with this
/// model's defaults.
std::vector<Setting> training_settings(const ModelKind& kind);

struct Epoch {
  size_t number = 0;         // from 1
  std::vector<Loss> losses;  // means over the epoch's batches
  Metrics valid;
  double train_seconds = 0, valid_seconds = 0;
  bool best = false;  // so far, by validation R@20
};

struct TrainResult {
  std::vector<Epoch> epochs;
  size_t allocated = 0;  // bytes on the device when the first epoch began
  // Of the best epoch:
  size_t best_epoch = 0;
  Metrics valid, test;
  size_t width = 0;               // w
  std::vector<float> user, item;  // final vectors [n_users, w], [n_items, w]
  std::vector<int32_t> lists;     // best items [n_users, longest_list], as `rank` gives them

  Metrics by_popularity;  // the test split's, by rank_by_popularity
};

struct TrainProgress {
  std::function<void(size_t n_parameters)> on_ready;  // everything is loaded and allocated
  std::function<void(size_t epoch, size_t batches_done, size_t batches)> on_batch;
  std::function<void(const Epoch&)> on_epoch;
};

/// Trains a model on `data` by `settings`, the model's and the training's. The same seed on the
/// same device gives the same result, whatever the number of threads. Throws where the validation
/// or test split has no user of the training split, features are not finite, or a loss or the best
/// epoch's vectors are not, with the epoch and what to try.
TrainResult train(Ops<float>& ops, const Dataset& data, const ModelKind& kind,
                  const Settings& settings, const TrainProgress& progress);

}  // namespace bm3
