#pragma once
// float16 as bits.
#include <cmath>
#include <cstdint>

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
inline float __half2float(__half x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                   : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return x.bits & 0x8000 ? -size : size;
}
