#include "data/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "interrupt.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

volatile std::sig_atomic_t interrupt = 0;  // the signal that came, 0 for none

Error cannot_make(const fs::path& target, int error) {
  return Error("cannot make the folder " + target.string() + " (" +
               std::generic_category().message(error) +
               "): expected a new or empty one (no mount point) where files can be written");
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
    throw Error(path.string() + " is not a file: expected " + expected);
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error("cannot open " + path.string() + " (" + std::generic_category().message(errno) +
                "): expected " + expected);
  return file;
}

WholeFile::WholeFile(const fs::path& path)
    : path_(path), part_(path.string() + ".part"), file_(std::fopen(part_.c_str(), "wb")) {
  check(file_ != nullptr);
}

WholeFile::~WholeFile() {
  if (!file_) return;
  std::fclose(file_);
  std::remove(part_.c_str());
}

void WholeFile::write(const void* bytes, size_t n) {
  check(std::fwrite(bytes, 1, n, file_) == n);
}

void WholeFile::finish() {
  check(std::fflush(file_) == 0 && fsync(fileno(file_)) == 0);
  check(std::rename(part_.c_str(), path_.c_str()) == 0);
  std::fclose(std::exchange(file_, nullptr));
  const int folder = open(path_.parent_path().c_str(), O_RDONLY | O_DIRECTORY);
  if (folder < 0) return;  // the file has its name; whether that lasts is the system's affair
  fsync(folder);
  close(folder);
}

void WholeFile::check(bool right) const {
  if (!right)
    throw Error("cannot write " + path_.string() + " (" + std::generic_category().message(errno) +
                "): expected room for it");
}

PartFolder::PartFolder() {
  handle_signals([](int signal) { interrupt = signal; });
}

PartFolder::PartFolder(const fs::path& target) : PartFolder() {  // an Error now runs the destructor
  target_ = absolute_path(target);
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
  handle_signals(SIG_DFL);
  if (interrupt) std::raise(interrupt);
}

void PartFolder::append(const std::string& name, std::string_view bytes) const {
  if (interrupt) throw Error("interrupted");  // the destructor raises the signal
  std::ofstream file(path_ / name, std::ios::binary | std::ios::app);
  file << bytes;
  file.close();
  if (!file) throw Error("cannot write " + (path_ / name).string() + ": is the disk full?");
}

void PartFolder::rename_to_target() {
  if (std::rename(path_.c_str(), target_.c_str()) != 0) throw cannot_make(target_, errno);
  path_.clear();
}

}  // namespace bm3
