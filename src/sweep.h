#pragma once
// Sweeps: the runs that several values of options make, one after the other, and what they come to.
#include <array>
#include <functional>
#include <iterator>
#include <optional>

#include "options.h"
#include "train.h"

namespace bm3 {

/// The figures of a run, in the order of summary.tsv's columns: their names there, and the titles
/// and digits of those that are printed.
enum Figure : size_t { recall10, recall20, ndcg10, ndcg20, valid_recall20, epochs, seconds, peak };
constexpr struct {
  const char *name, *title;
  int digits;
} figure_words[] = {{"recall@10", "R@10", 4},        {"recall@20", "R@20", 4},
                    {"ndcg@10", "N@10", 4},          {"ndcg@20", "N@20", 4},
                    {"valid_recall@20", nullptr, 0}, {"epochs", "epochs", 0},
                    {"seconds_per_epoch", "s/epoch", 3}, {"peak_mib", "MiB", 0}};
using Figures = std::array<double, std::size(figure_words)>;  // NaN: not known

/// A run of a sweep, which is a command line of its own.
struct SweepRun {
  TrainOptions options;             // as `words` give them
  std::vector<std::string> words;   // of the command line, after `bm3`
  std::vector<std::string> values;  // of Sweep::columns; "": the model has no such option
  std::optional<Figures> figures;   // of a finished run
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

// ------------------------------------------------------------------------------- their summary

/// Returns a run's figures, or nothing where its folder has no finished run. Seconds are those of
/// training; memory is what was allocated on a GPU, or that of the process. Throws where the run is
/// damaged, or has other settings or data than `run` and `data`.
std::optional<Figures> read_figures(const SweepRun& run, const Dataset& data);

struct Mean {
  double mean, deviation;  // deviation of a sample, by n - 1; NaN: not known
};
/// Returns the mean and the deviation of the known ones of `values`.
Mean mean_of(const std::vector<double>& values);

/// The finished runs that differ in nothing but their seeds.
struct SummaryRow {
  std::vector<const SweepRun*> runs;
  std::array<Mean, std::size(figure_words)> means{};
  bool best_by_validation = false, best_by_test = false;  // R@20 among its model's rows
  const ModelKind& model() const { return *runs[0]->options.model; }
};

/// Returns a row for each setting that has a finished run, in the order of the runs. The best are
/// marked among the rows of each model; among all rows where no model has two.
std::vector<SummaryRow> summarise(const Sweep& sweep);

/// Prints the rows, each model's published figures after its rows where `data` is what they are
/// for, and which rows are the best.
void print_summary(const Sweep& sweep, const std::vector<SummaryRow>& rows, const Dataset& data);

/// Writes summary.tsv, a line for each row, and summary.json, with the single runs and published
/// figures, too. Each replaces its predecessor as a whole. Throws where it cannot be written.
void write_summary(const std::filesystem::path& folder, const Sweep& sweep,
                   const std::vector<SummaryRow>& rows, const Dataset& data);

}  // namespace bm3
