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

/// Prints an epoch's line: L and its parts, validation, seconds of training and of validation, a
/// mark on the best so far.
void print_epoch(const Epoch& epoch);

/// Prints which epoch was the best, and the most memory that was in use.
void print_end(const TrainResult& result, const Ops<float>& ops);

/// Prints that the data set of this name is made up.
void print_made_up(std::FILE* to, const std::string& name);

/// Returns the model's published figures where `data` is Amazon's Baby, Sports or Electronics by
/// its name and sizes, else null.
const Published* published_figures(const Dataset& data, const ModelKind& model);

/// Prints the table R@10 R@20 N@10 N@20, with the model's published row where there is one; for
/// made-up data, that it is made up.
void print_results(std::vector<std::pair<std::string, Metrics>> rows, const Dataset& data,
                   const ModelKind& model);

}  // namespace bm3
