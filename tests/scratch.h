#pragma once
// A folder for a test's files, and the message of an error.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "error.h"

namespace bm3::test {

/// A new folder, which goes with this object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "bm3-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw Error("cannot make the folder " + name);
    path_ = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path write_file(const std::filesystem::path& path,
                                        const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  if (!file) throw Error("cannot write " + path.string());
  return path;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Text as gzip compresses it.
inline std::string gzip(const std::string& text) {
  const ScratchFolder folder;
  const std::string path = folder / "x.gz";
  const gzFile file = gzopen(path.c_str(), "wb");
  EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  EXPECT_EQ(gzclose(file), Z_OK);
  return read_file(path);
}

/// Waits until `come` or the end of a child, which stays to be waited for.
template <class Come>
void wait_until(const Come& come, pid_t child) {
  const auto is_over = [child] {
    siginfo_t over{};
    return waitid(P_PID, static_cast<id_t>(child), &over, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           over.si_pid != 0;
  };
  while (!come() && !is_over()) usleep(500);
}

/// Every file and folder below `folder`, by name.
inline std::vector<std::string> names_below(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    names.push_back(entry.path().lexically_relative(folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

/// What is said of a folder that cannot be made.
inline std::string cannot_make(const std::filesystem::path& folder, const std::string& reason) {
  return "cannot make the folder " + folder.string() + " (" + reason +
         "): expected a new or empty one (no mount point) where files can be written";
}

/// The message of the Error that `call` throws; "" when it throws none.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace bm3::test

/// `call` throws an Error whose message is `message`, to the letter.
#define EXPECT_ERROR(call, message) EXPECT_EQ(::bm3::test::error_of([&] { call; }), message)
