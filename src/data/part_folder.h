#pragma once
// Folders that appear under their name whole or not at all.
#include <signal.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

namespace bm3 {

/// SIGINT, SIGTERM and SIGHUP wait until this object is gone. By handlers and not by a mask, which
/// would hold for this thread alone and not for OpenMP's.
class InterruptsWait {
 public:
  InterruptsWait();
  ~InterruptsWait();
  InterruptsWait(const InterruptsWait&) = delete;
  InterruptsWait& operator=(const InterruptsWait&) = delete;

 private:
  static constexpr std::array<int, 3> signals{SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, signals.size()> before_{};
};

/// A new folder beside `target`, under a name that nothing else has, to be filled and then renamed.
/// Without that it goes with this object, and so do the folders above that it had to make.
/// Interrupts wait meanwhile.
class PartFolder {
 public:
  /// `target` is an absolute path. Error when the folder cannot be made; then nothing is left.
  explicit PartFolder(const std::filesystem::path& target);
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;
  ~PartFolder() { remove(); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  /// Writes a file. Error when it cannot be written whole.
  void write(const std::string& name, const std::string& text) const;

  /// Gives up, as by an Error, when an interrupt waits: for those who have much to write.
  static void heed_interrupts();

  /// Gives the folder the name `target`, its neighbour; false when that is taken by something else
  /// than an empty folder. Error when it cannot be renamed.
  bool rename_to(const std::filesystem::path& target);

 private:
  int make(const std::filesystem::path& folder);  // errno of the first that cannot be, or 0
  void remove();
  InterruptsWait wait_;
  std::filesystem::path path_;
  std::vector<std::filesystem::path> made_;  // folders above, the lowest first
};

/// `path` as seen from the root, without links, "." and a slash at the end.
std::filesystem::path absolute_path(const std::filesystem::path& path);

}  // namespace bm3
