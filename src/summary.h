#pragma once
// What the runs of a sweep come to: means over seeds, as a table and as files.
#include <array>
#include <iterator>
#include <optional>

#include "sweep.h"

namespace bm3 {

/// The figures of a run, in the order of summary.tsv's columns.
enum Figure : size_t { recall10, recall20, ndcg10, ndcg20, valid_recall20, epochs, seconds, peak };
constexpr const char* figure_names[] = {
    "recall@10",       "recall@20", "ndcg@10",           "ndcg@20",
    "valid_recall@20", "epochs",    "seconds_per_epoch", "peak_mib"};
using Figures = std::array<double, std::size(figure_names)>;  // NaN: not known

/// Returns a run's figures, or nothing where its folder has no finished run. Seconds are those of
/// training; memory is what was allocated on a GPU, or that of the process. Throws where the run is
/// damaged, or has other settings or data than `run` and `data`.
std::optional<Figures> read_figures(const SweepRun& run, const Dataset& data);

struct Mean {
  double mean, deviation;  // deviation of a sample, by n - 1; NaN: not known
};
/// Returns the mean and the deviation of the known ones of `values`.
Mean mean_of(const std::vector<double>& values);

/// A finished run's seed, folder and figures.
struct Sample {
  std::string seed, folder;
  Figures figures;
};

/// The runs that differ in nothing but their seeds.
struct SummaryRow {
  const ModelKind* model;
  std::vector<std::string> values;  // of the sweep's columns
  std::vector<Sample> samples;
  std::array<Mean, std::size(figure_names)> means;
  bool best_by_validation = false, best_by_test = false;  // R@20 among its model's rows
};

/// Returns a row for each setting that has a finished run, in the order of the runs. figures[k] are
/// those of sweep.runs[k]. The best are marked among the rows of each model; among all rows where
/// no model has two.
std::vector<SummaryRow> summarise(const Sweep& sweep,
                                  const std::vector<std::optional<Figures>>& figures);

/// Prints the rows, each model's published figures after its rows where `data` is what they are
/// for, and which rows are the best.
void print_summary(const Sweep& sweep, const std::vector<SummaryRow>& rows, const Dataset& data);

/// Writes summary.tsv, a line for each row, and summary.json, with the single runs and published
/// figures, too. Each replaces its predecessor as a whole. Throws where it cannot be written.
void write_summary(const std::filesystem::path& folder, const Sweep& sweep,
                   const std::vector<SummaryRow>& rows, const Dataset& data);

}  // namespace bm3
