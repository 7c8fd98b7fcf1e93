#pragma once
// The released code's way of doing the same, in PyTorch: ref/bench_pytorch.py.
#include <optional>

#include "data/synthetic.h"

namespace bm3 {

struct ReferenceTimes {
  double epoch, evaluation;  // seconds
};

/// Runs the script on the same device with the same sizes and prints its figures. None, and one
/// line that says so, where there is no python3 with PyTorch (and CUDA, where asked for).
std::optional<ReferenceTimes> measure_reference(const SyntheticSpec& spec, size_t interactions,
                                                bool tuned, bool cuda, bool tf32, int threads);

}  // namespace bm3
