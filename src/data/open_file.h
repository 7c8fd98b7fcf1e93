#pragma once
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "error.h"

namespace bm3 {

/// Opens a file to read. Throws for a folder or a device, and with the system's reason for what
/// cannot be opened; `expected` ends the message.
inline std::ifstream open_file(const std::filesystem::path& path, const std::string& expected) {
  std::error_code error;
  if (exists(path, error) && !is_regular_file(path, error))
    throw Error(path.string() + " is not a file: expected " + expected);
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error("cannot open " + path.string() + " (" + std::generic_category().message(errno) +
                "): expected " + expected);
  return file;
}

}  // namespace bm3
