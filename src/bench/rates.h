#pragma once
// What a device can do at best, measured: the floor of every operation.
#include <algorithm>

#include "ops/choose.h"

namespace bm3 {

struct Rates {
  double flops, bytes;  // a second: float32 products (TF32 where chosen); copies, read + written
  /// Returns the least seconds of an operation that has to do this much.
  double floor(double of_flops, double of_bytes) const {
    return std::max(of_flops / flops, of_bytes / bytes);
  }
};

/// Measures products and copies too large for the caches: the fastest of several, since others may
/// use the device too. Prints the rates.
Rates measure_rates(Ops<float>& ops, bool cuda, const DeviceChoice& choice);

}  // namespace bm3
