// What --help says of each option and command.
#include <gtest/gtest.h>

#include <set>

#include "command_line.h"

namespace bm3::test {
namespace {

std::string help(const std::string& line) { return std::get<Help>(parse(line)).text; }

/// What --help says of an option or argument: its line and those that continue it.
std::string entry_of(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n  " + name);
  if (at == std::string::npos) return "";
  size_t end = at + 1;
  do {
    end = text.find('\n', end + 1);
  } while (end != std::string::npos && text.compare(end, 10, "\n         ") == 0);
  std::string words;
  for (char c : text.substr(at, end - at))
    if (!(c == ' ' || c == '\n') || words.empty() || words.back() != ' ')
      words += c == '\n' ? ' ' : c;
  return words;
}

const struct {
  const char *command, *option, *fallback;
} options[] = {
    {"", "NAME", ""},
    {"", "--data", "[data]"},
    {"", "--out", "[runs/NAME-YYYYMMDD-HHMMSS]"},
    {"", "--modalities", "[all]"},
    {"", "--threads", "[0]"},
    {"", "--device", "[auto]"},
    {"", "--tf32", "[off]"},
    {"", "--memory", "[off]"},
    {"", "--recipe", "[released]"},
    {"", "--layers,--n-layers", "[1; elec: 2]"},
    {"", "--dropout", "[0.5; elec: 0.3]"},
    {"", "--reg,--reg-weight", "[0.1; sports: 0.01]"},
    {"", "--reg-form", "[norm; paper: squared]"},
    {"", "--mm-weight,--cl-weight", "[2; paper: 1]"},
    {"", "--features", "[frozen]"},
    {"", "--losses", "[rec,align,mask]"},
    {"", "--dim,--embedding-size", "[64]"},
    {"", "--lr,--learning-rate", "[0.001]"},
    {"", "--batch,--train-batch-size", "[2048]"},
    {"", "--epochs", "[1000]"},
    {"", "--patience,--stopping-step", "[20]"},
    {"", "--seed", "[999]"},
    {"", "synth", ""},
    {"", "recommend", ""},
    {"", "eval", ""},
    {"synth", "NAME", ""},
    {"synth", "--data", "[data]"},
    {"synth", "--users", "[19445]"},
    {"synth", "--items", "[7050]"},
    {"synth", "--interactions", "[160792]"},
    {"synth", "--modality", "[image:4096:3 text:384:1]"},
    {"synth", "--seed", "[2023]"},
    {"recommend", "RUN", ""},
    {"recommend", "--user", "[required]"},
    {"recommend", "-k", "[10]"},
    {"eval", "RUN", ""},
    {"eval", "--data", "[where the run found it]"},
    {"eval", "--threads", "[0]"},
    {"eval", "--device", "[that of the run]"},
    {"eval", "--tf32", "[off]"}};

TEST(Help, ListsEveryOptionWithItsDefault) {
  for (const auto& [command, option, fallback] : options) {
    const std::string entry = entry_of(help(std::string(command) + " --help"), option);
    EXPECT_NE(entry, "") << command << " " << option;
    EXPECT_NE(entry.find(fallback), std::string::npos) << command << ": " << entry;
  }
}

/// Each line that names an option is one of the above.
TEST(Help, ListsNothingElse) {
  for (const std::string command : {"", "synth", "recommend", "eval"}) {
    std::set<std::string> known = {"-h,--help"};
    for (const auto& row : options)
      if (command == row.command) known.insert(row.option);
    size_t count = 0;
    for (const auto& line : split(help(command + " --help"), '\n')) {
      if (line.compare(0, 3, "  -") != 0) continue;
      ++count;
      EXPECT_TRUE(known.count(line.substr(2, line.find(' ', 2) - 2))) << line;
    }
    EXPECT_GT(count, 2U) << command;
  }
}

TEST(Help, OfWhatWasAsked) {
  EXPECT_EQ(help("-h"), help("--help"));
  EXPECT_EQ(help("baby --help"), help("--help"));
  EXPECT_NE(help("synth --help").find("Write a synthetic data set"), std::string::npos);
  EXPECT_NE(help("synth --help"), help("--help"));
  const std::string of_commands = "bm3 COMMAND --help";
  EXPECT_NE(help("--help").find(of_commands), std::string::npos);
  for (const char* command : {"synth", "recommend", "eval"})
    EXPECT_EQ(help(command + std::string(" --help")).find(of_commands), std::string::npos)
        << command;
}

}  // namespace
}  // namespace bm3::test
