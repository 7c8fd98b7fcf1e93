#pragma once
// Which device the operations run on.
#include "ops/ops.h"

namespace bm3 {

struct DeviceChoice {
  std::string device = "auto";  // the GPU when one works, or "cpu", or "cuda"
  int threads = 0;              // of the CPU; 0: as many as OpenMP gives
  bool tf32 = false;            // products of float matrices on the GPU in TF32
  size_t reserve = 0;           // bytes of the GPU's memory that features leave to all the rest
};

/// "cpu" or "cuda": what `wanted` comes to on this machine. Error where "cuda" is asked for and no
/// GPU works, with why; a warning where "auto" leaves a GPU that is there alone.
std::string choose_device(const std::string& wanted);

/// The operations on the chosen device; errors of `choose_device`.
std::unique_ptr<Ops<float>> choose_ops(const DeviceChoice& choice);

}  // namespace bm3
