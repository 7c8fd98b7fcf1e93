#pragma once
// What a person sees of a run: progress and remarks on standard error, results on standard output.
#include <cstdio>

#include "options.h"
#include "train.h"

namespace bm3 {

/// Prints the data set's sizes, whether its split is drawn, the users and items that its training
/// lacks, its modalities, and whether it is made up.
void print_data(const Dataset& data, const ModelKind& model);

/// Prints the model, its settings and the training's, and what it runs on.
void print_setup(const TrainOptions& options, size_t n_parameters, const Ops<float>& ops);

/// Draws a bar on a terminal, which the epoch's line replaces; prints nothing in a pipe.
void print_progress(size_t epoch, size_t batches_done, size_t batches);

/// Returns a duration in at most six characters.
std::string duration(double seconds);

/// The table of the epochs, in 80 columns.
class EpochTable {
 public:
  explicit EpochTable(size_t epochs) : epochs_(epochs) {}
  /// Prints the header before the first line, then L and those of its losses that are on, without
  /// their weights; validation; seconds of training and of validation; how many epochs ago the best
  /// one was; the time to the last epoch.
  void print(const Epoch& epoch);

 private:
  const size_t epochs_;  // at most
  size_t lines_ = 0;
  double seconds_ = 0;
};

/// Prints why the training stopped, which epoch was the best, and the most memory that was in use.
void print_end(const TrainResult& result, const Settings& settings, const Ops<float>& ops);

/// Prints what to try where an epoch is one batch, and where the test R@20 is below that of ranking
/// by popularity.
void print_advice(const TrainResult& result, const Dataset& data, const Settings& settings);

/// Prints that the data set of this name is made up.
void print_made_up(std::FILE* to, const std::string& name);

/// Returns the model's published figures where `data` is Amazon's Baby, Sports or Electronics by
/// its name and sizes, else null.
const Published* published_figures(const Dataset& data, const ModelKind& model);

/// Prints the table R@10 R@20 N@10 N@20, with the model's published row where there is one, and
/// which rows there cannot be for want of a split; for made-up data, that it is made up.
void print_results(std::vector<std::pair<std::string, Metrics>> rows, const Dataset& data,
                   const ModelKind& model);

/// Prints a line for each user, with tabs: the number, how many items were held out, every metric.
void print_users(const std::vector<UserMetrics>& users);

}  // namespace bm3
