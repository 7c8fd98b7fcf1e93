#include "data/npy.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "data/open_file.h"
#include "text.h"

namespace bm3 {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

template <class T>
constexpr const char* dtype_of() {
  if constexpr (std::is_same_v<T, float>) return "<f4";
  if constexpr (std::is_same_v<T, double>) return "<f8";
  if constexpr (std::is_same_v<T, int32_t>) return "<i4";
  if constexpr (std::is_same_v<T, int64_t>) return "<i8";
  if constexpr (std::is_same_v<T, uint8_t>) return "|u1";
}

/// The text after `'key':` or `"key":` in the header's dictionary, a Python literal.
std::string_view value_of(std::string_view dictionary, std::string_view key,
                          const std::string& name) {
  const std::string single = "'" + std::string(key) + "':", other = '"' + std::string(key) + "\":";
  const size_t at = std::min(dictionary.find(single), dictionary.find(other));  // npos is the most
  if (at == std::string_view::npos)
    throw Error(name + ": the .npy header lacks '" + std::string(key) + "'");
  std::string_view value = dictionary.substr(at + single.size());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

std::vector<int64_t> parse_shape(std::string_view text, const std::string& name) {
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

float half_to_float(uint16_t half) {
  const int sign = half >> 15, exponent = half >> 10 & 31, fraction = half & 1023;
  const float size = exponent == 31 ? (fraction ? std::numeric_limits<float>::quiet_NaN()
                                                : std::numeric_limits<float>::infinity())
                     : exponent     ? std::ldexp(static_cast<float>(fraction + 1024), exponent - 25)
                                    : std::ldexp(static_cast<float>(fraction), -24);
  return sign ? -size : size;
}

/// The value at `bytes`, not finite where float32 cannot hold it.
float to_float(const char* bytes, size_t item_size) {
  if (item_size == 2) {
    uint16_t half;
    std::memcpy(&half, bytes, sizeof half);
    return half_to_float(half);
  }
  if (item_size == 4) {
    float value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  double value;
  std::memcpy(&value, bytes, sizeof value);
  const bool fits = std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max());
  return fits ? static_cast<float>(value) : std::numeric_limits<float>::infinity();
}

/// Opens a file and reads its header; Error unless the file's size is what the header says.
NpyHeader open_npy(std::ifstream& file, const std::filesystem::path& path) {
  const std::string name = path.string();
  open_file(file, path, "an .npy file to read");
  std::string start(size_t{1} << 16, '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<size_t>(file.gcount()));
  file.clear();
  const NpyHeader header = parse_npy_header(start, name);
  const auto expected =
      header.data_offset + static_cast<size_t>(header.count()) * header.item_size();
  file.seekg(0, std::ios::end);
  const auto size = static_cast<size_t>(std::max<std::streamoff>(file.tellg(), 0));
  if (size != expected)
    throw Error(name + " has " + std::to_string(size) + " bytes: expected " +
                std::to_string(expected) + " by its header" +
                (size < expected ? "; it is truncated" : ""));
  return header;
}

}  // namespace

size_t NpyHeader::item_size() const { return static_cast<size_t>(dtype.back() - '0'); }

int64_t NpyHeader::count() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

NpyHeader parse_npy_header(std::string_view bytes, const std::string& name) {
  if (bytes.size() < 12 || bytes.substr(0, magic.size()) != magic)
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

NpyMatrix::NpyMatrix(const std::filesystem::path& path) : path_(path) {
  file_.rdbuf()->pubsetbuf(nullptr, 0);  // reads are large, or far apart
  header_ = open_npy(file_, path);
  if (header_.dtype[1] != 'f')
    throw Error(path.string() + " has dtype " + in_quotes(header_.dtype) +
                ": expected float16, float32 or float64 (<f2, <f4, <f8)");
  if (header_.shape.size() != 2)
    throw Error(path.string() + " has " + std::to_string(header_.shape.size()) +
                " dimensions: expected 2, a row for each item");
  if (cols() == 0) throw Error(path.string() + " has no columns: expected at least one");
}

void NpyMatrix::read(int64_t offset, size_t values, char* to) const {
  const size_t size = header_.item_size();
  file_.seekg(static_cast<std::streamoff>(header_.data_offset) +
              offset * static_cast<int64_t>(size));
  file_.read(to, static_cast<std::streamsize>(values * size));
  if (!file_) throw Error("cannot read " + path_.string() + ": did it change while it was open?");
}

void NpyMatrix::read_rows(int64_t first, int64_t count, float* out) const {
  const size_t size = header_.item_size(), n = static_cast<size_t>(count);
  const auto columns = static_cast<size_t>(cols());
  std::vector<char> block;  // what is read before it is converted
  // out[r0 .. r0 + height, c0 .. c0 + width] = the block, with these distances between its values.
  const auto convert = [&](size_t r0, size_t height, size_t row_step, size_t c0, size_t width,
                           size_t column_step) {
    for (size_t r = 0; r < height; ++r)
      for (size_t c = 0; c < width; ++c) {
        const float value = to_float(block.data() + (r * row_step + c * column_step) * size, size);
        if (!std::isfinite(value))
          throw Error(path_.string() + ": row " +
                      std::to_string(first + static_cast<int64_t>(r0 + r)) + ", column " +
                      std::to_string(c0 + c) + ": expected a finite float32 number");
        out[(r0 + r) * columns + c0 + c] = value;
      }
  };
  if (!header_.fortran_order) {
    const size_t most = std::max<size_t>(1, (size_t{1} << 16) / columns);
    for (size_t r = 0; r < n; r += most) {
      const size_t height = std::min(most, n - r);
      block.resize(height * columns * size);
      read((first + static_cast<int64_t>(r)) * cols(), height * columns, block.data());
      convert(r, height, columns, 0, columns, 1);
    }
    return;
  }
  constexpr size_t most = 16;  // columns: a cache line of `out`
  block.resize(most * n * size);
  for (size_t c = 0; c < columns; c += most) {
    const size_t width = std::min(most, columns - c);
    for (size_t k = 0; k < width; ++k)
      read(static_cast<int64_t>(c + k) * rows() + first, n, block.data() + k * n * size);
    convert(0, n, 1, c, width, n);
  }
}

template <class T>
NpyArray<T> read_npy(const std::filesystem::path& path) {
  std::ifstream file;
  const NpyHeader header = open_npy(file, path);
  if (header.dtype != dtype_of<T>() || header.fortran_order)
    throw Error(path.string() + " has dtype " + header.dtype +
                (header.fortran_order ? " in Fortran order" : "") + ": expected " + dtype_of<T>() +
                " in C order");
  NpyArray<T> array{header.shape, std::vector<T>(static_cast<size_t>(header.count()))};
  file.seekg(static_cast<std::streamoff>(header.data_offset));
  file.read(reinterpret_cast<char*>(array.values.data()),
            static_cast<std::streamsize>(array.values.size() * sizeof(T)));
  if (!file) throw Error("cannot read " + path.string());
  return array;
}

template <class T>
NpyWriter<T>::NpyWriter(const std::filesystem::path& path, int64_t rows, int64_t cols)
    : path_(path), part_(path.string() + ".part") {
  file_.open(part_, std::ios::binary);
  if (!file_) throw Error("cannot write " + part_.string() + ": is the folder there and writable?");
  std::string header = std::string("{'descr': '") + dtype_of<T>() +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(cols) + "), }";
  const size_t before = magic.size() + 4;  // values start at a multiple of 64 bytes
  header.append(63 - (before + header.size()) % 64, ' ');
  header += '\n';
  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 255),
                                     static_cast<char>(header.size() >> 8)};
  file_ << magic;
  file_.write(version_and_length, sizeof version_and_length);
  file_ << header;
}

template <class T>
NpyWriter<T>::~NpyWriter() {
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(part_, ignored);  // finish() has renamed it
}

template <class T>
void NpyWriter<T>::append(const T* values, size_t n) {
  file_.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(n * sizeof(T)));
}

template <class T>
void NpyWriter<T>::finish() {
  file_.close();
  if (!file_) throw Error("cannot write " + part_.string() + ": is the disk full?");
  std::filesystem::rename(part_, path_);
}

template NpyArray<float> read_npy<float>(const std::filesystem::path&);
template NpyArray<double> read_npy<double>(const std::filesystem::path&);
template NpyArray<int64_t> read_npy<int64_t>(const std::filesystem::path&);
template NpyArray<uint8_t> read_npy<uint8_t>(const std::filesystem::path&);
template class NpyWriter<float>;
template class NpyWriter<double>;
template class NpyWriter<int64_t>;

}  // namespace bm3
