#pragma once
// What a person sees of a run: progress and remarks on standard error, results on standard output.
#include "data/dataset.h"
#include "memory.h"
#include "options.h"
#include "train.h"

namespace bm3 {

/// The data set's sizes and modalities, one line each; for the stand-in, that it is one.
void print_data(const Dataset& data);

/// The sizes of the model and of what it runs on.
void print_setup(const TrainOptions& options, const Dataset& data, size_t n_parameters,
                 const std::string& device);

/// What training holds on `device`, in words, part by part and in all, on standard output.
void print_memory(const std::vector<MemoryPart>& parts, const std::string& device);

/// A bar on a terminal, which the epoch's line replaces; nothing in a pipe.
void print_progress(size_t epoch, size_t batches_done, size_t batches);
void print_epoch(const Epoch& epoch);

/// One line of the table of results.
struct ResultRow {
  std::string words;
  Metrics metrics;
};

/// The table R@10 R@20 N@10 N@20, beside the paper's row where `data` is Amazon's Baby, Sports or
/// Electronics by its name and sizes; for the stand-in, that it is one.
void print_results(const std::vector<ResultRow>& rows, const Dataset& data);

/// Most memory that this process has had so far, in MiB.
double peak_memory();

}  // namespace bm3
