#include "data/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace bm3 {
namespace fs = std::filesystem;
namespace {

/// Waits until what is written to a file or a folder is on the disk; false where that fails.
bool reaches_disk(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY);
  const bool done = file >= 0 && fsync(file) == 0;
  if (file >= 0) close(file);
  return done;
}

Error cannot_make(const fs::path& target, int error) {
  return Error("cannot make the folder ", target, " (", std::strerror(error),
               "): expected a new or empty one (no mount point) where files can be written");
}

Error cannot_write(const fs::path& path, int error) {
  return Error("cannot write ", path, " (", std::strerror(error), "): expected room for it");
}

}  // namespace

fs::path absolute_path(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(fs::absolute(path), error);
  return ((error ? fs::absolute(path) : whole) / "").parent_path();
}

std::ifstream open_file(const fs::path& path, const std::string& expected) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error))
    throw Error(path, " is not a file: expected ", expected);
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error("cannot open ", path, " (", std::strerror(errno), "): expected ", expected);
  return file;
}

void write_whole(const fs::path& path, const std::function<void(std::ostream&)>& fill) {
  const fs::path part = path.string() + ".part";
  try {
    std::ofstream file(part, std::ios::binary);
    fill(file);
    file.close();
    if (!file || !reaches_disk(part) || std::rename(part.c_str(), path.c_str()) != 0)
      throw cannot_write(path, errno);
  } catch (...) {
    std::remove(part.c_str());
    throw;
  }
  reaches_disk(path.parent_path());  // whether the name lasts is the system's affair
}

PartFolder::PartFolder(const fs::path& target) : target_(absolute_path(target)) {
  if (rmdir(target_.c_str()) == 0)
    mkdir(target_.c_str(), 0777);  // a mount point would not have gone
  else if (errno != ENOENT)
    throw cannot_make(target_, errno);
  std::error_code error;
  fs::create_directories(target_.parent_path(), error);
  if (error) throw cannot_make(target_, error.value());
  const auto part = [&](int k) { return target_.string() + ".part" + std::to_string(k); };
  int k = 1;
  for (; mkdir(part(k).c_str(), 0777) != 0; ++k)
    if (errno != EEXIST) throw cannot_make(target_, errno);
  path_ = part(k);
}

PartFolder::~PartFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (Interruption::signal()) std::raise(Interruption::signal());  // the second one: it ends us
}

void PartFolder::append(const std::string& name, std::string_view bytes) const {
  if (Interruption::signal()) throw Error("interrupted");  // the destructor raises the signal
  std::ofstream file(path_ / name, std::ios::binary | std::ios::app);
  file << bytes;
  file.close();
  if (!file) throw cannot_write(path_ / name, errno);
}

void PartFolder::rename_to_target() {
  for (const fs::path& file : fs::directory_iterator(path_))
    if (!reaches_disk(file)) throw cannot_write(file, errno);
  if (std::rename(path_.c_str(), target_.c_str()) != 0) throw cannot_make(target_, errno);
  path_.clear();
}

}  // namespace bm3
