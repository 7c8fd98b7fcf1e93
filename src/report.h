#pragma once
// What a person sees of a run: progress and remarks on standard error, results on standard output.
#include "data/dataset.h"
#include "memory.h"
#include "options.h"
#include "train.h"

namespace bm3 {

/// The data set's sizes, whether its split is drawn, the users and items that its training lacks,
/// and its modalities, one line each; for made-up data, that it is made up.
void print_data(const Dataset& data);

/// The sizes of the model and of what it runs on.
void print_setup(const TrainOptions& options, const Dataset& data, size_t n_parameters,
                 const std::string& device);

/// What training holds on `device`, in words, part by part and in all, on standard output.
void print_memory(const std::vector<MemoryPart>& parts, const std::string& device);

/// A bar on a terminal, which the epoch's line replaces; nothing in a pipe.
void print_progress(size_t epoch, size_t batches_done, size_t batches);

/// An epoch's line: loss and parts, validation, seconds of training and of validation, a mark on
/// the best so far.
void print_epoch(const Epoch& epoch);

/// One line of the table of results.
struct ResultRow {
  std::string words;
  Metrics metrics;
};

/// The table R@10 R@20 N@10 N@20, beside the paper's row where `data` is Amazon's Baby, Sports or
/// Electronics by its name and sizes; for made-up data, that it is made up.
void print_results(const std::vector<ResultRow>& rows, const Dataset& data);

/// Memory of this process in MiB by a field of /proc/self/status: VmRSS, what it has now, or VmHWM,
/// the most that it has had (of this program alone, unlike getrusage's).
double process_memory(const std::string& field);

}  // namespace bm3
