// libFuzzer's entry to the reading of .inter files: any bytes are either refused with an Error or
// give interactions that keep the promises of inter.h.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "data/inter.h"
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
  require(data.n_users == last_user + int64_t{1} && data.n_items == last_item + int64_t{1});
  require(data.n_users <= static_cast<int64_t>(1000 + 10 * data.size()));
  require(data.n_items <= static_cast<int64_t>(1000 + 10 * data.size()));
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t most);

/// One mutation in sixteen begins from a right file, so that none has to be guessed.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t most, unsigned seed) {
  constexpr std::string_view right[] = {"userID\titemID\tx_label\n0\t0\t0\n0\t7\t1\n1\t0\t2\n",
                                        "itemID\tuserID\r\n0\t3\r\n1\t3\r\n2\t3"};
  const std::string_view file = right[seed / 16 % 2];
  if (seed % 16 == 0 && file.size() <= most) size = file.copy(reinterpret_cast<char*>(bytes), most);
  return LLVMFuzzerMutate(bytes, size, most);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const int file = memfd_create("fuzz", 0);  // in memory, and with a path
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  require(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == static_cast<ssize_t>(size));
  try {
    check(bm3::read_inter(path, 1));
  } catch (const bm3::Error& e) {
    const std::string message = e.what();
    require(message.find(path) != std::string::npos && message.find('\n') == std::string::npos);
  }
  return 0;
}
