#pragma once
// The command line: what was asked for, checked, with every default filled in.
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "data/import.h"
#include "data/synthetic.h"
#include "models/model.h"
#include "ops/choose.h"

namespace bm3 {

/// bm3 NAME
struct TrainOptions {
  std::string name;            // of the data set
  std::filesystem::path data;  // the folder that holds it; empty: "data", which need not be there
  std::filesystem::path out;   // empty: runs/NAME-MODEL-SEED-TIME-PROCESS
  std::vector<std::string> modalities;  // {"all"}, {"none"}, or names
  const ModelKind* model = nullptr;
  Settings settings{{}};  // the model's and the training's
  DeviceChoice device;
  bool resume = false;  // go on with the run `out`, which knows all but `data` and threads
};

/// bm3 synth NAME, bm3 import NAME
template <class Spec>
struct MakeOptions {
  std::string name;
  std::filesystem::path data = "data";
  Spec spec;
};
using SynthOptions = MakeOptions<SyntheticSpec>;
using ImportOptions = MakeOptions<ImportSpec>;

/// bm3 recommend RUN
struct RecommendOptions {
  std::filesystem::path run;
  std::string user;  // the original id where the run has such ids, else the number
  size_t k = 10;
};

/// bm3 eval RUN
struct EvalOptions {
  std::filesystem::path run;
  std::filesystem::path data;  // that holds the run's data set, or itself another; empty: where the
                               // run found its data
  DeviceChoice device{"run"};  // "run": that of the run
  bool each_user = false;      // print the test metrics of each user
};

/// bm3 sweep NAME
struct SweepOptions {
  std::string name;
  std::filesystem::path data, out;  // as for training; `out`: for the runs' folders
  bool dry_run = false;
  std::vector<std::string> words;   // options of training, each with its values
};

struct Help {
  std::string text;
};

using Command = std::variant<Help, TrainOptions, SynthOptions, ImportOptions, RecommendOptions,
                             EvalOptions, SweepOptions>;

/// Reads the words after `bm3`. A setting has the value that was given, else the recipe's, else the
/// data set's, else its fallback. Throws for an unknown option and an impossible value, with the
/// option, the value and what was expected.
Command parse_command_line(const std::vector<std::string>& words);

}  // namespace bm3
