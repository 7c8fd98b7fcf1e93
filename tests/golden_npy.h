#pragma once
// The header of a golden array's .npy file, of any dtype and shape.
#include <algorithm>
#include <charconv>
#include <numeric>

#include "error.h"
#include "text.h"

namespace bm3::test {

struct NpyHeader {
  std::string dtype;  // as NumPy writes it: "<f4"
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t data_offset = 0;    // of the first value in the file
  size_t item_size() const;  // bytes of a value
  int64_t count() const;     // number of values
};

/// The text after `'key':` or `"key":` in the header's dictionary, a Python literal.
inline std::string_view value_of(std::string_view dictionary, std::string_view key,
                                 const std::string& name) {
  const std::string single = "'" + std::string(key) + "':", other = '"' + std::string(key) + "\":";
  const size_t at = std::min(dictionary.find(single), dictionary.find(other));  // npos is the most
  if (at == std::string_view::npos)
    throw Error(name + ": the .npy header lacks '" + std::string(key) + "'");
  std::string_view value = dictionary.substr(at + single.size());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

inline std::vector<int64_t> parse_shape(std::string_view text, const std::string& name) {
  const auto bad = [&]() -> Error {
    return Error(name + ": the .npy header's shape is " + in_quotes(text) +
                 ": expected a tuple of whole numbers");
  };
  const size_t close = text.find(')');
  if (text.empty() || text[0] != '(' || close == std::string_view::npos) throw bad();
  std::string_view rest = text.substr(1, close - 1);
  std::vector<int64_t> shape;
  while (!rest.empty()) {
    int64_t n = 0;
    const auto [end, status] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
    if (status != std::errc() || n < 0) throw bad();
    shape.push_back(n);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (rest.empty()) break;
    if (rest[0] != ',') throw bad();
    rest.remove_prefix(std::min(rest.find_first_not_of(' ', 1), rest.size()));
  }
  return shape;
}

inline size_t NpyHeader::item_size() const { return static_cast<size_t>(dtype.back() - '0'); }

inline int64_t NpyHeader::count() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

/// Parses the start of a file (at least its header); `name` stands in messages. Error unless it is
/// a header of version 1 to 3 with a little-endian dtype of f2, f4, f8, i4, i8, u1 or b1, and a
/// shape whose size in bytes an int64_t holds.
inline NpyHeader parse_npy_header(std::string_view bytes, const std::string& name) {
  if (bytes.size() < 12 || bytes.substr(0, 6) != "\x93NUMPY")
    throw Error(name + " is not an .npy file: expected it to start with \\x93NUMPY");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw Error(name + ": .npy version " + std::to_string(version) + ": expected 1, 2 or 3");
  size_t length = 0;  // of the dictionary: two bytes in version 1, four since
  for (int k = version == 1 ? 1 : 3; k >= 0; --k)
    length = length << 8 | static_cast<unsigned char>(bytes[8 + static_cast<size_t>(k)]);
  const size_t first = version == 1 ? 10 : 12;
  if (length > bytes.size() - first) throw Error(name + ": the .npy header is truncated");
  const std::string_view padded = bytes.substr(first, length);
  const std::string_view dictionary = padded.substr(0, padded.find_last_not_of(" \n") + 1);
  if (dictionary.empty() || dictionary.front() != '{' || dictionary.back() != '}')
    throw Error(name + ": the .npy header is " + in_quotes(dictionary) + ": expected a dictionary");

  NpyHeader header;
  header.data_offset = first + length;
  const std::string_view descr = value_of(dictionary, "descr", name);
  const size_t close = descr.find(descr.front(), 1);
  const bool is_name = (descr.front() == '\'' || descr.front() == '"') &&
                       close != std::string_view::npos;
  header.dtype = is_name ? descr.substr(1, close - 1) : descr;
  constexpr std::string_view known[] = {"<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|b1"};
  if (std::find(std::begin(known), std::end(known), header.dtype) == std::end(known))
    throw Error(name + " has dtype " + in_quotes(header.dtype) +
                ": expected little-endian float16, float32 or float64 (<f2, <f4, <f8)");
  std::string_view order = value_of(dictionary, "fortran_order", name);
  order = order.substr(0, order.find_first_of(", }"));
  header.fortran_order = order == "True";
  if (!header.fortran_order && order != "False")
    throw Error(name + ": the .npy header's fortran_order is " + in_quotes(order) +
                ": expected True or False");
  header.shape = parse_shape(value_of(dictionary, "shape", name), name);
  auto size = static_cast<int64_t>(header.item_size());
  for (int64_t extent : header.shape)
    if (__builtin_mul_overflow(size, extent, &size))
      throw Error(name + ": the .npy header's shape is too large for any file");
  return header;
}

}  // namespace bm3::test
