#pragma once
// The command line as a test writes it: words between spaces.
#include "options.h"
#include "text.h"
#include "train.h"

namespace bm3::test {

inline Command parse(const std::string& line) {
  std::vector<std::string> words = {"bm3"};
  for (const auto& word : split(line, ' '))
    if (!word.empty()) words.push_back(word);
  std::vector<const char*> argv;
  for (const auto& word : words) argv.push_back(word.c_str());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

}  // namespace bm3::test
