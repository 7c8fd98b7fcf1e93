#pragma once
// NumPy's .npy files: matrices of features and embeddings.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace bm3 {

/// A matrix of float16, float32 or float64 in C or Fortran order, read in pieces of rows.
class NpyMatrix {
 public:
  /// Opens a file of version 1 to 3. Throws when it cannot be read, when its header is damaged or
  /// not that of such a matrix with at least one column, and when its size is not what that says.
  explicit NpyMatrix(const std::filesystem::path& path);
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  /// out [count, cols] = rows first .. first + count. Throws when they cannot be read, and for NaN,
  /// an infinity or a value outside float32, with its row and column.
  void read_rows(size_t first, size_t count, float* out) const;

 private:
  void parse_header(const std::string& bytes);
  std::filesystem::path path_;
  mutable std::ifstream file_;
  size_t rows_ = 0, cols_ = 0;
  bool fortran_ = false;
  size_t item_size_ = 0, data_offset_ = 0;  // bytes of a value, and before the first
};

/// What a file of a float32 matrix [rows, cols] in C order begins with; its values follow.
std::string npy_header(size_t rows, size_t cols);

/// `count` values as the bytes of such a file.
inline std::string_view npy_bytes(const float* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(float)};
}

}  // namespace bm3
