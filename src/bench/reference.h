#pragma once
// The released code's way of doing the same, in PyTorch: ref/bench_pytorch.py.
#include <optional>

#include "data/synthetic.h"
#include "ops/choose.h"
#include "settings.h"

namespace bm3 {

struct ReferenceTimes {
  double epoch, evaluation;  // seconds
};

/// Runs the script for a model with these settings on data of these sizes, on the same device, and
/// prints its figures. Returns nothing, and prints one line that says so, where it cannot run.
std::optional<ReferenceTimes> measure_reference(const std::string& model, const Settings& settings,
                                                const SyntheticSpec& spec, size_t interactions,
                                                bool cuda, const DeviceChoice& choice);

}  // namespace bm3
