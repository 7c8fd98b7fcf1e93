#pragma once
// The words of a command line: what is wrong with them, and what was probably meant.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace bm3 {

/// Throws unless a data set can have this name, which is that of its folder and no command's.
void check_name(const std::string& text);

/// Returns words that name a data set: that of the folder `data`, where --data names one instead of
/// what holds it.
std::string example_of(const std::filesystem::path& data);

/// Returns the known word that is most like `word`, "" where none is like it: an edit in three
/// letters is allowed.
std::string most_like(const std::string& word, const std::vector<std::string>& known);

/// Reads the words. Returns the help or the version where it was asked for. Throws for what no
/// option or argument takes, with the one that was probably meant.
std::string parse_words(CLI::App& app, const std::vector<std::string>& words);

}  // namespace bm3
