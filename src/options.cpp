#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>

#include "data/dataset.h"
#include "error.h"
#include "ops/metrics.h"
#include "text.h"
#include "train.h"

namespace bm3 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t most_rows = std::numeric_limits<int32_t>::max() / 2;  // users, items are int32
constexpr const char* commands[] = {"synth", "recommend", "eval"};

/// The settings that were given, in their order.
using Given = std::vector<std::pair<std::string, std::string>>;

// ------------------------------------------------------------------- settings as options

const Setting threads_setting = {"threads", whole_from_to(0, 1024), "0",
                                 "threads on the CPU; 0: one for each processor"};
const char* const device_words = "where to compute; auto: on the GPU when one works";

std::vector<Setting> device_settings() {
  return {{"device", word_of({"auto", "cpu", "cuda"}), "auto", device_words},
          threads_setting,
          {"spmm", word_of({"own", "cusparse"}), "own",
           "propagation on the GPU by a kernel of our own or by cuSPARSE"}};
}

std::vector<Setting> eval_settings() {
  return {{"device", word_of({"run", "auto", "cpu", "cuda"}), "run",
           device_words + std::string("; run: as the run did")},
          threads_setting};
}

std::vector<Setting> synth_settings() {
  const SyntheticSpec spec;
  return {{"users", whole_from_to(1, most_rows), shortest(spec.n_users), "users"},
          {"items", whole_from_to(1, most_rows), shortest(spec.n_items), "items"},
          {"interactions", whole_from_to(1, 1000000000000), shortest(spec.n_interactions),
           "interactions; at least five a user and an item"},
          {"seed", whole_from_to(0, std::numeric_limits<uint64_t>::max()), shortest(spec.seed),
           "seed of every random number"}};
}

std::vector<Setting> recommend_settings() {
  return {{"user", whole_from_to(0, most_rows), "required", "the user's number"},
          {"k", whole_from_to(1, longest_list), "10", "how many items"}};
}

/// For --help: what a setting means, its values and its default.
std::string help_of(const Setting& setting) {
  std::string text = setting.words;
  if (setting.range.kind == Range::list)
    text += ", of " + join(setting.range.choices, ", ");
  else if (setting.range.choices.empty())
    text += ", " + setting.range.words;
  text += " [" + setting.fallback;
  for (const auto& [name, value] : setting.best) text += "; " + name + ": " + value;
  return text + "]";
}

/// Adds an option for each setting; what is given goes to `given`.
void add_settings(CLI::App& app, const std::vector<Setting>& settings, Given& given,
                  const std::string& group = "Options") {
  for (const Setting& setting : settings) {
    std::string names = option_name(setting.name);
    for (const auto& alias : setting.aliases) names += "," + option_name(alias);
    const auto take = [name = setting.name, &given](const std::string& value) {
      given.emplace_back(name, value);
    };
    const auto& choices = setting.range.choices;
    app.add_option_function<std::string>(names, take, help_of(setting))
        ->option_text(choices.empty()                       ? "N"
                      : setting.range.kind == Range::list ? "A,B,.."
                                                            : join(choices, "|"))
        ->group(group);
  }
}

/// The settings with the values that `given` and the data set of this name give them.
Settings filled(std::vector<Setting> known, const Given& given, const std::string& data = "") {
  Settings settings(std::move(known));
  settings.suit(data);
  for (const auto& [name, value] : given)
    if (name == "recipe") settings.suit(value);
  for (const auto& [name, value] : given)
    if (settings.knows(name)) settings.set(name, value);
  return settings;
}

std::vector<Setting> settings_of(const ModelKind& model) {
  std::vector<Setting> all = model.settings;
  for (Setting& setting : training_settings()) all.push_back(std::move(setting));
  return all;
}

/// Returns the model that --model names: it decides what other options there are.
const ModelKind& named_model(int argc, const char* const* argv) {
  const std::string option = "--model";
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    if (word == option && k + 1 < argc) return model_kind(argv[k + 1]);
    if (word.rfind(option + "=", 0) == 0) return model_kind(word.substr(option.size() + 1));
  }
  return all_models().front();
}

// --------------------------------------------------------------------------- other options

/// A data set's name becomes the name of a folder.
void check_name(const std::string& text) {
  if (text.empty() || text[0] == '.' || text.find('/') != std::string::npos ||
      std::any_of(text.begin(), text.end(), is_control))
    throw Error("the data set's name is " + in_quotes(text) +
                ": expected the name of a folder in the data folder (--data)");
}

/// And one that `bm3 NAME` would not take for a command.
void check_new_name(const std::string& text) {
  for (const char* command : commands)
    if (text == command)
      throw Error("the data set's name is '" + text + "', a command of bm3: expected another");
  check_name(text);
}

/// --modality NAME:DIM:NOISE
SyntheticModality parse_modality(const std::string& text) {
  const auto parts = split(text, ':');
  if (parts.size() != 3 || parts[0].empty() || parts[0].find('/') != std::string::npos)
    throw Error("--modality is " + in_quotes(text) +
                ": expected NAME:DIM:NOISE, as in image:4096:3");
  check_modality_name(parts[0]);
  check_value("DIM of --modality", whole_from_to(1, 1 << 20), parts[1]);
  check_value("NOISE of --modality", real(0, 1e6, "from 0 to 1e+06"), parts[2]);
  SyntheticModality out{parts[0], 0, 0};
  parse(parts[1], out.dim);
  parse(parts[2], out.noise);
  return out;
}

/// Throws when a name occurs twice.
void check_distinct(const std::string& option, const std::vector<std::string>& names) {
  for (const auto& name : names)
    if (std::count(names.begin(), names.end(), name) > 1)
      throw Error(option + " names " + in_quotes(name) + " twice: expected different names");
}

/// What the words of a command come to before they are checked.
struct Words {
  std::string name, model, modalities = "all";
  fs::path data, out, run;
  std::vector<std::string> modality;
  bool tf32 = false;
  Given given;
};

CLI::Option* add_folder(CLI::App& app, const std::string& name, fs::path& value,
                        const std::string& words) {
  const auto take = [name, &value](const std::string& text) {
    if (text.empty()) throw Error(name + " is empty: expected a folder");
    value = text;
  };
  return app.add_option_function<std::string>(name, take, words)
      ->option_text(name[0] == '-' ? "DIR" : "");
}

void add_tf32(CLI::App& app, Words& words) {
  app.add_flag("--tf32", words.tf32, "products on the GPU in TF32, faster and less exact [off]");
}

DeviceChoice device_of(const Settings& settings, bool tf32) {
  const bool cusparse = settings.knows("spmm") && settings.has("spmm", "cusparse");
  if (settings.has("device", "cpu") && (tf32 || cusparse))
    throw Error((tf32 ? "--tf32" : "--spmm cusparse") +
                std::string(" needs a GPU: expected it without --device cpu"));
  return {settings.text("device"), static_cast<int>(settings.whole("threads")), tf32, cusparse};
}

// -------------------------------------------------------------------------------- commands

void add_train(CLI::App& app, Words& words, const ModelKind& model) {
  std::vector<std::string> models;
  for (const ModelKind& kind : all_models()) models.push_back(kind.name);
  app.add_option("NAME", words.name, "name of the data set, a folder in the data folder")
      ->option_text(" ");
  app.add_option("--model", words.model, "which model to train [" + models[0] + "]")
      ->option_text(join(models, "|"));
  add_folder(app, "--data", words.data, "the data folder [data]");
  add_folder(app, "--out", words.out,
             "folder for the results; new or empty [runs/NAME-YYYYMMDD-HHMMSS]");
  app.add_option("--modalities", words.modalities,
                 "which of the data set's modalities to use [all]")
      ->option_text("all|none|A,B,..");
  add_settings(app, device_settings(), words.given);
  add_tf32(app, words);
  add_settings(app, training_settings(), words.given, "Training");
  add_settings(app, model.settings, words.given, "Model " + model.name + " (" + model.words + ")");
}

TrainOptions train_options(const Words& words, const ModelKind& model) {
  if (words.name.empty()) throw Error("no data set: expected its NAME, as in `bm3 baby`");
  check_name(words.name);
  const auto modalities = split(words.modalities, ',');
  check_distinct("--modalities", modalities);
  const Settings device = filled(device_settings(), words.given);
  return {words.name, words.data, words.out, modalities, &model,
          filled(settings_of(model), words.given, words.name), device_of(device, words.tf32)};
}

void add_synth(CLI::App& app, Words& words) {
  std::string modalities;
  for (const auto& m : SyntheticSpec{}.modalities)
    modalities += " " + m.name + ":" + shortest(m.dim) + ":" + shortest(m.noise);
  app.add_option("NAME", words.name, "name of the new data set")->option_text(" ")->required();
  add_folder(app, "--data", words.data, "the data folder [data]");
  add_settings(app, synth_settings(), words.given);
  app.add_option("--modality", words.modality,
                 "modalities with their size and the noise beside a signal of 1 [" +
                     modalities.substr(1) + "]")
      ->option_text("NAME:DIM:NOISE ...");
}

SynthOptions synth_options(const Words& words) {
  check_new_name(words.name);
  const Settings settings = filled(synth_settings(), words.given);
  SyntheticSpec spec;
  spec.n_users = static_cast<int64_t>(settings.whole("users"));
  spec.n_items = static_cast<int64_t>(settings.whole("items"));
  spec.n_interactions = static_cast<int64_t>(settings.whole("interactions"));
  spec.seed = settings.whole("seed");
  if (!words.modality.empty()) spec.modalities.clear();
  std::vector<std::string> names;
  for (const auto& text : words.modality) {
    spec.modalities.push_back(parse_modality(text));
    names.push_back(spec.modalities.back().name);
  }
  check_distinct("--modality", names);
  return {words.name, words.data.empty() ? "data" : words.data, spec};
}

/// Returns where to look, which follows what is wrong with the words of `bm3` or of its command.
std::string see_help(const CLI::App& app) {
  const auto given = app.get_subcommands();
  return " (bm3 " + (given.empty() ? "" : given[0]->get_name() + " ") +
         "--help lists what there is)";
}

/// Of the words that no option or argument took, the one to blame.
std::string unexpected(const CLI::App& app) {
  const auto words = app.remaining(true);
  for (const auto& word : words)
    if (word.size() > 1 && word[0] == '-') return "there is no option " + in_quotes(word);
  return "the argument " + in_quotes(words.front()) + " was not expected";
}

/// Reads the words; returns the help where that was asked for.
std::string parse_words(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::ExtrasError&) {
    throw Error(unexpected(app) + see_help(app));
  } catch (const CLI::ArgumentMismatch& e) {
    throw Error(split(e.what(), ':')[0] + " stands without a value, or twice: expected one value" +
                see_help(app));
  } catch (const CLI::ParseError& e) {
    throw Error(e.what() + see_help(app));
  }
  for (const auto* option : app.get_options())
    if (option->count() && !app.get_subcommands().empty())
      throw Error(option->get_name() + " stands before a command: expected what follows `bm3 " +
                  app.get_subcommands()[0]->get_name() + "`");
  return "";
}

}  // namespace

Command parse_command_line(int argc, const char* const* argv) {
  CLI::App app{
      "Trains a recommender on the data set NAME, and leaves a folder of results. Without\n"
      "data/baby, `bm3 baby` trains on a built-in stand-in; data/README.md says how to get the\n"
      "real data."};
  app.get_formatter()->column_width(44);
  const ModelKind& model = named_model(argc, argv);
  Words train, synth, recommend, eval;
  add_train(app, train, model);
  auto* const of_synth = app.add_subcommand("synth", "Write a synthetic data set");
  add_synth(*of_synth, synth);
  auto* const of_recommend =
      app.add_subcommand("recommend", "Print a user's best items by a run's lists");
  auto* const of_eval = app.add_subcommand("eval", "Rank again by a run's embeddings, and compare");
  for (auto [command, words] : {std::pair{of_recommend, &recommend}, {of_eval, &eval}})
    add_folder(*command, "RUN", words->run, "folder that a training run left")->required();
  add_settings(*of_recommend, recommend_settings(), recommend.given);
  of_recommend->get_option("--user")->required();
  add_folder(*of_eval, "--data", eval.data, "the data folder [where the run found it]");
  add_settings(*of_eval, eval_settings(), eval.given);
  add_tf32(*of_eval, eval);
  // After the commands, which would copy it.
  app.footer("\nbm3 --model NAME --help lists another model's settings, bm3 COMMAND --help a "
             "command's options.");

  const std::string help = parse_words(app, argc, argv);
  if (!help.empty()) return Help{help};
  if (*of_synth) return synth_options(synth);
  if (*of_recommend) {
    const Settings settings = filled(recommend_settings(), recommend.given);
    return RecommendOptions{recommend.run, static_cast<int64_t>(settings.whole("user")),
                            settings.whole("k")};
  }
  if (*of_eval)
    return EvalOptions{eval.run, eval.data,
                       device_of(filled(eval_settings(), eval.given), eval.tf32)};
  return train_options(train, model);
}

}  // namespace bm3
