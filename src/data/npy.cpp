#include "data/npy.h"

#include <cmath>
#include <cstring>
#include <regex>
#include <vector>

#include "data/files.h"
#include "text.h"

namespace bm3 {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

template <class T>
T value_at(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float half_to_float(uint32_t half) {
  const uint32_t magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) return INFINITY;  // or NaN
  const uint32_t bits = (half & 0x8000) << 16 | magnitude << 13;
  return value_at<float>(&bits) * 0x1p112F;  // the exponents' biases are 15 and 127
}

/// The value at `bytes`, not finite where float32 cannot hold it.
float to_float(const char* bytes, size_t item_size) {
  if (item_size == 2) return half_to_float(value_at<uint16_t>(bytes));
  if (item_size == 4) return value_at<float>(bytes);
  return static_cast<float>(value_at<double>(bytes));
}

}  // namespace

NpyMatrix::NpyMatrix(const std::filesystem::path& path)
    : path_(path), file_(open_file(path, "an .npy file to read")) {
  std::string start(size_t{1} << 16, '\0');
  file_.read(start.data(), start.size());
  start.resize(file_.gcount());
  file_.clear();
  parse_header(start);
  const size_t size = std::filesystem::file_size(path), values = size - data_offset_;
  if (values % item_size_ != 0 || values / item_size_ % cols_ != 0 ||
      values / item_size_ / cols_ != rows_)
    throw Error(path, " has ", size, " bytes: expected ", data_offset_, " + ", rows_, " * ", cols_,
                " * ", item_size_, " by its header");
}

void NpyMatrix::parse_header(const std::string& bytes) {
  if (bytes.size() < 12 || bytes.compare(0, magic.size(), magic) != 0)
    throw Error(path_, " is not an .npy file: expected it to start with \\x93NUMPY");
  const int version = bytes[6];
  const size_t first = version == 1 ? 10 : 12;
  size_t length = 0;
  for (size_t k = first; k-- > 8;) length = length << 8 | static_cast<unsigned char>(bytes[k]);
  if (version < 1 || version > 3 || length > bytes.size() - first)
    throw Error(path_, " is of the .npy version ", version,
                " or cut short: expected a whole header of version 1, 2 or 3");
  data_offset_ = first + length;
  const std::string header = bytes.substr(first, length);  // a dictionary in Python
  std::smatch groups;
  const auto find = [&](const std::string& key, const char* pattern, const char* expected) {
    const std::regex item("(['\"])" + key + "\\1: ?" + pattern + " ?[,}]");
    if (!std::regex_search(header, groups, item))
      throw Error(path_, " has the header ", one_line(header.substr(0, 100)), ": expected ", key,
                  " to be ", expected);
  };
  find("descr", "(['\"])<f([248])\\2",
       "little-endian float16, float32 or float64 ('<f2', '<f4', '<f8')");
  item_size_ = std::stoll(groups[3]);
  find("fortran_order", "(?:(True)|False)", "True or False");
  fortran_ = groups[2].matched;
  find("shape", "\\((\\d{1,18}), ?([1-9]\\d{0,17})\\)",
       "(rows, columns), a row for each item and at least one column");
  rows_ = std::stoll(groups[2]);
  cols_ = std::stoll(groups[3]);
}

void NpyMatrix::read_rows(size_t first, size_t count, float* out) const {
  // In Fortran order the file holds a column after the other.
  const size_t pieces = fortran_ ? cols_ : 1, length = count * cols_ / pieces;
  std::vector<char> bytes(length * item_size_);
  for (size_t p = 0; p < pieces; ++p) {
    file_.seekg(data_offset_ + (fortran_ ? p * rows_ + first : first * cols_) * item_size_);
    if (!file_.read(bytes.data(), length * item_size_))
      throw Error("cannot read ", path_, ": did it change while it was open?");
    for (size_t k = 0; k < length; ++k) {
      const size_t at = p + k * pieces;
      out[at] = to_float(bytes.data() + k * item_size_, item_size_);
      if (!std::isfinite(out[at]))
        throw Error(path_, ": row ", first + at / cols_, ", column ", at % cols_,
                    ": expected a finite float32 number");
    }
  }
}

std::string npy_header(size_t rows, size_t cols) {
  std::string text =
      concat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", cols, "), }");
  text.append(63 - (magic.size() + 4 + text.size()) % 64, ' ');  // values at a multiple of 64
  text += '\n';
  std::string header(magic);
  for (const size_t byte : {size_t{1}, size_t{0}, text.size() & 255, text.size() >> 8})
    header += static_cast<char>(byte);  // the version, 1.0, and the length of the text
  return header + text;
}

}  // namespace bm3
