#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>

#include "data/dataset.h"
#include "error.h"
#include "text.h"

namespace bm3 {
namespace {

/// The best hyper-parameters of each data set by the paper's grid (4.4).
struct Best {
  const char* name;
  size_t n_layers;
  double dropout, reg_weight;
};
constexpr Best bests[] = {{"baby", 1, 0.5, 0.1}, {"sports", 1, 0.5, 0.01}, {"elec", 2, 0.3, 0.1}};

struct Recipe {
  const char* name;
  RegForm reg_form;
  double mm_weight;
  bool tuned;
};
constexpr Recipe recipes[] = {{"released", RegForm::norm, 2, false},
                              {"paper", RegForm::squared, 1, false}};

/// The row of that name, else the first.
template <class Table>
const auto& row_of(const Table& table, const std::string& name) {
  for (const auto& row : table)
    if (row.name == name) return row;
  return table[0];
}

/// For --help: the first row's value, and the rows that differ: "0.1; sports: 0.01".
template <class Table, class Value>
std::string values_of(const Table& table, const Value& value) {
  std::string out = value(table[0]);
  for (const auto& row : table)
    if (value(row) != value(table[0])) out += "; " + std::string(row.name) + ": " + value(row);
  return out;
}

template <class T>
struct Range {
  T least, most;
  std::string words;
};
template <class T>
Range<T> from_to(T least, T most) {
  return {least, most, "from " + shortest(least) + " to " + shortest(most)};
}
using Float = std::numeric_limits<float>;  // what computes with these numbers
const Range<double> probability{0, std::nextafter(1.0, 0.0), "from 0 to below 1"};
const Range<double> weight{0, Float::max(), "from 0, in float32's range"};
const Range<double> positive{Float::min(), Float::max(), "above 0, in float32's range"};
const Range<double> noises = from_to(0.0, 1e6);
const Range<uint64_t> seeds = from_to(uint64_t{0}, std::numeric_limits<uint64_t>::max());
constexpr int64_t most_rows = std::numeric_limits<int32_t>::max() / 2;  // users and items are int32

template <class T>
T parse_number(const std::string& option, const std::string& text, const Range<T>& range) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value);
  if (status != std::errc() || stop != end || !(value >= range.least && value <= range.most))
    throw Error(option + " is " + in_quotes(text) + ": expected a " +
                (std::is_integral_v<T> ? "whole number " : "number ") + range.words);
  return value;
}

std::string parse_choice(const std::string& option, const std::string& text,
                         const std::vector<std::string>& choices) {
  if (!std::count(choices.begin(), choices.end(), text))
    throw Error(option + " is " + in_quotes(text) + ": expected " + join(choices, " or "));
  return text;
}

/// A data set's name becomes the name of a folder.
std::string parse_name(const std::string& text) {
  if (text.empty() || text[0] == '.' || text.find('/') != std::string::npos ||
      std::any_of(text.begin(), text.end(), is_control))
    throw Error("the data set's name is " + in_quotes(text) +
                ": expected the name of a folder in the data folder (--data)");
  return text;
}

constexpr const char* commands[] = {"synth", "recommend", "eval"};

/// And one that `bm3 NAME` would not take for a command.
std::string parse_new_name(const std::string& text) {
  for (const char* command : commands)
    if (text == command)
      throw Error("the data set's name is '" + text + "', a command of bm3: expected another");
  return parse_name(text);
}

/// The pieces between commas. Error when one occurs twice.
std::vector<std::string> parse_list(const std::string& option, const std::string& text) {
  const auto list = split(text, ',');
  for (const auto& word : list)
    if (std::count(list.begin(), list.end(), word) > 1)
      throw Error(option + " names " + in_quotes(word) + " twice: expected different names");
  return list;
}

/// --losses: each of the list is on, the others are off.
void parse_losses(const std::string& text, Bm3Config& config) {
  config.rec = config.align = config.mask = false;
  for (const auto& loss : parse_list("--losses", text)) {
    parse_choice("--losses", loss, {"rec", "align", "mask"});
    (loss == "rec" ? config.rec : loss == "align" ? config.align : config.mask) = true;
  }
}

/// --modality NAME:DIM:NOISE
SyntheticModality parse_modality(const std::string& text) {
  const auto parts = split(text, ':');
  if (parts.size() != 3 || parts[0].empty() || parts[0].find('/') != std::string::npos)
    throw Error("--modality is " + in_quotes(text) +
                ": expected NAME:DIM:NOISE, as in image:4096:3");
  check_modality_name(parts[0]);
  return {parts[0], parse_number("DIM of --modality", parts[1], from_to<int64_t>(1, 1 << 20)),
          parse_number("NOISE of --modality", parts[2], noises)};
}

void add_modality(SyntheticSpec& spec, SyntheticModality added) {
  for (const auto& m : spec.modalities)
    if (m.name == added.name)
      throw Error("--modality names " + in_quotes(m.name) + " twice: expected different names");
  spec.modalities.push_back(std::move(added));
}

using Take = std::function<void(const std::string& text)>;

/// An option, or an argument when `names` has no dash, whose text goes to `take`. `value` is what
/// --help calls it.
CLI::Option* add(CLI::App& app, const std::string& names, const std::string& value,
                 const std::string& meaning, const Take& take) {
  return app.add_option_function<std::string>(names, take, meaning)->option_text(value);
}

/// An option that takes a number; --help shows its range and `fallback`, or the value it has now.
template <class T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value, const Range<T>& range,
                        const std::string& meaning, const std::string& fallback = "") {
  const std::string name = names.substr(0, names.find(','));
  return add(
      app, names, "N",
      meaning + ", " + range.words + " [" + (fallback.empty() ? shortest(value) : fallback) + "]",
      [=, &value](const std::string& text) { value = parse_number(name, text, range); });
}

CLI::Option* add_choice(CLI::App& app, const std::string& name,
                        const std::vector<std::string>& choices, const std::string& meaning,
                        const std::string& fallback, const Take& take) {
  return add(app, name, join(choices, "|"), meaning + " [" + fallback + "]",
             [=](const std::string& text) { take(parse_choice(name, text, choices)); });
}

CLI::Option* add_folder(CLI::App& app, const std::string& name, std::filesystem::path& value,
                        const std::string& meaning, const std::string& fallback) {
  return add(app, name, name[0] == '-' ? "DIR" : "",
             meaning + (fallback.empty() ? "" : " [" + fallback + "]"),
             [=, &value](const std::string& text) {
               if (text.empty()) throw Error(name + " is empty: expected a folder");
               value = text;
             });
}

void add_device(CLI::App& app, DeviceChoice& choice, const std::string& fallback) {
  add_choice(app, "--device", {"auto", "cpu", "cuda"},
             "where to compute; auto: on the GPU when one works", fallback,
             [&](const std::string& text) { choice.device = text; });
  add_number(app, "--threads", choice.threads, from_to(0, 1024),
             "threads on the CPU; 0: one for each processor");
  app.add_flag("--tf32", choice.tf32, "products on the GPU in TF32, faster and less exact [off]");
}

// Callbacks of options run in the order in which the options are added, not in that of the command
// line: NAME and --recipe come first, so that what is given explicitly has the last word.

void add_data_options(CLI::App& app, TrainOptions& options) {
  Bm3Config& model = options.train.model;
  add(app, "NAME", "", "name of the data set, a folder in the data folder", [&](const auto& text) {
    options.name = parse_name(text);
    const Best& best = row_of(bests, text);
    model.n_layers = best.n_layers;
    model.dropout = best.dropout;
    model.reg_weight = best.reg_weight;
  });
  add_folder(app, "--data", options.data, "the data folder", "data");
  add_folder(app, "--out", options.out, "folder for the results; new or empty",
             "runs/NAME-YYYYMMDD-HHMMSS");
  add(app, "--modalities", "all|none|A,B,..", "which of the data set's modalities to use [all]",
      [&](const std::string& text) { options.modalities = parse_list("--modalities", text); });
  add_device(app, options.device, options.device.device);
  app.add_flag("--memory", options.memory,
               "print what training would hold in the device's memory, and do not train [off]");
}

void add_model_options(CLI::App& app, TrainOptions& options) {
  Bm3Config& model = options.train.model;
  add_choice(app, "--recipe", {"released", "paper"},
             "--reg-form, --mm-weight and --features as in the authors' code or as in their text",
             options.recipe, [&](const std::string& text) {
               const Recipe& recipe = row_of(recipes, options.recipe = text);
               model.reg_form = recipe.reg_form;
               model.mm_weight = recipe.mm_weight;
               model.tuned = recipe.tuned;
             });
  add_number(app, "--layers,--n-layers", model.n_layers, from_to<size_t>(0, 8),
             "L, layers of the graph",
             values_of(bests, [](const Best& row) { return shortest(row.n_layers); }));
  add_number(app, "--dropout", model.dropout, probability, "p, the probability to drop in a view",
             values_of(bests, [](const Best& row) { return shortest(row.dropout); }));
  add_number(app, "--reg,--reg-weight", model.reg_weight, weight,
             "lambda, weight of the regulariser",
             values_of(bests, [](const Best& row) { return shortest(row.reg_weight); }));
  add_choice(
      app, "--reg-form", {"norm", "squared"}, "form of the regulariser",
      values_of(recipes, [](const Recipe& row) { return std::string(name_of(row.reg_form)); }),
      [&](const std::string& text) {
        model.reg_form = text == "norm" ? RegForm::norm : RegForm::squared;
      });
  add_number(app, "--mm-weight,--cl-weight", model.mm_weight, weight,
             "weight of the align and mask losses",
             values_of(recipes, [](const Recipe& row) { return shortest(row.mm_weight); }));
  add_choice(app, "--features", {"frozen", "tuned"}, "whether training changes the features",
             values_of(recipes,
                       [](const Recipe& row) { return std::string(name_of_features(row.tuned)); }),
             [&](const std::string& text) { model.tuned = text == "tuned"; });
  add(app, "--losses", "A,B,..", "which of rec, align and mask are on [" + losses_of(model) + "]",
      [&](const std::string& text) { parse_losses(text, model); });
  add_number(app, "--dim,--embedding-size", model.d, from_to<size_t>(1, 1024),
             "d, size of an embedding");
}

void add_training_options(CLI::App& app, TrainConfig& train) {
  add_number(app, "--lr,--learning-rate", train.adam.lr, positive, "Adam's learning rate");
  add_number(app, "--batch,--train-batch-size", train.batch, from_to<size_t>(1, 1000000),
             "interactions in a batch");
  add_number(app, "--epochs", train.epochs, from_to<size_t>(1, 1000000), "epochs at most");
  add_number(app, "--patience,--stopping-step", train.patience, from_to<size_t>(1, 1000000),
             "stop after so many epochs without a better validation R@20");
  add_number(app, "--seed", train.seed, seeds, "seed of every random number");
}

void add_synth(CLI::App& app, SynthOptions& options) {
  SyntheticSpec& spec = options.spec;
  add(app, "NAME", "", "name of the new data set", [&](const std::string& text) {
    options.name = parse_new_name(text);
  })->required();
  add_folder(app, "--data", options.data, "the data folder", options.data.string());
  add_number(app, "--users", spec.n_users, from_to<int64_t>(1, most_rows), "users");
  add_number(app, "--items", spec.n_items, from_to<int64_t>(1, most_rows), "items");
  add_number(app, "--interactions", spec.n_interactions,
             from_to(int64_t{1}, std::numeric_limits<int64_t>::max()),
             "interactions; at least five a user and an item");
  std::string fallback;
  for (const auto& m : spec.modalities)
    fallback += " " + m.name + ":" + shortest(m.dim) + ":" + shortest(m.noise);
  app.add_option_function<std::vector<std::string>>(
         "--modality",
         [&](const std::vector<std::string>& texts) {
           spec.modalities.clear();
           for (const auto& text : texts) add_modality(spec, parse_modality(text));
         },
         "modalities with their size and the noise beside a signal of 1 [" + fallback.substr(1) +
             "]")
      ->option_text("NAME:DIM:NOISE ...");
  add_number(app, "--seed", spec.seed, seeds, "seed of every random number");
}

void add_recommend(CLI::App& app, RecommendOptions& options) {
  add_folder(app, "RUN", options.run, "folder that a training run left", "")->required();
  add_number(app, "--user", options.user, from_to<int64_t>(0, most_rows), "the user's number",
             "required")
      ->required();
  add_number(app, "-k", options.k, from_to<size_t>(1, longest_list), "how many items");
}

void add_eval(CLI::App& app, EvalOptions& options) {
  add_folder(app, "RUN", options.run, "folder that a training run left", "")->required();
  add_folder(app, "--data", options.data, "the data folder", "where the run found it");
  add_device(app, options.device, "that of the run");
  options.device.device.clear();
}

/// Where to look, after what is wrong with the words of `bm3` or of its command.
std::string see_help(const CLI::App& app) {
  const auto given = app.get_subcommands();
  return " (bm3 " + (given.empty() ? "" : given[0]->get_name() + " ") +
         "--help lists what there is)";
}

void check_device(const DeviceChoice& choice) {
  if (choice.tf32 && choice.device == "cpu")
    throw Error("--tf32 is there with --device cpu: expected it for a GPU alone");
}

/// Of the words that no option or argument took, the one to blame.
std::string unexpected(const CLI::App& app) {
  const auto words = app.remaining(true);
  for (const auto& word : words)
    if (word.size() > 1 && word[0] == '-') return "there is no option " + in_quotes(word);
  return "the argument " + in_quotes(words.front()) + " was not expected";
}

}  // namespace

const char* name_of(RegForm form) { return form == RegForm::norm ? "norm" : "squared"; }
const char* name_of_features(bool tuned) { return tuned ? "tuned" : "frozen"; }

std::string losses_of(const Bm3Config& model) {
  std::vector<std::string> on;
  if (model.rec) on.push_back("rec");
  if (model.align) on.push_back("align");
  if (model.mask) on.push_back("mask");
  return join(on, ",");
}

Command parse_command_line(int argc, const char* const* argv) {
  CLI::App app{
      "Trains BM3, a multi-modal recommender, on the data set NAME, and leaves a folder of\n"
      "results. Without data/baby, `bm3 baby` trains on a built-in stand-in; data/README.md says\n"
      "how to get the real data."};
  TrainOptions train;
  SynthOptions synth;
  RecommendOptions recommend;
  EvalOptions eval;
  app.get_formatter()->column_width(44);
  add_data_options(app, train);
  add_model_options(app, train);
  add_training_options(app, train.train);
  auto* const synth_app = app.add_subcommand("synth", "Write a synthetic data set");
  auto* const recommend_app =
      app.add_subcommand("recommend", "Print a user's best items by a run's lists");
  auto* const eval_app =
      app.add_subcommand("eval", "Rank again by a run's embeddings, and compare");
  add_synth(*synth_app, synth);
  add_recommend(*recommend_app, recommend);
  add_eval(*eval_app, eval);
  // After the commands, which would copy it.
  app.footer("\nbm3 COMMAND --help lists a command's options.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Help{app.help()};
  } catch (const CLI::ExtrasError&) {
    throw Error(unexpected(app) + see_help(app));
  } catch (const CLI::ArgumentMismatch& e) {
    throw Error(split(e.what(), ':')[0] + " stands without a value, or twice: expected one value" +
                see_help(app));
  } catch (const CLI::ParseError& e) {
    throw Error(e.what() + see_help(app));
  }
  for (const auto* choice : {&train.device, &eval.device}) check_device(*choice);
  if (app.get_subcommands().empty()) {
    if (train.name.empty()) throw Error("no data set: expected its NAME, as in `bm3 baby`");
    return train;
  }
  for (const auto* option : app.get_options())
    if (option->count())
      throw Error(option->get_name() + " stands before a command: expected what follows `bm3 " +
                  app.get_subcommands()[0]->get_name() + "`");
  if (*synth_app) return synth;
  if (*recommend_app) return recommend;
  return eval;
}

}  // namespace bm3
