#pragma once
// What a device can do at best, measured: the floor of every stage.
#include "ops/choose.h"

namespace bm3 {

struct Rates {
  bool cuda;             // which device was chosen
  double flops, bytes;   // a second: float32 products (TF32 where chosen); copies, read + written
  double launch;         // seconds of the smallest operation alone
};

/// Products and copies too large for the caches, on the chosen device. Prints them.
Rates measure_rates(const DeviceChoice& choice);

}  // namespace bm3
