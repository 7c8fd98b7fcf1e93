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

/// Returns what a choice comes to on this machine: "cpu" or "cuda", and on the CPU neither tf32 nor
/// cusparse. Throws where "cuda" is asked for and no GPU works, with why. Warns where "auto" leaves
/// a GPU that is there alone, and of options that do nothing.
DeviceChoice choose_device(DeviceChoice choice);

/// Returns which kernels compute products of matrices on a device that choose_device returned: on
/// the CPU, by the vectors that the program was built for.
std::string product_kernels(const DeviceChoice& chosen);

/// Returns the operations on the device that choose_device returned.
std::unique_ptr<Ops<float>> choose_ops(const DeviceChoice& chosen);

/// Throws unless the CPU's threads can all be started: OpenMP would end the program. To be called
/// once everything else is allocated. Does nothing for a GPU.
void check_threads(const DeviceChoice& chosen);

}  // namespace bm3
