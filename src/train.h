#pragma once
// Training by the paper's protocol (4.4): Adam on shuffled batches, validation after each epoch,
// early stop, figures of the best validation epoch. Without validation every epoch is the best so
// far: the last one counts.
#include <filesystem>
#include <functional>

#include "data/dataset.h"
#include "json.h"
#include "models/model.h"

namespace bm3 {

/// Returns this process's memory in MiB by a field of /proc/self/status: VmRSS, what it has now, or
/// VmHWM, the most that it has had (of this program alone, unlike getrusage's).
double process_mib(const std::string& field);

/// The settings that every model's training has, lr, lr-decay, batch, epochs, patience, seed and
/// split-seed, with this model's defaults.
std::vector<Setting> training_settings(const ModelKind& kind);
/// The model's settings and the training's, with their defaults.
Settings all_settings(const ModelKind& kind);

struct Epoch {
  size_t number = 0;         // from 1
  std::vector<Loss> losses;  // means over the epoch's batches
  Metrics valid;
  double train_seconds = 0, valid_seconds = 0;
  double allocated_mib = 0, process_mib = 0;  // the most so far: on the device, of the process
  bool best = false;                          // so far, by validation R@20
  size_t since_best = 0;                      // epochs
};

struct TrainResult {
  std::vector<Epoch> epochs;
  size_t allocated = 0;  // bytes on the device when the first epoch began
  std::string ended;     // `complete`, `interrupted`, or what is not finite and what to try
  // Of the best epoch:
  size_t best_epoch = 0;          // 0: the first was interrupted
  Metrics valid, test;            // of 0 users where the data have no such split
  size_t width = 0;               // w
  std::vector<float> user, item;  // final vectors [n_users, w], [n_items, w]
  std::vector<int32_t> lists;     // best items [n_users, longest_list], as `rank` gives them

  Metrics by_popularity;  // the test split's, by rank_by_popularity
};

constexpr const char *complete = "complete", *interrupted = "interrupted";

/// What a training tells, how it is saved, goes on, and is stopped.
struct TrainHooks {
  /// Everything is loaded and allocated.
  std::function<void(size_t n_parameters)> on_ready = [](size_t) {};
  std::function<void(size_t epoch, size_t batches_done, size_t batches)> on_batch =
      [](size_t, size_t, size_t) {};
  std::function<void(const Epoch&)> on_epoch = [](const Epoch&) {};
  std::filesystem::path file;   // of the checkpoint; empty: none is written
  Json about = Json::object();  // what the checkpoint says besides `identity`
  bool resume = false;          // go on from the checkpoint
  std::function<bool()> stop = [] { return false; };  // is asked after each batch
  /// Is told why a checkpoint could not be written; the last one stays.
  std::function<void(const std::string&)> not_saved = [](const std::string&) {};
};

/// Shuffles `pairs` for an epoch, drawn from (seed, epoch, place) (Fisher and Yates).
void shuffle(std::vector<Interaction>& pairs, uint64_t seed, size_t epoch);

/// Trains a model on `data` by `settings`, the model's and the training's. The same seed on the
/// same device gives the same result, whatever the number of threads, and wherever the training was
/// stopped and resumed.
///
/// Writes a checkpoint at the start, every four minutes, within an epoch too, and at the end: the
/// caller removes it when the result is safe. Ends early, with the best epoch so far, when `stop`
/// says so or a loss is no longer finite.
///
/// Throws where a validation or test split has no user of the training split, where there is no
/// validation and the number of epochs was not set, where features are not finite, and as
/// Checkpoint, Negatives and make_model do. Throws and removes the checkpoint where the first
/// epoch's loss or the best epoch's scores are not finite, with what to try.
TrainResult train(Ops<float>& ops, const Dataset& data, const ModelKind& kind,
                  const Settings& settings, const TrainHooks& hooks = {});

}  // namespace bm3
