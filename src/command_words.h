#pragma once
// The words of a command line: what is wrong with them, and what was probably meant.
#include <CLI/CLI.hpp>
#include <string>

namespace bm3 {

/// Throws unless a data set can have this name, which is that of its folder and no command's.
void check_name(const std::string& text);

/// Reads the words. Returns the help or the version where it was asked for. Throws for what no
/// option or argument takes, with the one that was probably meant.
std::string parse_words(CLI::App& app, std::vector<std::string> words);

}  // namespace bm3
