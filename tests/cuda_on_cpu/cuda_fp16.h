#pragma once
// float16 as bits.
#include <cmath>
#include <cstdint>
#include <cstring>

struct __half {
  uint16_t bits;
};

/// Rounds to the nearest, to the even one of two.
inline __half __float2half_rn(float x) {
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  if (x == 0 || exponent < -13) exponent = -13;
  const float units = std::nearbyint(std::ldexp(std::fabs(x), 11 - exponent));  // up to 2^11
  const auto sign = static_cast<unsigned>(std::signbit(x)) << 15;
  return {static_cast<uint16_t>(
      sign | (static_cast<unsigned>(exponent + 13) * 1024 + static_cast<unsigned>(units)))};
}
/// Finite numbers alone: as bits of a float, whose exponent counts from another number.
inline float __half2float(__half x) {
  const uint32_t bits = (x.bits & 0x8000u) << 16 | (x.bits & 0x7fffu) << 13;
  float scaled;
  std::memcpy(&scaled, &bits, sizeof bits);
  return scaled * 0x1p112f;
}
