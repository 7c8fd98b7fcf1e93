#pragma once
// Sweeps: the runs that several values of options make, one after the other, and their summary.
#include <functional>

#include "data/dataset.h"
#include "options.h"

namespace bm3 {

/// A run of a sweep, which is a command line of its own.
struct SweepRun {
  TrainOptions options;             // as `words` give them
  std::vector<std::string> words;   // of the command line, after `bm3`
  std::vector<std::string> values;  // of Sweep::columns; "": the model has no such option
};

struct Sweep {
  std::vector<std::string> columns;  // options with several values but --model, --seed: "layers"
  std::vector<SweepRun> runs;        // seeds innermost
};

/// Returns the runs: the product of all values, for each model of those of its options. A run's
/// folder, in options.out, is named after its model, its values of the columns and its seed. Throws
/// what parse_command_line throws for a run, and where an option or a value stands twice.
Sweep plan(const SweepOptions& options);

/// Runs what is not finished, each run as a program of its own, and prints the summary and writes
/// it to the folder; a dry run prints command lines only. `find` loads a run's data set. Throws
/// where another sweep works in the folder, where a finished run there is of other settings or
/// data, and at the end where runs failed.
void run_sweep(const SweepOptions& options,
               const std::function<Dataset(const TrainOptions&)>& find);

}  // namespace bm3
