#pragma once
// NumPy's .npy files: matrices of features in pieces, and whole arrays.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace bm3 {

struct NpyHeader {
  std::string dtype;  // as NumPy writes it: "<f4"
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t data_offset = 0;    // of the first value in the file
  size_t item_size() const;  // bytes of a value
  int64_t count() const;     // number of values
};

/// Parses the start of a file (at least its header); `name` stands in messages. Error unless it is
/// a header of version 1 to 3 with a little-endian dtype of f2, f4, f8, i4, i8, u1 or b1, and a
/// shape whose size in bytes an int64_t holds.
NpyHeader parse_npy_header(std::string_view bytes, const std::string& name);

/// A matrix of float16, float32 or float64 in C or Fortran order, read in pieces of rows.
class NpyMatrix {
 public:
  /// Opens a file. Errors: unreadable, a bad header, not two-dimensional, no columns, another
  /// dtype, a size that is not what the header says.
  explicit NpyMatrix(const std::filesystem::path& path);
  int64_t rows() const { return header_.shape[0]; }
  int64_t cols() const { return header_.shape[1]; }
  /// out [count, cols] = rows first .. first + count. Errors: unreadable; NaN, an infinity or a
  /// value outside float32, with its row and column.
  void read_rows(int64_t first, int64_t count, float* out) const;

 private:
  void read(int64_t offset, size_t values, char* to) const;
  std::filesystem::path path_;
  NpyHeader header_;
  mutable std::ifstream file_;
};

template <class T>
struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<T> values;  // C order
};

/// A whole array of exactly T's dtype (float, double, int64_t or uint8_t), in C order.
template <class T>
NpyArray<T> read_npy(const std::filesystem::path& path);

/// Writes a matrix row by row; the file appears under its name when `finish` is called, else
/// nothing is left.
template <class T>
class NpyWriter {
 public:
  NpyWriter(const std::filesystem::path& path, int64_t rows, int64_t cols);
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;
  ~NpyWriter();
  void append(const T* values, size_t n);
  void finish();

 private:
  std::filesystem::path path_, part_;
  std::ofstream file_;
};

/// Writes values [rows, cols] at once.
template <class T>
void write_npy(const std::filesystem::path& path, const T* values, int64_t rows, int64_t cols) {
  NpyWriter<T> writer(path, rows, cols);
  writer.append(values, static_cast<size_t>(rows * cols));
  writer.finish();
}

}  // namespace bm3
