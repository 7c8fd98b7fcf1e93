// The command line: defaults, precedence, names, impossible values.
#include "command_line.h"
#include "scratch.h"

namespace bm3::test {
namespace {

TrainOptions train(const std::string& line) { return std::get<TrainOptions>(parse(line)); }
std::string message(const std::string& line) {
  return error_of([&] { parse(line); });
}

// ------------------------------------------------------------------------------------- defaults

TEST(Options, BestOfEachDataSet) {
  const struct {
    const char* name;
    size_t n_layers;
    double dropout, reg_weight;
  } bests[] = {{"baby", 1, 0.5, 0.1},
               {"sports", 1, 0.5, 0.01},
               {"elec", 2, 0.3, 0.1},
               {"mine", 1, 0.5, 0.1}};
  for (const auto& [name, n_layers, dropout, reg_weight] : bests) {
    const TrainOptions options = train(name);
    EXPECT_EQ(options.name, name);
    EXPECT_EQ(options.train.model.n_layers, n_layers) << name;
    EXPECT_EQ(options.train.model.dropout, dropout) << name;
    EXPECT_EQ(options.train.model.reg_weight, reg_weight) << name;
  }
}

TEST(Options, ThePapersProtocol) {
  const TrainOptions options = train("baby");
  EXPECT_EQ(options.data, "");
  EXPECT_EQ(options.out, "");
  EXPECT_EQ(options.recipe, "released");
  EXPECT_EQ(options.modalities, std::vector<std::string>{"all"});
  EXPECT_EQ(options.device.threads, 0);
  EXPECT_FALSE(options.memory);
  EXPECT_TRUE(train("baby --memory").memory);
  EXPECT_EQ(options.train.batch, 2048U);
  EXPECT_EQ(options.train.epochs, 1000U);
  EXPECT_EQ(options.train.patience, 20U);
  EXPECT_EQ(options.train.adam.lr, 1e-3);
  EXPECT_EQ(options.train.adam.beta1, 0.9);
  EXPECT_EQ(options.train.adam.beta2, 0.999);
  EXPECT_EQ(options.train.adam.epsilon, 1e-8);
  const Bm3Config& model = options.train.model;
  EXPECT_EQ(model.d, 64U);
  EXPECT_TRUE(model.rec && model.align && model.mask);
}

void expect_recipe(const std::string& line, const std::string& recipe, RegForm form,
                   double mm_weight, bool tuned) {
  const TrainOptions options = train(line);
  EXPECT_EQ(options.recipe, recipe) << line;
  EXPECT_EQ(options.train.model.reg_form, form) << line;
  EXPECT_EQ(options.train.model.mm_weight, mm_weight) << line;
  EXPECT_EQ(options.train.model.tuned, tuned) << line;
}

TEST(Options, Recipes) {
  expect_recipe("baby", "released", RegForm::norm, 2, false);
  expect_recipe("baby --recipe released", "released", RegForm::norm, 2, false);
  expect_recipe("baby --recipe paper", "paper", RegForm::squared, 1, false);
}

TEST(Options, TheExplicitWinsWhateverTheOrder) {
  expect_recipe("baby --recipe paper --reg-form norm --mm-weight 3 --features tuned", "paper",
                RegForm::norm, 3, true);
  expect_recipe("--features tuned --mm-weight 3 --reg-form norm --recipe paper baby", "paper",
                RegForm::norm, 3, true);
  expect_recipe("--mm-weight 2 baby --recipe paper", "paper", RegForm::squared, 2, false);
  expect_recipe("--features frozen --reg-form squared baby --recipe released", "released",
                RegForm::squared, 2, false);
  for (const char* line :
       {"elec --layers 3 --dropout 0.2 --reg 0.5", "--reg 0.5 --dropout 0.2 --layers 3 elec",
        "--layers 3 elec --reg 0.5 --dropout 0.2"}) {
    const Bm3Config model = train(line).train.model;
    EXPECT_EQ(model.n_layers, 3U) << line;
    EXPECT_EQ(model.dropout, 0.2) << line;
    EXPECT_EQ(model.reg_weight, 0.5) << line;
  }
  // Each alone: the others stay those of the name.
  EXPECT_EQ(train("--layers 3 elec").train.model.dropout, 0.3);
  EXPECT_EQ(train("elec --dropout 0.2").train.model.n_layers, 2U);
}

TEST(Options, NameBeforeOrAfter) {
  for (const char* line : {"--seed 1 baby", "baby --seed 1", "baby --seed=1"}) {
    const TrainOptions options = train(line);
    EXPECT_EQ(options.name, "baby") << line;
    EXPECT_EQ(options.train.seed, 1U) << line;
  }
}

TEST(Options, EveryTrainingOptionIsTaken) {
  const TrainOptions options = train(
      "toy --data D --out O --modalities image,text --threads 3 --losses rec,mask --dim 32 --lr "
      "0.01 "
      "--batch 100 --epochs 7 --patience 2 --seed 18446744073709551615");
  EXPECT_EQ(options.data, "D");
  EXPECT_EQ(options.out, "O");
  EXPECT_EQ(options.modalities, (std::vector<std::string>{"image", "text"}));
  EXPECT_EQ(options.device.threads, 3);
  EXPECT_EQ(losses_of(options.train.model), "rec,mask");
  EXPECT_EQ(options.train.model.d, 32U);
  EXPECT_EQ(options.train.adam.lr, 0.01);
  EXPECT_EQ(options.train.batch, 100U);
  EXPECT_EQ(options.train.epochs, 7U);
  EXPECT_EQ(options.train.patience, 2U);
  EXPECT_EQ(options.train.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(train("toy --dropout 0 --reg 0 --layers 0 --mm-weight 0").train.model.dropout, 0);
}

TEST(Options, NamesOfTheAuthorsCode) {
  const TrainOptions options = train(
      "toy --n-layers 3 --reg-weight 0.25 --cl-weight 0.5 --embedding-size 16 --learning-rate 0.5 "
      "--train-batch-size 17 --stopping-step 4");
  EXPECT_EQ(options.train.model.n_layers, 3U);
  EXPECT_EQ(options.train.model.reg_weight, 0.25);
  EXPECT_EQ(options.train.model.mm_weight, 0.5);
  EXPECT_EQ(options.train.model.d, 16U);
  EXPECT_EQ(options.train.adam.lr, 0.5);
  EXPECT_EQ(options.train.batch, 17U);
  EXPECT_EQ(options.train.patience, 4U);
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
  const auto baby = std::get<SynthOptions>(parse("synth toy")).spec;
  EXPECT_EQ(baby.n_users, 19445);
  EXPECT_EQ(baby.modalities.size(), 2U);
  EXPECT_EQ(std::get<SynthOptions>(parse("synth toy --modality a:1:1 --modality b:2:1"))
                .spec.modalities.size(),
            2U);

  const auto recommend = std::get<RecommendOptions>(parse("recommend R --user 42 -k 5"));
  EXPECT_EQ(recommend.run, "R");
  EXPECT_EQ(recommend.user, 42);
  EXPECT_EQ(recommend.k, 5U);
  EXPECT_EQ(std::get<RecommendOptions>(parse("recommend R --user 1")).k, 10U);
  const auto eval = std::get<EvalOptions>(parse("eval R --data D --threads 2"));
  EXPECT_EQ(eval.run, "R");
  EXPECT_EQ(eval.data, "D");
  EXPECT_EQ(eval.device.threads, 2);
}

// -------------------------------------------------------------------------------------- refused

struct Refused {
  const char *line, *words;
};
void expect_messages(const std::vector<Refused>& cases) {
  for (const auto& [line, words] : cases) EXPECT_EQ(message(line), words) << line;
}

TEST(Options, RefusesImpossibleValuesOfTheModel) {
  expect_messages({
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
    {"baby --mm-weight -1", "--mm-weight is '-1': expected a number from 0, in float32's range"}});
}

TEST(Options, RefusesImpossibleValuesOfTraining) {
  expect_messages({
    {"baby --lr 0", "--lr is '0': expected a number above 0, in float32's range"},
    {"baby --lr 1e39", "--lr is '1e39': expected a number above 0, in float32's range"},
    {"baby --lr 1e999", "--lr is '1e999': expected a number above 0, in float32's range"},
    {"baby --batch 0", "--batch is '0': expected a whole number from 1 to 1000000"},
    {"baby --epochs 0", "--epochs is '0': expected a whole number from 1 to 1000000"},
    {"baby --patience 1000001",
     "--patience is '1000001': expected a whole number from 1 to 1000000"},
    {"baby --dim 0", "--dim is '0': expected a whole number from 1 to 1024"},
    {"baby --threads -1", "--threads is '-1': expected a whole number from 0 to 1024"},
    {"baby --seed -1", "--seed is '-1': expected a whole number from 0 to 18446744073709551615"},
    {"baby --seed 18446744073709551616",
     "--seed is '18446744073709551616': expected a whole number from 0 to 18446744073709551615"}});
}

TEST(Options, RefusesUnknownChoices) {
  expect_messages({
    {"baby --recipe mine", "--recipe is 'mine': expected released or paper"},
    {"baby --reg-form cubed", "--reg-form is 'cubed': expected norm or squared"},
    {"baby --features thawed", "--features is 'thawed': expected frozen or tuned"},
    {"baby --losses rec,ce", "--losses is 'ce': expected rec or align or mask"},
    {"baby --losses rec,rec", "--losses names 'rec' twice: expected different names"},
    {"baby --modalities a,b,a", "--modalities names 'a' twice: expected different names"},
    {"baby --tf32 --device cpu",
     "--tf32 is there with --device cpu: expected it for a GPU alone"},
    {"eval R --tf32 --device cpu",
     "--tf32 is there with --device cpu: expected it for a GPU alone"},
    {"baby --losses rec,", "--losses is '': expected rec or align or mask"}});
}

TEST(Options, RefusesNamesThatAreNoFolder) {
  expect_messages({
    {"../baby",
     "the data set's name is '../baby': expected the name of a folder in the data folder "
     "(--data)"},
    {".",
     "the data set's name is '.': expected the name of a folder in the data folder (--data)"},
    {"synth a/b",
     "the data set's name is 'a/b': expected the name of a folder in the data folder (--data)"},
    {"synth eval", "the data set's name is 'eval', a command of bm3: expected another"},
    {"synth recommend", "the data set's name is 'recommend', a command of bm3: expected another"},
    {"synth synth", "the data set's name is 'synth', a command of bm3: expected another"},
    {"", "no data set: expected its NAME, as in `bm3 baby`"},
    {"--seed 1", "no data set: expected its NAME, as in `bm3 baby`"}});
}

TEST(Options, RefusesImpossibleDataSets) {
  expect_messages({
    {"synth x --users 0", "--users is '0': expected a whole number from 1 to 1073741823"},
    {"synth x --modality image:8",
     "--modality is 'image:8': expected NAME:DIM:NOISE, as in image:4096:3"},
    {"synth x --modality :8:1",
     "--modality is ':8:1': expected NAME:DIM:NOISE, as in image:4096:3"},
    {"synth x --modality a/b:8:1",
     "--modality is 'a/b:8:1': expected NAME:DIM:NOISE, as in image:4096:3"},
    {"synth x --modality none:8:1",
     "a modality is named 'none': expected neither all nor none nor a comma, which --modalities "
     "could not name"},
    {"synth x --modality a:0:1",
     "DIM of --modality is '0': expected a whole number from 1 to 1048576"},
    {"synth x --modality a:8:-1", "NOISE of --modality is '-1': expected a number from 0 to 1e+06"},
    {"synth x --modality a:8:1 a:9:1", "--modality names 'a' twice: expected different names"}});
}

TEST(Options, RefusesImpossibleRecommendations) {
  expect_messages({
    {"recommend R --user -1", "--user is '-1': expected a whole number from 0 to 1073741823"},
    {"recommend R --user 1 -k 0", "-k is '0': expected a whole number from 1 to 50"},
    {"recommend R", "--user is required (bm3 recommend --help lists what there is)"}});
}

TEST(Options, RefusesAnEmptyOrABrokenWord) {
  const char* empty[] = {"bm3", "baby", "--out", ""};
  EXPECT_ERROR(parse_command_line(4, empty), "--out is empty: expected a folder");
  const char* lines[] = {"bm3", "baby", "--seed", "1\n2"};
  EXPECT_ERROR(parse_command_line(4, lines),
               "--seed is '1 2': expected a whole number from 0 to 18446744073709551615");
}

TEST(Options, RefusesWhatItDoesNotKnow) {
  // Also an option of one command given to another.
  for (const char* line :
       {"baby --frobnicate", "baby --frobnicate 3", "baby more", "synth x --dropout 0.1",
        "synth x --layers 1", "recommend R --user 1 --epochs 3", "eval R --user 1", "eval R --lr 1",
        "baby --users 30", "baby -k 3", "synth x y", "recommend R S --user 1", "baby --seed",
        "baby --seed 1 --seed 2"}) {
    const std::string words = message(line), command = split(line, ' ')[0];
    const std::string help = "(bm3 " + (command == "baby" ? "" : command + " ") + "--help lists";
    EXPECT_NE(words.find(help), std::string::npos) << line << ": " << words;
    EXPECT_EQ(words.find('\n'), std::string::npos) << line;
  }
  EXPECT_NE(message("baby --frobnicate").find("--frobnicate"), std::string::npos);
  for (const char* line : {"baby --seed", "baby --seed 1 --seed 2"})
    EXPECT_EQ(message(line),
              "--seed stands without a value, or twice: expected one value (bm3 --help lists what "
              "there is)");
  EXPECT_EQ(message("synth x --modality"),
            "--modality stands without a value, or twice: expected one value (bm3 synth --help "
            "lists what there is)");
  EXPECT_NE(message("synth x --dropout 0.1").find("--dropout"), std::string::npos);
  for (const char* line : {"synth", "recommend", "recommend --user 1", "eval"})
    EXPECT_NE(message(line).find("required"), std::string::npos) << line << ": " << message(line);
}

TEST(Options, RefusesWordsBeforeACommand) {
  EXPECT_EQ(message("baby synth x"),
            "NAME stands before a command: expected what follows `bm3 synth`");
  EXPECT_EQ(message("--seed 3 synth x"),
            "--seed stands before a command: expected what follows `bm3 synth`");
}

}  // namespace
}  // namespace bm3::test
