#pragma once
// Training by the paper's protocol (4.4): Adam on shuffled batches, validation after each epoch,
// early stop, figures of the best validation epoch.
#include <functional>

#include "data/dataset.h"
#include "evaluate.h"
#include "model/adam.h"

namespace bm3 {

struct TrainConfig {
  Bm3Config model;
  AdamConfig adam;
  size_t batch = 2048;
  size_t epochs = 1000;   // at most
  size_t patience = 20;   // epochs without a better validation R@20
  uint64_t seed = 999;
};

struct Epoch {
  size_t number = 0;  // from 1
  LossParts loss;     // means over the epoch's batches
  Metrics valid;
  double train_seconds = 0, valid_seconds = 0;
  bool best = false;  // so far, by validation R@20
};

struct TrainResult {
  size_t best_epoch = 0;
  Metrics valid, test;
  std::vector<float> user, item;  // h~ [n_users, d], [n_items, d] of the best epoch
};

struct TrainProgress {
  std::function<void(size_t n_parameters)> on_ready;             // everything loaded and allocated
  std::function<void(size_t batches_done, size_t batches)> on_batch;
  std::function<void(const Epoch&)> on_epoch;
};

/// Trains BM3 on `data`. Same seed, same device: same result, whatever the number of threads.
/// Errors: a validation or test split without users of the training split; features that are not
/// finite; a loss, or embeddings of the best epoch so far, that are not, with the epoch and what to
/// try.
TrainResult train(Ops<float>& ops, const Dataset& data, const TrainConfig& config,
                  const TrainProgress& progress);

}  // namespace bm3
