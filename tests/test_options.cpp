// The command line: defaults, precedence, names, impossible values; what --help says.
#include <gtest/gtest.h>

#include <set>

#include "options.h"
#include "scratch.h"
#include "text.h"
#include "train.h"

namespace bm3::test {
namespace {

/// The command line as words between spaces.
Command parse(const std::string& line) {
  std::vector<std::string> words;
  for (const auto& word : split(line, ' '))
    if (!word.empty()) words.push_back(word);
  return parse_command_line(words);
}

TrainOptions train(const std::string& line) { return std::get<TrainOptions>(parse(line)); }

struct Line {
  const char* line;
  std::vector<std::pair<const char*, const char*>> settings;
};

/// Each command line, and values that some of its settings must have.
const Line lines[] = {
    // What suits a data set.
    {"elec --reg 0.5", {{"layers", "2"}, {"dropout", "0.3"}, {"reg", "0.5"}}},
    {"mine", {{"layers", "1"}, {"dropout", "0.5"}, {"reg", "0.1"}}},
    {"paper", {{"recipe", "released"}, {"reg-form", "norm"}, {"mm-weight", "2"}}},
    {"baby --model freedom", {{"layers", "2"}, {"rho", "0.8"}, {"mm-weight", "0.001"}}},
    {"sports --model=lightgcn", {{"layers", "4"}, {"reg", "0.01"}, {"pair-form", "epsilon"}}},
    // A recipe, and what is given explicitly: in any order.
    {"sports --recipe paper", {{"reg-form", "squared"}, {"reg", "0.01"}, {"mm-weight", "1"}}},
    {"baby --recipe paper --reg-form norm --mm-weight 3 --features tuned",
     {{"recipe", "paper"}, {"reg-form", "norm"}, {"mm-weight", "3"}, {"features", "tuned"}}},
    {"--mm-weight 2 baby --recipe paper", {{"reg-form", "squared"}, {"mm-weight", "2"}}},
    {"--model bpr --recipe paper x --reg 2",
     {{"reg-form", "squared"}, {"pair-form", "plain"}, {"reg", "2"}}},
    // Every number at an end of its range, and the names of the authors' code.
    {"toy --dropout 0 --reg 0 --layers 0 --seed=18446744073709551615",
     {{"dropout", "0"}, {"reg", "0"}, {"layers", "0"}, {"seed", "18446744073709551615"}}},
    {"toy --n-layers 3 --reg-weight 0.25 --cl-weight 0.5 --embedding-size 16",
     {{"layers", "3"}, {"reg", "0.25"}, {"mm-weight", "0.5"}, {"dim", "16"}}},
    {"toy --learning-rate 0.5 --train-batch-size 17 --stopping-step 4 --losses mask,rec",
     {{"lr", "0.5"}, {"batch", "17"}, {"patience", "4"}, {"losses", "mask,rec"}}}};

TEST(Options, EverySettingHasItsValue) {
  for (const auto& [line, settings] : lines) {
    const TrainOptions options = train(line);
    for (const auto& [name, value] : settings)
      EXPECT_EQ(options.settings.text(name), value) << line << ": " << name;
  }
}

TEST(Options, WhatIsNoSetting) {
  const TrainOptions some =
      train("toy --data D --modalities image,text --threads 3 --model bpr --tf32 --spmm cusparse");
  EXPECT_EQ(some.name, "toy");
  EXPECT_EQ(some.data, "D");
  EXPECT_EQ(some.out, "");
  EXPECT_EQ(some.model->name, "bpr");
  EXPECT_EQ(some.modalities, (std::vector<std::string>{"image", "text"}));
  EXPECT_TRUE(some.device.tf32 && some.device.cusparse && some.device.threads == 3);
  EXPECT_EQ(some.device.device, "auto");
  EXPECT_FALSE(some.resume);
  const TrainOptions resumed = train("--resume R --data D --threads 3");
  EXPECT_TRUE(resumed.resume && resumed.out == "R" && resumed.data == "D");
  EXPECT_EQ(resumed.device.threads, 3);
  const auto eval = std::get<EvalOptions>(parse("eval R --device cpu --threads 2"));
  EXPECT_EQ(eval.device.device, "cpu");
  EXPECT_EQ(eval.device.threads, 2);
}

const std::string as_in = ": expected the name of a folder in the data folder, as in ",
                  folder = ": expected the name of a folder in the data folder (--data)";
const std::string modality = ": expected NAME:DIM:NOISE, as in image:4096:3",
                  modality_name =
                      ": expected a name without commas and slashes, neither all nor none";
const std::string columns = ": expected user=COLUMN, item=COLUMN or time=COLUMN";
const std::string features =
    ": expected NAME=FILE, or NAME=FILE.npy,IDS with a file of the rows' ids";
const std::string once = " stands without a value, or twice: expected one value (bm3";
const std::string resume =
    ": expected --data and --threads at most, for the run has all other options";
const std::string list = " --help lists what there is)";
const std::string models = [] {
  std::vector<std::string> names;
  for (const ModelKind& kind : all_models()) names.push_back(kind.name);
  return join(names, " or ");
}();

const std::pair<const char*, std::string> refused[] = {
    {"baby --dropout 1", "--dropout is '1': expected a number from 0 to below 1"},
    {"baby --dropout nan", "--dropout is 'nan': expected a number from 0 to below 1"},
    {"baby --dropout 0.5x", "--dropout is '0.5x': expected a number from 0 to below 1"},
    {"baby --layers -1", "--layers is '-1': expected a whole number from 0 to 8"},
    {"baby --n-layers 9", "--layers is '9': expected a whole number from 0 to 8"},
    {"baby --reg -1", "--reg is '-1': expected a number from 0, in float32's range"},
    {"baby --reg-weight inf", "--reg is 'inf': expected a number from 0, in float32's range"},
    {"baby --lr 0", "--lr is '0': expected a number above 0, in float32's range"},
    {"baby --lr 1e39", "--lr is '1e39': expected a number above 0, in float32's range"},
    {"baby --seed 18446744073709551616",
     "--seed is '18446744073709551616': expected a whole number from 0 to 18446744073709551615"},
    {"baby --batch 1\n2", "--batch is '1 2': expected a whole number from 1 to 1000000"},
    {"baby --recipe sports", "--recipe is 'sports': expected released or paper"},
    {"baby --model nobody", "--model is 'nobody': expected " + models},
    {"baby --losses rec,ce", "--losses is 'ce': expected rec or align or mask"},
    {"baby --losses rec,rec", "--losses names 'rec' twice: expected different names"},
    {"baby --modalities a,b,a", "--modalities names 'a' twice: expected different names"},
    {"baby --tf32 --device cpu", "--tf32 needs a GPU: expected it without --device cpu"},
    {"baby --spmm cusparse --device cpu",
     "--spmm cusparse needs a GPU: expected it without --device cpu"},
    {".baby", "the data set's name is '.baby'" + folder},
    {"..", "the data set's name is '..'" + folder},
    {"a/../", "the data set's name is 'a/../'" + folder},
    {"/a/b/baby/", "the data set's name is '/a/b/baby/'" + as_in + "`baby --data /a/b`"},
    {"a/baby/baby.inter", "the data set's name is 'a/baby/baby.inter'" + as_in +
                              "`baby --data a`"},
    {"synth a/b", "the data set's name is 'a/b'" + as_in + "`b --data a`"},
    {"synth eval", "the data set's name is 'eval', a command of bm3: expected another"},
    {"import import --ratings F",
     "the data set's name is 'import', a command of bm3: expected another"},
    {"import x", "--ratings is required (bm3 import" + list},
    {"import x --ratings F --core 0",
     "--core is '0': expected a whole number from 1 to 1073741823"},
    {"import x --ratings F --split date", "--split is 'date': expected random or time"},
    {"import x --ratings F --columns users=1", "--columns is 'users=1'" + columns},
    {"import x --ratings F --columns user=", "--columns is 'user='" + columns},
    {"import x --ratings F --columns user=1 user=2",
     "--columns names 'user' twice: expected different names"},
    {"import x --ratings F --features image", "--features is 'image'" + features},
    {"import x --ratings F --features image=f.npy", "--features is 'image=f.npy'" + features},
    {"import x --ratings F --features image=f.npy,", "--features is 'image=f.npy,'" + features},
    {"import x --ratings F --features a/b=f", "a modality is named 'a/b'" + modality_name},
    {"import x --ratings F --features all=f.csv",
     "a modality is named 'all'" + modality_name},
    {"", "no data set: expected its NAME, as in `bm3 baby`"},
    {"baby --resume R", "NAME is given with --resume" + resume},
    {"--resume R --data D --threads 2 --seed 999", "--seed is given with --resume" + resume},
    {"--out R --resume R", "--out is given with --resume" + resume},
    {"synth x --users 0", "--users is '0': expected a whole number from 10 to 1073741823"},
    {"synth x --modality image:8", "--modality is 'image:8'" + modality},
    {"synth x --modality :8:1", "a modality is named ''" + modality_name},
    {"synth x --modality none:8:1",
     "a modality is named 'none'" + modality_name},
    {"synth x --modality a:0:1", "--modality is 'a:0:1'" + modality},
    {"synth x --modality a:8:-1", "--modality is 'a:8:-1'" + modality},
    {"synth x --modality a:8:1 a:9:1", "--modality names 'a' twice: expected different names"},
    {"recommend R --user 1 -k 0", "-k is '0': expected a whole number from 1 to 50"},
    {"recommend R", "--user is required (bm3 recommend" + list},
    // An option of another model or command, and words too many or too few.
    {"baby --pair-form 3", "there is no option '--pair-form' (bm3" + list},
    {"baby --model bpr --layers 2", "there is no option '--layers' (bm3 --model bpr" + list},
    {"baby --layers 2 --model=bpr", "there is no option '--layers' (bm3 --model bpr" + list},
    {"synth x --model bpr", "there is no option '--model' (bm3 synth" + list},
    {"eval R --spmm own", "there is no option '--spmm' (bm3 eval" + list},
    {"train baby",
     "there is no command 'train': expected one of sweep, synth, import, recommend, eval, or one "
     "data set, as in `bm3 baby`"},
    {"sinth x", "there is no command 'sinth': did you mean synth?"},
    {"eval R S", "the argument 'S' was not expected (bm3 eval" + list},
    {"small --layers 1 2", "the argument '2' was not expected: a run takes one value of an option, "
                           "`bm3 sweep` several"},
    {"baby --layer 2", "there is no option '--layer': did you mean --layers?"},
    {"baby --modle=bpr", "there is no option '--modle=bpr': did you mean --model?"},
    {"eval R --thread 2", "there is no option '--thread': did you mean --threads?"},
    {"baby --seed", "--seed" + once + list},
    {"baby --seed 1 --seed 2", "--seed" + once + list},
    {"baby --model bpr --model bm3", "--model" + once + " --model bpr" + list},
    {"synth x --modality", "--modality" + once + " synth" + list},
    {"baby synth x", "NAME stands before a command: expected what follows `bm3 synth`"},
    {"--seed 3 synth x", "--seed stands before a command: expected what follows `bm3 synth`"}};

TEST(Options, OfAnImport) {
  const auto import = std::get<ImportOptions>(
      parse("import N --ratings r.gz --columns user=a=b time=3 --features image=i.b "
            "text=t.npy,ids.txt --split time --core 1 --seed 7"));
  const ImportSpec& spec = import.spec;
  std::vector<std::string> found = {import.name, import.data, spec.ratings};
  for (const auto& column : {spec.columns.user, spec.columns.item, spec.columns.time})
    found.push_back(column);
  for (const FeatureSource& source : spec.features)
    found.insert(found.end(), {source.modality, source.file, source.ids});
  EXPECT_EQ(join(found, "|"), "N|data|r.gz|a=b||3|image|i.b||text|t.npy|ids.txt");
  EXPECT_TRUE(spec.by_time && spec.core == 1 && spec.seed == 7);
}

TEST(Options, RefusesWhatCannotBe) {
  for (const auto& row : refused)
    EXPECT_EQ(error_of([&] { parse(row.first); }), row.second) << row.first;
  const std::vector<std::string> empty = {"baby", "--out", ""};
  EXPECT_ERROR(parse_command_line(empty), "--out is empty: expected a folder");
}

std::string help(const std::string& line) { return std::get<Help>(parse(line)).text; }

/// What --help says of an option or argument: its line, and those that go on with it.
std::string entry_of(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n  " + name + " ");
  if (at == std::string::npos) return "";
  size_t end = text.find('\n', at + 1);
  while (end != text.npos && text.compare(end, 5, "\n    ") == 0) end = text.find('\n', end + 1);
  return text.substr(at, end - at);
}

/// Options and arguments, each with a part of what --help says of it.
using Entries = std::vector<std::pair<std::string, std::string>>;

const Entries of_train = {
    {"NAME", ""}, {"--data", "[data]"}, {"--out", "[runs/NAME-MODEL-SEED-TIME-PROCESS]"},
    {"--resume", "RUN"}, {"--modalities", "[all]"}, {"--threads", "[0]"}, {"--device", "[auto]"},
    {"--tf32", "[off]"}, {"--spmm", "[own]"}, {"--model", "[bm3]"}, {"sweep", ""}, {"synth", ""},
    {"import", ""}, {"recommend", ""}, {"eval", ""}, {"--version", ""}};
const std::pair<std::string, Entries> of_commands[] = {
    {"synth",
     {{"NAME", ""}, {"--data", "[data]"}, {"--users", "[19445]"}, {"--items", "[7050]"},
      {"--interactions", "[160792]"}, {"--modality", "[image:4096:3 text:384:1]"},
      {"--seed", "[2023]"}}},
    {"import",
     {{"NAME", ""}, {"--data", "[data]"}, {"--ratings", "[required]"},
      {"--columns", "[usual names, or Amazon's order]"}, {"--features", "[none]"},
      {"--core", "[5]"}, {"--split", "[random]"}, {"--seed", "[999]"}}},
    {"recommend", {{"RUN", ""}, {"--user", "[required]"}, {"-k", "[10]"}}},
    {"eval",
     {{"RUN", ""}, {"--data", "[where the run found it]"}, {"--threads", "[0]"},
      {"--device", "[run]"}, {"--tf32", "[off]"}, {"--each-user", "[off]"}}}};

/// --help lists these, and no other option.
void expect_entries(const std::string& text, const Entries& entries) {
  std::set<std::string> known = {"-h,--help"};
  for (const auto& [name, words] : entries) {
    known.insert(name);
    const std::string entry = entry_of(text, name);
    EXPECT_NE(entry, "") << name;
    EXPECT_NE(entry.find(words), std::string::npos) << entry;
  }
  for (const auto& line : split(text, '\n'))
    if (line.compare(0, 3, "  -") == 0) {
      EXPECT_TRUE(known.count(line.substr(2, line.find(' ', 2) - 2))) << line;
    }
}

TEST(Help, ListsEveryOptionWithItsDefaultAndNothingElse) {
  const std::string others = "bm3 --model NAME --help lists another model's settings, bm3 COMMAND";
  for (const auto& [command, entries] : of_commands) {
    const std::string text = help(command + " --help");
    expect_entries(text, entries);
    EXPECT_EQ(text.find(others), std::string::npos);
  }
  for (const ModelKind& model : all_models()) {
    Entries entries = of_train;
    for (const auto& settings : {training_settings(model), model.settings})
      for (const Setting& setting : settings) {
        std::string names = option_name(setting.name);
        for (const auto& alias : setting.aliases) names += "," + option_name(alias);
        entries.push_back({names, "[" + setting.fallback});
      }
    const std::string text = help("--model " + model.name + " --help");
    expect_entries(text, entries);
    EXPECT_NE(text.find("\nModel " + model.name + " (" + model.words + "):\n"), std::string::npos);
    EXPECT_NE(text.find(others), std::string::npos);
  }
}

TEST(Help, SaysWhatAValueMayBe) {
  EXPECT_EQ(help("-h"), help("baby --model bm3 --help"));
  expect_entries(entry_of(help("-h"), "--layers,--n-layers"),
                 {{"--layers,--n-layers", ", from 0 to 8 [1; elec: 2]"}});
  expect_entries(entry_of(help("-h"), "--losses"), {{"--losses", ", of rec, align, mask ["}});
}

}  // namespace
}  // namespace bm3::test
