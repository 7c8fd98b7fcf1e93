#pragma once
// Files to read; files and folders that appear under their name whole or not at all.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "error.h"

namespace bm3 {

/// `path` as seen from the root, without links, "." and a slash at the end.
std::filesystem::path absolute_path(const std::filesystem::path& path);

/// Opens a file to read. Throws for a folder or a device, and with the system's reason for what
/// cannot be opened; `expected` ends the message.
std::ifstream open_file(const std::filesystem::path& path, const std::string& expected);

/// A file that takes its name when it is whole and on the disk; until then PATH.part, which is
/// removed with this object. Everything throws where it fails.
class WholeFile {
 public:
  explicit WholeFile(const std::filesystem::path& path);
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile();
  void write(const void* bytes, size_t n);
  void finish();

 private:
  void check(bool right) const;
  std::filesystem::path path_;
  std::string part_;
  std::FILE* file_;
};

/// A folder beside `target`, which is filled and then takes its name, or is removed with this
/// object. SIGINT, SIGTERM and SIGHUP wait as long. One at a time.
class PartFolder {
 public:
  /// Makes the folder, and those above it. Throws when that fails, and unless `target` is free or
  /// an empty folder that can be replaced.
  explicit PartFolder(const std::filesystem::path& target);
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;
  ~PartFolder();
  /// Appends to a file. Throws when that fails, or when one of the signals has come.
  void append(const std::string& name, std::string_view bytes) const;
  /// Throws when something has taken the name.
  void rename_to_target();

 private:
  PartFolder();
  std::filesystem::path target_, path_;
};

}  // namespace bm3
