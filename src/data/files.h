#pragma once
// Files to read; files and folders that appear under their name whole or not at all.
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include "error.h"
#include "interrupt.h"

namespace bm3 {

/// `path` as seen from the root, without links, "." and a slash at the end.
std::filesystem::path absolute_path(const std::filesystem::path& path);

/// Opens a file to read. Throws for a folder or a device, and with the system's reason for what
/// cannot be opened; `expected` ends the message.
std::ifstream open_file(const std::filesystem::path& path, const std::string& expected);

/// Writes a file by `fill`. It takes its name when it is whole and on the disk; until then it is
/// PATH.part, which goes where something fails. Throws when it cannot be written, and as `fill`
/// does.
void write_whole(const std::filesystem::path& path,
                 const std::function<void(std::ostream&)>& fill);

/// A folder next to `target`, which is filled and then takes its name, or is removed with this
/// object, which then raises the signal that has come meanwhile, if one has.
class PartFolder {
 public:
  /// Makes the folder, and those above it. Throws when that fails, and unless `target` is free or
  /// an empty folder that can be replaced.
  explicit PartFolder(const std::filesystem::path& target);
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;
  ~PartFolder();
  /// Appends to a file. Throws when that fails, or when a signal has come.
  void append(const std::string& name, std::string_view bytes) const;
  /// Throws when a file does not reach the disk, and when something has taken the name.
  void rename_to_target();

 private:
  Interruption noting_;
  std::filesystem::path target_, path_;
};

}  // namespace bm3
