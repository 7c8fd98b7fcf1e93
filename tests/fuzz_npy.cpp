// libFuzzer's entry to the reading of .npy files: any bytes are either refused with an Error or
// give a matrix whose rows, read in any pieces, are finite and the same.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "data/npy.h"
#include "error.h"

namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

std::vector<float> read_in_pieces(const bm3::NpyMatrix& matrix, int64_t piece) {
  const auto cols = static_cast<size_t>(matrix.cols());
  std::vector<float> out(static_cast<size_t>(matrix.rows()) * cols, NAN);
  for (int64_t first = 0; first < matrix.rows(); first += piece)
    matrix.read_rows(first, std::min(piece, matrix.rows() - first),
                     out.data() + static_cast<size_t>(first) * cols);
  return out;
}

void check(const bm3::NpyMatrix& matrix, size_t file_size) {
  require(matrix.rows() >= 0 && matrix.cols() > 0);
  if (matrix.rows() == 0) return;
  require(static_cast<size_t>(matrix.rows() * matrix.cols()) <= file_size / 2);
  const auto whole = read_in_pieces(matrix, matrix.rows());
  require(std::all_of(whole.begin(), whole.end(), [](float x) { return std::isfinite(x); }));
  require(read_in_pieces(matrix, 3) == whole);
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t most);

/// One mutation in sixteen begins from a right file, so that none has to be guessed: a matrix [5,
/// 2] of zeros in one of the dtypes, orders and versions.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t most, unsigned seed) {
  const char dtype = "248"[seed / 16 % 3], version = static_cast<char>(1 + seed / 48 % 3);
  const std::string dictionary = std::string("{'descr': '<f") + dtype +
                                 "', 'fortran_order': " + (seed / 144 % 2 ? "True" : "False") +
                                 ", 'shape': (5, 2)}\n";
  std::string file =
      std::string("\x93NUMPY") + version + '\0' + static_cast<char>(dictionary.size());
  file += std::string(version == 1 ? 1 : 3, '\0') + dictionary;
  file.append(10 * static_cast<size_t>(dtype - '0'), '\0');
  if (seed % 16 == 0 && file.size() <= most) size = file.copy(reinterpret_cast<char*>(bytes), most);
  return LLVMFuzzerMutate(bytes, size, most);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const int file = memfd_create("fuzz", 0);  // in memory, and with a path
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  require(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == static_cast<ssize_t>(size));
  try {
    check(bm3::NpyMatrix(path), size);
  } catch (const bm3::Error& e) {
    const std::string message = e.what();
    require(message.find(path) != std::string::npos && message.find('\n') == std::string::npos);
  }
  return 0;
}
