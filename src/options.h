#pragma once
// The command line: what was asked for, checked, with every default filled in.
#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "data/synthetic.h"
#include "ops/choose.h"
#include "train.h"

namespace bm3 {

/// bm3 NAME
struct TrainOptions {
  std::string name;            // of the data set
  std::filesystem::path data;  // the folder that holds it; empty: "data", which need not be there
  std::filesystem::path out;   // empty: runs/NAME-YYYYMMDD-HHMMSS
  std::string recipe = "released";
  std::vector<std::string> modalities = {"all"};  // or {"none"}, or names
  TrainConfig train;
  DeviceChoice device;
  bool memory = false;  // only the table of the memory that the run would take
};

/// bm3 synth NAME
struct SynthOptions {
  std::string name;
  std::filesystem::path data = "data";
  SyntheticSpec spec;
};

/// bm3 recommend RUN
struct RecommendOptions {
  std::filesystem::path run;
  int64_t user = 0;
  size_t k = 10;
};

/// bm3 eval RUN
struct EvalOptions {
  std::filesystem::path run;
  std::filesystem::path data;  // empty: where the run found its data
  DeviceChoice device;         // device empty: that of the run
};

struct Help {
  std::string text;
};

using Command = std::variant<Help, TrainOptions, SynthOptions, RecommendOptions, EvalOptions>;

/// Reads argv [argc]. What is not given comes, in this order, from the recipe (the form of the
/// regulariser, mm-weight, features), from what the paper names as best for `baby`, `sports` and
/// `elec` (layers, dropout, lambda; other names take baby's), or from TrainConfig. Error: an
/// unknown option or a value that is impossible, with the option, the value and what was expected.
Command parse_command_line(int argc, const char* const* argv);

/// "norm" or "squared", and "frozen" or "tuned".
const char* name_of(RegForm form);
const char* name_of_features(bool tuned);
/// The losses that are on: "rec,align,mask".
std::string losses_of(const Bm3Config& model);

}  // namespace bm3
