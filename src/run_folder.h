#pragma once
// The folder that a training run leaves, written whole or not at all: README.md lists its files.
// Nothing but timing.csv depends on the time of day, on speed or on the number of threads.
#include "options.h"
#include "train.h"

namespace bm3 {

/// Throws unless `out` can be created: a new or empty folder, without a checkpoint next to it, and
/// not the one that the program is in. Where a run is resumed, its files may be there, and nothing
/// else: `write_run` replaces them.
void check_run_folder(const std::filesystem::path& out, bool resume);

/// Writes the folder `out`; options.device is what choose_device returned. Throws when it cannot be
/// written, or its name is taken by now; then nothing is left.
void write_run(const std::filesystem::path& out, const TrainOptions& options, const Dataset& data,
               const TrainResult& result);

/// Returns where the checkpoint of a run is: next to its folder.
std::filesystem::path checkpoint_path(const std::filesystem::path& out);

/// Returns what a run's checkpoint says besides its `identity`.
Json about_run(const TrainOptions& options, const Dataset& data);

/// Returns a run's options by its checkpoint, with the data folder and threads of `given` where it
/// has some. Throws where there is no such checkpoint.
TrainOptions resumed_options(const TrainOptions& given);

/// Gives config.json to `take`. Throws, naming the file, where it is no run's or damaged.
void read_config(const std::filesystem::path& folder, const std::function<void(const Json&)>& take);

/// Whether a run in this folder has come to its end.
bool is_complete(const std::filesystem::path& out);

/// What `recommend` and `eval` need of a run.
struct Run {
  TrainOptions options;  // with which it began; without a data folder: of the built-in stand-in
  size_t n_users, n_items;
  uint64_t checksum;  // of the interactions
  std::vector<std::string> user_ids, item_ids;  // original ids by number, those of items that are
                                                // in a list; empty: not known
  TrainResult result;  // figures, vectors and lists
};

/// Reads a folder that `write_run` wrote, but for log.csv. Throws when a file is missing, damaged,
/// impossible or not of the sizes that config.json states.
Run read_run(const std::filesystem::path& folder);

}  // namespace bm3
