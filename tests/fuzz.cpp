// libFuzzer's entry to the readers of .inter and of .npy files: any bytes are refused with an Error
// by each of them or give what its header promises.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "data/inter.h"
#include "data/npy.h"
#include "error.h"

namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void check(const bm3::Interactions& data) {
  std::set<std::pair<int32_t, int32_t>> pairs;
  int32_t last_user = -1, last_item = -1;
  require(!data.train.empty());
  for (const auto* part : {&data.train, &data.valid, &data.test})
    for (const auto& [user, item] : *part) {
      require(user >= 0 && item >= 0);
      require(pairs.insert({user, item}).second);
      last_user = std::max(last_user, user);
      last_item = std::max(last_item, item);
    }
  require(data.n_users == size_t{1} + last_user && data.n_items == size_t{1} + last_item);
  require(std::max(data.n_users, data.n_items) <= 1000 + 10 * data.size());
}

std::vector<float> read_in_pieces(const bm3::NpyMatrix& matrix, size_t piece) {
  std::vector<float> out(matrix.rows() * matrix.cols(), NAN);
  for (size_t first = 0; first < matrix.rows(); first += piece)
    matrix.read_rows(first, std::min(piece, matrix.rows() - first),
                     out.data() + first * matrix.cols());
  return out;
}

void check(const bm3::NpyMatrix& matrix, size_t file_size) {
  require(matrix.cols() > 0);
  if (matrix.rows() == 0) return;
  require(matrix.rows() * matrix.cols() <= file_size / 2);
  const auto whole = read_in_pieces(matrix, matrix.rows());
  require(std::all_of(whole.begin(), whole.end(), [](float x) { return std::isfinite(x); }));
  require(read_in_pieces(matrix, 3) == whole);
}

/// An .npy file, a matrix [5, 2] of zeros, in one of the dtypes, orders and versions.
std::string npy(unsigned seed) {
  const char dtype = "248"[seed % 3], version = static_cast<char>(1 + seed / 3 % 3);
  const std::string dictionary = std::string("{'descr': '<f") + dtype + "', 'fortran_order': " +
                                 (seed / 9 % 2 ? "True" : "False") + ", 'shape': (5, 2)}\n";
  std::string file =
      std::string("\x93NUMPY") + version + '\0' + static_cast<char>(dictionary.size());
  file += std::string(version == 1 ? 1 : 3, '\0') + dictionary;
  return file.append(10 * static_cast<size_t>(dtype - '0'), '\0');
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t most);

/// One mutation in sixteen begins from a right file, so that none has to be guessed.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t most, unsigned seed) {
  const std::string right[] = {"userID\titemID\tx_label\n0\t0\t0\n0\t7\t1\n1\t0\t2\n",
                               "itemID\tuserID\r\n0\t3\r\n1\t3\r\n2\t3", npy(seed / 64),
                               npy(seed / 64)};
  const std::string& file = right[seed / 16 % 4];
  if (seed % 16 == 0 && file.size() <= most) size = file.copy(reinterpret_cast<char*>(bytes), most);
  return LLVMFuzzerMutate(bytes, size, most);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const int file = memfd_create("fuzz", 0);  // in memory, and with a path
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  require(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == static_cast<ssize_t>(size));
  for (bool inter : {true, false}) {
    try {
      inter ? check(bm3::read_inter(path, 1)) : check(bm3::NpyMatrix(path), size);
    } catch (const bm3::Error& e) {
      const std::string message = e.what();
      require(message.find(path) != std::string::npos && message.find('\n') == std::string::npos);
    }
  }
  return 0;
}
