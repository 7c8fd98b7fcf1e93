#include "data/part_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "error.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

volatile sig_atomic_t interrupt = 0;  // the signal that came, 0 for none

std::string reason_of(int error) { return std::generic_category().message(error); }

}  // namespace

InterruptsWait::InterruptsWait() {
  struct sigaction note {};
  note.sa_handler = [](int signal) { interrupt = signal; };
  note.sa_flags = SA_RESTART;
  for (size_t k = 0; k < signals.size(); ++k) {
    sigaction(signals[k], &note, &before_[k]);
    if (before_[k].sa_handler == SIG_IGN) sigaction(signals[k], &before_[k], nullptr);  // nohup
  }
}

InterruptsWait::~InterruptsWait() {
  for (size_t k = 0; k < signals.size(); ++k) sigaction(signals[k], &before_[k], nullptr);
  if (interrupt) raise(interrupt);
}

PartFolder::PartFolder(const fs::path& target) {
  const fs::path above = target.parent_path();
  int error = 0;
  for (int k = 1; k <= 1000; ++k) {  // others may have the name, and remove `above` when they go
    error = make(above);
    path_ = target.string() + ".part" + std::to_string(k);
    if (mkdir(path_.c_str(), 0777) == 0) return;
    const int of_part = errno;
    if (error == 0) error = of_part;
    if (of_part != EEXIST && of_part != ENOENT) break;
  }
  path_.clear();
  remove();
  fs::path there = above;
  std::error_code status;
  while (!fs::exists(there, status) && there.has_relative_path()) there = there.parent_path();
  throw Error("cannot write to " + there.string() + " (" + reason_of(error) + "): expected " +
              target.string() + " to lie in a folder that can be written to");
}

int PartFolder::make(const fs::path& folder) {
  fs::path there;
  int error = 0;
  for (const auto& name : folder) {
    there /= name;
    if (mkdir(there.c_str(), 0777) == 0)
      made_.insert(made_.begin(), there);
    else if (errno != EEXIST && error == 0)
      error = errno;
  }
  return error;
}

void PartFolder::write(const std::string& name, const std::string& text) const {
  const fs::path path = path_ / name;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw Error("cannot write " + path.string() + ": is the disk full?");
}

void PartFolder::heed_interrupts() {
  if (interrupt) throw Error("interrupted");  // ~InterruptsWait raises the signal before it is read
}

bool PartFolder::rename_to(const fs::path& target) {
  if (std::rename(path_.c_str(), target.c_str()) == 0) {
    path_.clear();
    made_.clear();
    return true;
  }
  for (int taken : {EEXIST, ENOTEMPTY, ENOTDIR, EBUSY, EXDEV})  // the last two: a mounted folder
    if (errno == taken) return false;
  throw Error("cannot write " + target.string() + ": " + reason_of(errno));
}

void PartFolder::remove() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  for (const auto& folder : made_) fs::remove(folder, ignored);  // if it is empty
}

fs::path absolute_path(const fs::path& path) {
  std::error_code status;
  const fs::path whole = fs::weakly_canonical(fs::absolute(path), status);
  return ((status ? fs::absolute(path) : whole).lexically_normal() / "").parent_path();
}

}  // namespace bm3
