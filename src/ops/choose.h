#pragma once
// Which device the operations run on.
#include "ops/ops.h"

namespace bm3 {

struct DeviceChoice {
  std::string device = "auto";  // the GPU when one works, or "cpu", or "cuda"
  int threads = 0;              // of the CPU; 0: as many as OpenMP gives
  bool tf32 = false;            // products of float matrices on the GPU in TF32
  bool cusparse = false;        // propagation on the GPU by cuSPARSE, not by our kernel
};

/// Returns "cpu" or "cuda": what `wanted` comes to on this machine. Throws where "cuda" is asked
/// for and no GPU works, with why; warns where "auto" leaves a GPU that is there alone.
std::string choose_device(const std::string& wanted);

/// Returns the operations on the chosen device. Throws like `choose_device`.
std::unique_ptr<Ops<float>> choose_ops(const DeviceChoice& choice);

/// Throws unless the CPU's threads can all run, each with the memory that OpenBLAS takes in its
/// first product; where there is none, OpenBLAS waits forever. To be called once everything else is
/// allocated. Does nothing for a GPU.
void check_threads(const DeviceChoice& choice);

}  // namespace bm3
