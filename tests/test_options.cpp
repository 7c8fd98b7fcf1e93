// The command line: defaults, precedence, names, impossible values; what --help says.
#include <gtest/gtest.h>

#include <set>

#include "command_line.h"
#include "scratch.h"

namespace bm3::test {
namespace {

TrainOptions train(const std::string& line) { return std::get<TrainOptions>(parse(line)); }

// ------------------------------------------------------------------------------------ settings

struct Line {
  const char* line;
  std::vector<std::pair<const char*, const char*>> settings;
};

/// Each command line, and values that some of its settings must have.
const Line lines[] = {
    {"baby",
     {{"recipe", "released"}, {"layers", "1"}, {"dropout", "0.5"}, {"reg", "0.1"},
      {"reg-form", "norm"}, {"mm-weight", "2"}, {"features", "frozen"},
      {"losses", "rec,align,mask"}, {"dim", "64"}, {"lr", "0.001"}, {"batch", "2048"},
      {"epochs", "1000"}, {"patience", "20"}, {"seed", "999"}}},
    // What suits a data set.
    {"sports", {{"layers", "1"}, {"dropout", "0.5"}, {"reg", "0.01"}}},
    {"elec", {{"layers", "2"}, {"dropout", "0.3"}, {"reg", "0.1"}}},
    {"mine", {{"layers", "1"}, {"dropout", "0.5"}, {"reg", "0.1"}}},
    {"paper", {{"recipe", "released"}, {"reg-form", "norm"}, {"mm-weight", "2"}}},
    {"baby --model lightgcn", {{"layers", "4"}, {"reg", "0.01"}, {"pair-form", "epsilon"}}},
    {"sports --model=lightgcn", {{"layers", "4"}, {"reg", "0.01"}}},
    // A recipe, and what is given explicitly: in any order.
    {"baby --recipe paper", {{"recipe", "paper"}, {"reg-form", "squared"}, {"mm-weight", "1"}}},
    {"sports --recipe paper", {{"reg-form", "squared"}, {"reg", "0.01"}}},
    {"baby --recipe paper --reg-form norm --mm-weight 3 --features tuned",
     {{"recipe", "paper"}, {"reg-form", "norm"}, {"mm-weight", "3"}, {"features", "tuned"}}},
    {"--features tuned --mm-weight 3 --reg-form norm --recipe paper baby",
     {{"recipe", "paper"}, {"reg-form", "norm"}, {"mm-weight", "3"}, {"features", "tuned"}}},
    {"--mm-weight 2 baby --recipe paper", {{"reg-form", "squared"}, {"mm-weight", "2"}}},
    {"elec --layers 3 --reg 0.5", {{"layers", "3"}, {"dropout", "0.3"}, {"reg", "0.5"}}},
    {"--reg 0.5 --layers 3 elec", {{"layers", "3"}, {"dropout", "0.3"}, {"reg", "0.5"}}},
    {"--model bpr --recipe paper x --reg 2",
     {{"reg-form", "squared"}, {"pair-form", "plain"}, {"reg", "2"}}},
    // Every number at an end of its range, and the names of the authors' code.
    {"toy --seed=18446744073709551615", {{"seed", "18446744073709551615"}}},
    {"toy --dropout 0 --reg 0 --layers 0 --mm-weight 0",
     {{"dropout", "0"}, {"reg", "0"}, {"layers", "0"}, {"mm-weight", "0"}}},
    {"toy --losses mask,rec --lr 0.01", {{"losses", "mask,rec"}, {"lr", "0.01"}}},
    {"toy --n-layers 3 --reg-weight 0.25 --cl-weight 0.5 --embedding-size 16",
     {{"layers", "3"}, {"reg", "0.25"}, {"mm-weight", "0.5"}, {"dim", "16"}}},
    {"toy --learning-rate 0.5 --train-batch-size 17 --stopping-step 4",
     {{"lr", "0.5"}, {"batch", "17"}, {"patience", "4"}}}};

TEST(Options, EverySettingHasItsValue) {
  for (const auto& [line, settings] : lines) {
    const TrainOptions options = train(line);
    for (const auto& [name, value] : settings)
      EXPECT_EQ(options.settings.text(name), value) << line << ": " << name;
  }
}

TEST(Options, WhatIsNoSetting) {
  const TrainOptions none = train("baby"), all =
      train("toy --data D --out O --modalities image,text --threads 3 --model bpr --tf32 "
            "--spmm cusparse --device cuda");
  EXPECT_EQ(none.name, "baby");
  EXPECT_EQ(none.data, "");
  EXPECT_EQ(none.out, "");
  EXPECT_EQ(none.model->name, "bm3");
  EXPECT_EQ(none.modalities, std::vector<std::string>{"all"});
  EXPECT_EQ(none.device.device, "auto");
  EXPECT_EQ(none.device.threads, 0);
  EXPECT_FALSE(none.device.tf32 || none.device.cusparse);
  EXPECT_EQ(all.data, "D");
  EXPECT_EQ(all.out, "O");
  EXPECT_EQ(all.model->name, "bpr");
  EXPECT_EQ(all.modalities, (std::vector<std::string>{"image", "text"}));
  EXPECT_EQ(all.device.device, "cuda");
  EXPECT_EQ(all.device.threads, 3);
  EXPECT_TRUE(all.device.tf32 && all.device.cusparse);
}

TEST(Options, Commands) {
  const auto synth = std::get<SynthOptions>(
      parse("synth toy --data D --users 11 --items 41 --interactions 205 --modality image:8:2.5 "
            "sound:3:0 --seed 4"));
  EXPECT_EQ(synth.name, "toy");
  EXPECT_EQ(synth.data, "D");
  EXPECT_EQ(synth.spec.n_users, 11);
  EXPECT_EQ(synth.spec.n_items, 41);
  EXPECT_EQ(synth.spec.n_interactions, 205);
  ASSERT_EQ(synth.spec.modalities.size(), 2U);
  EXPECT_EQ(synth.spec.modalities[0].name, "image");
  EXPECT_EQ(synth.spec.modalities[0].dim, 8);
  EXPECT_EQ(synth.spec.modalities[0].noise, 2.5);
  EXPECT_EQ(synth.spec.modalities[1].name, "sound");
  EXPECT_EQ(synth.spec.seed, 4U);
  EXPECT_EQ(std::get<SynthOptions>(parse("synth toy")).spec.n_users, 19445);
  EXPECT_EQ(std::get<SynthOptions>(parse("synth toy --modality a:1:1 --modality b:2:1"))
                .spec.modalities.size(), 2U);
  const auto recommend = std::get<RecommendOptions>(parse("recommend R --user 42 -k 5"));
  EXPECT_EQ(recommend.run, "R");
  EXPECT_EQ(recommend.user, 42);
  EXPECT_EQ(recommend.k, 5U);
  EXPECT_EQ(std::get<RecommendOptions>(parse("recommend R --user 1")).k, 10U);
  const auto eval = std::get<EvalOptions>(parse("eval R --data D --threads 2"));
  EXPECT_EQ(eval.run, "R");
  EXPECT_EQ(eval.data, "D");
  EXPECT_EQ(eval.device.threads, 2);
  EXPECT_EQ(eval.device.device, "run");
}

// ------------------------------------------------------------------------------------- refused

const std::string folder = ": expected the name of a folder in the data folder (--data)";
const std::string modality = ": expected NAME:DIM:NOISE, as in image:4096:3";
const std::string of_seed = ": expected a whole number from 0 to 18446744073709551615";
const std::string no_command = ", a command of bm3: expected another";
const std::string once = " stands without a value, or twice: expected one value (bm3";
const std::string list = " --help lists what there is)";

const std::pair<const char*, std::string> refused[] = {
    {"baby --dropout 1", "--dropout is '1': expected a number from 0 to below 1"},
    {"baby --dropout -0.1", "--dropout is '-0.1': expected a number from 0 to below 1"},
    {"baby --dropout nan", "--dropout is 'nan': expected a number from 0 to below 1"},
    {"baby --dropout half", "--dropout is 'half': expected a number from 0 to below 1"},
    {"baby --dropout 0.5x", "--dropout is '0.5x': expected a number from 0 to below 1"},
    {"baby --layers -1", "--layers is '-1': expected a whole number from 0 to 8"},
    {"baby --n-layers 9", "--layers is '9': expected a whole number from 0 to 8"},
    {"baby --layers 1.5", "--layers is '1.5': expected a whole number from 0 to 8"},
    {"baby --reg -1", "--reg is '-1': expected a number from 0, in float32's range"},
    {"baby --reg-weight inf", "--reg is 'inf': expected a number from 0, in float32's range"},
    {"baby --lr 0", "--lr is '0': expected a number above 0, in float32's range"},
    {"baby --lr 1e39", "--lr is '1e39': expected a number above 0, in float32's range"},
    {"baby --lr 1e999", "--lr is '1e999': expected a number above 0, in float32's range"},
    {"baby --batch 0", "--batch is '0': expected a whole number from 1 to 1000000"},
    {"baby --patience 1000001",
     "--patience is '1000001': expected a whole number from 1 to 1000000"},
    {"baby --threads -1", "--threads is '-1': expected a whole number from 0 to 1024"},
    {"baby --seed -1", "--seed is '-1'" + of_seed},
    {"baby --seed 18446744073709551616", "--seed is '18446744073709551616'" + of_seed},
    {"baby --seed 1\n2", "--seed is '1 2'" + of_seed},
    {"baby --recipe mine", "--recipe is 'mine': expected released or paper"},
    {"baby --recipe sports", "--recipe is 'sports': expected released or paper"},
    {"baby --model vbpr", "--model is 'vbpr': expected bm3 or bpr or lightgcn"},
    {"baby --losses rec,ce", "--losses is 'ce': expected rec or align or mask"},
    {"baby --losses rec,rec", "--losses names 'rec' twice: expected different names"},
    {"baby --losses rec,", "--losses is '': expected rec or align or mask"},
    {"baby --modalities a,b,a", "--modalities names 'a' twice: expected different names"},
    {"baby --spmm mine", "--spmm is 'mine': expected own or cusparse"},
    {"baby --tf32 --device cpu", "--tf32 needs a GPU: expected it without --device cpu"},
    {"baby --spmm cusparse --device cpu",
     "--spmm cusparse needs a GPU: expected it without --device cpu"},
    {"eval R --tf32 --device cpu", "--tf32 needs a GPU: expected it without --device cpu"},
    {"../baby", "the data set's name is '../baby'" + folder},
    {".", "the data set's name is '.'" + folder},
    {"synth a/b", "the data set's name is 'a/b'" + folder},
    {"synth eval", "the data set's name is 'eval'" + no_command},
    {"synth synth", "the data set's name is 'synth'" + no_command},
    {"", "no data set: expected its NAME, as in `bm3 baby`"},
    {"--seed 1", "no data set: expected its NAME, as in `bm3 baby`"},
    {"synth x --users 0", "--users is '0': expected a whole number from 1 to 1073741823"},
    {"synth x --modality image:8", "--modality is 'image:8'" + modality},
    {"synth x --modality :8:1", "--modality is ':8:1'" + modality},
    {"synth x --modality a/b:8:1", "--modality is 'a/b:8:1'" + modality},
    {"synth x --modality none:8:1",
     "a modality is named 'none': expected neither all nor none nor a comma, which --modalities "
     "could not name"},
    {"synth x --modality a:0:1",
     "DIM of --modality is '0': expected a whole number from 1 to 1048576"},
    {"synth x --modality a:8:-1", "NOISE of --modality is '-1': expected a number from 0 to 1e+06"},
    {"synth x --modality a:8:1 a:9:1", "--modality names 'a' twice: expected different names"},
    {"recommend R --user -1", "--user is '-1': expected a whole number from 0 to 1073741823"},
    {"recommend R --user 1 -k 0", "-k is '0': expected a whole number from 1 to 50"},
    {"recommend R", "--user is required (bm3 recommend" + list},
    {"synth", "NAME is required (bm3 synth" + list},
    {"eval", "RUN is required (bm3 eval" + list},
    // An option of another model or command, and words too many or too few.
    {"baby --frobnicate 3", "there is no option '--frobnicate' (bm3" + list},
    {"baby --pair-form plain", "there is no option '--pair-form' (bm3" + list},
    {"baby --model bpr --layers 2", "there is no option '--layers' (bm3" + list},
    {"baby --layers 2 --model=bpr", "there is no option '--layers' (bm3" + list},
    {"baby --model lightgcn --dropout 0.1", "there is no option '--dropout' (bm3" + list},
    {"baby --users 30", "there is no option '--users' (bm3" + list},
    {"synth x --dropout 0.1", "there is no option '--dropout' (bm3 synth" + list},
    {"synth x --model bpr", "there is no option '--model' (bm3 synth" + list},
    {"eval R --lr 1", "there is no option '--lr' (bm3 eval" + list},
    {"eval R --spmm own", "there is no option '--spmm' (bm3 eval" + list},
    {"baby more", "the argument 'more' was not expected (bm3" + list},
    {"recommend R S --user 1", "the argument 'S' was not expected (bm3 recommend" + list},
    {"baby --seed", "--seed" + once + list},
    {"baby --seed 1 --seed 2", "--seed" + once + list},
    {"baby --model bpr --model bm3", "--model" + once + list},
    {"synth x --modality", "--modality" + once + " synth" + list},
    {"baby synth x", "NAME stands before a command: expected what follows `bm3 synth`"},
    {"--seed 3 synth x", "--seed stands before a command: expected what follows `bm3 synth`"}};

TEST(Options, RefusesWhatCannotBe) {
  for (const auto& [line, words] : refused) {
    const std::string given = line;
    EXPECT_EQ(error_of([&] { parse(given); }), words) << line;
  }
  const char* empty[] = {"bm3", "baby", "--out", ""};
  EXPECT_ERROR(parse_command_line(4, empty), "--out is empty: expected a folder");
}

// ---------------------------------------------------------------------------------------- help

std::string help(const std::string& line) { return std::get<Help>(parse(line)).text; }

/// What --help says of an option or argument: its line.
std::string entry_of(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n  " + name + " ");
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at + 1) - at);
}

const struct {
  std::string command;
  std::vector<std::pair<std::string, const char*>> options;  // with their defaults
} helps[] = {
    {"",
     {{"NAME", ""}, {"--data", "[data]"}, {"--out", "[runs/NAME-YYYYMMDD-HHMMSS]"},
      {"--modalities", "[all]"}, {"--threads", "[0]"}, {"--device", "[auto]"}, {"--tf32", "[off]"},
      {"--spmm", "[own]"}, {"--model", "[bm3]"}, {"--lr,--learning-rate", "[0.001]"},
      {"--batch,--train-batch-size", "[2048]"}, {"--epochs", "[1000]"},
      {"--patience,--stopping-step", "[20]"}, {"--seed", "[999]"}, {"--recipe", "[released]"},
      {"--layers,--n-layers", "from 0 to 8 [1; elec: 2]"}, {"--dropout", "[0.5; elec: 0.3]"},
      {"--reg,--reg-weight", "[0.1; sports: 0.01]"}, {"--reg-form", "[norm; paper: squared]"},
      {"--mm-weight,--cl-weight", "[2; paper: 1]"}, {"--features", "[frozen]"},
      {"--losses", "of rec, align, mask [rec,align,mask]"}, {"--dim,--embedding-size", "[64]"},
      {"synth", ""}, {"recommend", ""}, {"eval", ""}}},
    {"synth",
     {{"NAME", ""}, {"--data", "[data]"}, {"--users", "[19445]"}, {"--items", "[7050]"},
      {"--interactions", "[160792]"}, {"--modality", "[image:4096:3 text:384:1]"},
      {"--seed", "[2023]"}}},
    {"recommend", {{"RUN", ""}, {"--user", "[required]"}, {"-k", "[10]"}}},
    {"eval",
     {{"RUN", ""}, {"--data", "[where the run found it]"}, {"--threads", "[0]"},
      {"--device", "[run]"}, {"--tf32", "[off]"}}}};

TEST(Help, ListsEveryOptionWithItsDefaultAndNothingElse) {
  for (const auto& [command, options] : helps) {
    const std::string text = help(command + " --help");
    std::set<std::string> known = {"-h,--help"};
    for (const auto& [option, fallback] : options) {
      known.insert(option);
      const std::string entry = entry_of(text, option);
      EXPECT_NE(entry, "") << command << " " << option;
      EXPECT_NE(entry.find(fallback), std::string::npos) << command << ": " << entry;
    }
    for (const auto& line : split(text, '\n'))
      if (line.compare(0, 3, "  -") == 0) {
        EXPECT_TRUE(known.count(line.substr(2, line.find(' ', 2) - 2))) << line;
      }
  }
}

TEST(Help, OfWhatWasAsked) {
  EXPECT_EQ(help("-h"), help("--help"));
  EXPECT_EQ(help("baby --help"), help("--help"));
  const std::string others = "bm3 --model NAME --help lists another model's settings, bm3 COMMAND";
  EXPECT_NE(help("--help").find(others), std::string::npos);
  for (const char* command : {"synth", "recommend", "eval"})
    EXPECT_EQ(help(command + std::string(" --help")).find(others), std::string::npos) << command;
}

/// Its own settings, and those of training.
TEST(Help, OfEachModel) {
  for (const ModelKind& model : all_models()) {
    const std::string text = help("--model " + model.name + " --help");
    EXPECT_NE(text.find("\nModel " + model.name + " (" + model.words + "):\n"), std::string::npos);
    size_t listed = 0;
    for (const auto& line : split(text, '\n')) listed += line.compare(0, 4, "  --") == 0;
    EXPECT_EQ(listed, 8 + training_settings().size() + model.settings.size()) << text;
  }
}

}  // namespace
}  // namespace bm3::test
