#include "data/npy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "data/open_file.h"
#include "text.h"

namespace bm3 {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

/// The dictionary, a Python literal, that stands in a header; `offset` = where the values begin.
std::string_view find_dictionary(std::string_view bytes, const std::string& name, int64_t& offset) {
  if (bytes.size() < 12 || bytes.substr(0, magic.size()) != magic)
    throw Error(name + " is not an .npy file: expected it to start with \\x93NUMPY");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw Error(name + ": .npy version " + std::to_string(version) + ": expected 1, 2 or 3");
  const size_t width = version == 1 ? 2 : 4, first = 8 + width;
  size_t length = 0;
  for (size_t k = first; k-- > 8;) length = length << 8 | static_cast<unsigned char>(bytes[k]);
  if (length > bytes.size() - first) throw Error(name + ": the .npy header is truncated");
  offset = static_cast<int64_t>(first + length);
  const std::string_view padded = bytes.substr(first, length);
  const std::string_view dictionary = padded.substr(0, padded.find_last_not_of(" \n") + 1);
  if (dictionary.empty() || dictionary.front() != '{' || dictionary.back() != '}')
    throw Error(name + ": the .npy header is " + in_quotes(dictionary) + ": expected a dictionary");
  return dictionary;
}

/// The text of the value after `'key':` or `"key":`.
std::string_view value_of(std::string_view dictionary, const std::string& key,
                          const std::string& name) {
  const size_t at = std::min(dictionary.find("'" + key + "':"), dictionary.find('"' + key + "\":"));
  if (at == std::string_view::npos) throw Error(name + ": the .npy header lacks '" + key + "'");
  std::string_view value = dictionary.substr(at + key.size() + 3);
  value.remove_prefix(value.find_first_not_of(' '));  // the dictionary ends in }
  return value.substr(0, value[0] == '(' ? value.find(')') + 1 : value.find_first_of(", }"));
}

/// The two numbers of "(rows, cols)"; false where it is another tuple.
bool parse_shape(std::string_view text, int64_t& rows, int64_t& cols) {
  if (text.size() < 2 || text.front() != '(') return false;
  const std::string inner(text.substr(1, text.size() - 2));
  const size_t comma = inner.find(','), second = inner.find_first_not_of(' ', comma + 1);
  return comma != std::string::npos && second != std::string::npos &&
         parse(inner.substr(0, comma), rows) && parse(inner.substr(second), cols) && rows >= 0 &&
         cols > 0;
}

float half_to_float(uint16_t half) {
  const int sign = half >> 15, exponent = half >> 10 & 31, fraction = half & 1023;
  const float size = exponent == 31 ? std::numeric_limits<float>::infinity()  // or NaN
                     : exponent     ? std::ldexp(static_cast<float>(fraction + 1024), exponent - 25)
                                    : std::ldexp(static_cast<float>(fraction), -24);
  return sign ? -size : size;
}

template <class T>
T value_at(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

/// The value at `bytes`, not finite where float32 cannot hold it.
float to_float(const char* bytes, int64_t item_size) {
  if (item_size == 2) return half_to_float(value_at<uint16_t>(bytes));
  if (item_size == 4) return value_at<float>(bytes);
  const auto value = value_at<double>(bytes);
  const bool fits = std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max());
  return fits ? static_cast<float>(value) : std::numeric_limits<float>::infinity();
}

}  // namespace

NpyMatrix::NpyMatrix(const std::filesystem::path& path)
    : path_(path), file_(open_file(path, "an .npy file to read")) {
  std::string start(size_t{1} << 16, '\0');
  file_.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<size_t>(file_.gcount()));
  file_.clear();
  parse_header(start);
  file_.seekg(0, std::ios::end);
  const int64_t size = file_.tellg(), values = size - data_offset_;
  if (values % item_size_ != 0 || values / item_size_ % cols_ != 0 ||
      values / item_size_ / cols_ != rows_)
    throw Error(path.string() + " has " + std::to_string(size) + " bytes: expected " +
                std::to_string(data_offset_) + " + " + std::to_string(rows_) + " * " +
                std::to_string(cols_) + " * " + std::to_string(item_size_) + " by its header");
}

void NpyMatrix::parse_header(std::string_view bytes) {
  const std::string name = path_.string();
  const std::string_view dictionary = find_dictionary(bytes, name, data_offset_);
  const std::string_view descr = value_of(dictionary, "descr", name);
  for (const char size : {'2', '4', '8'})
    for (const char quote : {'\'', '"'})
      if (descr == quote + std::string("<f") + size + quote) item_size_ = size - '0';
  if (item_size_ == 0)
    throw Error(name + " has dtype " + one_line(descr.substr(0, 40)) +
                ": expected little-endian float16, float32 or float64 ('<f2', '<f4', '<f8')");
  const std::string_view order = value_of(dictionary, "fortran_order", name);
  fortran_ = order == "True";
  if (!fortran_ && order != "False")
    throw Error(name + ": the .npy header's fortran_order is " + in_quotes(order) +
                ": expected True or False");
  const std::string_view shape = value_of(dictionary, "shape", name);
  if (!parse_shape(shape, rows_, cols_))
    throw Error(name + " has shape " + in_quotes(shape) +
                ": expected (rows, columns), a row for each item and at least one column");
}

/// out[0], out[step], .. = the values first .. first + count in the order of the file.
void NpyMatrix::read(int64_t first, int64_t count, float* out, int64_t step) const {
  std::vector<char> bytes(static_cast<size_t>(count * item_size_));
  file_.seekg(data_offset_ + first * item_size_);
  file_.read(bytes.data(), count * item_size_);
  if (!file_) throw Error("cannot read " + path_.string() + ": did it change while it was open?");
  for (int64_t k = 0; k < count; ++k) {
    const float value = to_float(bytes.data() + k * item_size_, item_size_);
    const int64_t at = first + k;
    if (!std::isfinite(value))
      throw Error(path_.string() + ": row " + std::to_string(fortran_ ? at % rows_ : at / cols_) +
                  ", column " + std::to_string(fortran_ ? at / rows_ : at % cols_) +
                  ": expected a finite float32 number");
    out[k * step] = value;
  }
}

void NpyMatrix::read_rows(int64_t first, int64_t count, float* out) const {
  if (!fortran_) return read(first * cols_, count * cols_, out, 1);
  for (int64_t c = 0; c < cols_; ++c) read(c * rows_ + first, count, out + c, cols_);
}

std::string npy_header(int64_t rows, int64_t cols) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) +
                     ", " + std::to_string(cols) + "), }";
  text.append(63 - (magic.size() + 4 + text.size()) % 64, ' ');  // values at a multiple of 64
  text += '\n';
  std::string header(magic);
  for (const size_t byte : {size_t{1}, size_t{0}, text.size() & 255, text.size() >> 8})
    header += static_cast<char>(byte);  // the version, 1.0, and the length of the text
  return header + text;
}

}  // namespace bm3
