#pragma once
// Files of named arrays in the .safetensors format: a JSON header, then the arrays' bytes.
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace bm3::test {

struct FileArray {
  std::vector<size_t> shape;
  std::vector<double> values;  // in C order; whole numbers and masks are exact
  bool single = false;         // float32 in the file
  size_t rows() const { return shape.empty() ? 1 : shape[0]; }
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, FileArray> arrays;
};

/// Reads a whole file of F64, F32, I64, I32, U8 and BOOL arrays. Throws, with the file and the
/// array, where it is not such a file: truncated, arrays that overlap or leave a gap, a name twice,
/// another type, a value that is not finite.
Safetensors read_safetensors(const std::filesystem::path& path);

constexpr size_t any = static_cast<size_t>(-1);  // an extent that a file decides

/// Returns "[3, 2]" or, with any number of rows, "[*, 2]".
std::string shape_words(const std::vector<size_t>& shape);

}  // namespace bm3::test
