#pragma once
// What a checkpoint holds of a training: arrays on the device, by name.
#include <cstdint>
#include <string>

#include "ops/matrix.h"

namespace bm3 {

/// A row-major array [rows, cols] on the device; `type` is .safetensors' word for its elements.
struct SavedArray {
  std::string name, type;
  size_t rows, cols, bytes;
  void* at;
};

inline const char* type_name(float) { return "F32"; }
inline const char* type_name(double) { return "F64"; }
inline const char* type_name(int32_t) { return "I32"; }
inline const char* type_name(uint32_t) { return "U32"; }
inline const char* type_name(uint8_t) { return "U8"; }

/// Returns a matrix as what a checkpoint holds under this name.
template <class E>
SavedArray saved_array(const std::string& name, Matrix<E> x) {
  return {name, type_name(E()), x.rows, x.cols, x.size() * sizeof(E), x.at};
}

}  // namespace bm3
