#pragma once
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "error.h"

namespace bm3 {

/// Opens a file to read; `expected` says in messages what it should be. Errors: a folder or a
/// device; a file that cannot be opened, with the system's reason.
inline void open_file(std::ifstream& file, const std::filesystem::path& path,
                      const std::string& expected) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw Error(path.string() + " is not a file: expected " + expected);
  errno = 0;
  file.open(path, std::ios::binary);
  if (!file)
    throw Error("cannot open " + path.string() + " (" + std::generic_category().message(errno) +
                "): expected " + expected);
}

}  // namespace bm3
