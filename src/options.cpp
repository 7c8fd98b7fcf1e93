#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "command_words.h"
#include "data/dataset.h"
#include "error.h"
#include "ops/metrics.h"
#include "text.h"
#include "train.h"

namespace bm3 {
using Words = std::vector<std::string>;
namespace {

constexpr uint64_t most_rows = INT32_MAX / 2;  // users, items are int32

// ------------------------------------------------------------------------------------ values

/// NAME=VALUE .., or with another separator: passes each pair to `take`; `form` says in the message
/// what was expected.
void parse_pairs(const std::string& option, const Words& texts, char separator,
                 const std::string& form,
                 const std::function<bool(const std::string&, const std::string&)>& take) {
  Words names;
  for (const auto& text : texts) {
    const size_t at = text.find(separator);
    if (at == text.npos || at + 1 == text.size() || !take(text.substr(0, at), text.substr(at + 1)))
      throw Error(option, " is ", in_quotes(text), ": expected ", form);
    names.push_back(text.substr(0, at));
  }
  check_distinct(option, names);
}

/// --modality NAME:DIM:NOISE ..
std::vector<SyntheticModality> parse_modalities(const Words& texts) {
  std::vector<SyntheticModality> out;
  parse_pairs("--modality", texts, ':', "NAME:DIM:NOISE, as in image:4096:3",
              [&](const std::string& name, const std::string& value) {
                const auto parts = split(value, ':');
                check_modality_name(name);
                auto& [_, dim, noise] = out.emplace_back(SyntheticModality{name, 0, 0});
                return parts.size() == 2 && parse(parts[0], dim) && dim > 0 && dim <= 1 << 20 &&
                       parse_finite(parts[1], noise) && noise >= 0;
              });
  return out;
}

/// --columns user=NAME ..
RatingColumns parse_columns(const Words& texts) {
  std::map<std::string, std::string> columns;
  parse_pairs("--columns", texts, '=', "user=COLUMN, item=COLUMN or time=COLUMN",
              [&](const std::string& name, const std::string& value) {
                columns[name] = value;
                return name == "user" || name == "item" || name == "time";
              });
  return {columns["user"], columns["item"], columns["time"]};
}

/// --features NAME=FILE .., FILE an .npy with a file of ids after a comma, or any other
std::vector<FeatureSource> parse_features(const Words& texts) {
  std::vector<FeatureSource> sources;
  parse_pairs("--features", texts, '=',
              "NAME=FILE, or NAME=FILE.npy,IDS with a file of the rows' ids",
              [&](const std::string& name, const std::string& value) {
                const size_t end = value.find(".npy,"), npy_ending = 4;
                const bool matrix = end != value.npos;
                check_modality_name(name);
                sources.push_back({name, value.substr(0, matrix ? end + npy_ending : end),
                                   matrix ? value.substr(end + npy_ending + 1) : ""});
                const FeatureSource& source = sources.back();
                return matrix ? !source.ids.empty() : source.file.extension() != ".npy";
              });
  return sources;
}

/// Returns the model that --model names: it decides what other options there are.
const ModelKind& named_model(const Words& words) {
  const std::string option = "--model";
  for (size_t k = 0; k < words.size(); ++k) {
    if (words[k] == option && k + 1 < words.size()) return model_kind(words[k + 1]);
    if (words[k].rfind(option + "=", 0) == 0) return model_kind(words[k].substr(option.size() + 1));
  }
  return all_models().front();
}

// ----------------------------------------------------------------------------------- options

using Take = std::function<void(const std::string& text)>;

/// Adds an option whose value, checked, goes to `take`. --help has its words, values and defaults.
CLI::Option* add(CLI::App& app, const Setting& setting, const Take& take) {
  const Range& range = setting.range;
  const std::string option = option_name(setting.name);
  std::string names = option, words = setting.words;
  for (const auto& alias : setting.aliases) names += "," + option_name(alias);
  if (range.choices.empty()) words += ", " + range.words;
  if (range.kind == Range::list) words += ", of " + join(range.choices, ", ");
  words += " [" + setting.fallback;
  for (const auto& [name, value] : setting.best) words += "; " + name + ": " + value;
  const auto checked = [option, range, take](const std::string& text) {
    check_value(option, range, text);
    take(text);
  };
  const std::string form = range.choices.empty()       ? "N"
                           : range.kind == Range::list ? "A,B,.."
                                                       : join(range.choices, "|");
  return app.add_option_function<std::string>(names, checked, words + "]")->option_text(form);
}

/// Adds an option of a whole number, which has its default now.
template <class T>
void add_whole(CLI::App& app, const std::string& name, uint64_t least, uint64_t most, T& value,
               const std::string& words) {
  add(app, {name, whole_from_to(least, most), shortest(value), words},
      [&value](const std::string& text) { parse(text, value); });
}

CLI::Option* add_folder(CLI::App& app, const std::string& name, std::filesystem::path& value,
                        const std::string& words) {
  const auto take = [name, &value](const std::string& text) {
    if (text.empty()) throw Error(name, " is empty: expected a folder");
    value = text;
  };
  return app.add_option_function<std::string>(name, take, words)
      ->option_text(name[0] == '-' ? "DIR" : " ");
}

CLI::Option* add_name(CLI::App& app, std::string& name, const std::string& words) {
  const auto take = [&name](const std::string& text) {
    check_name(text);
    name = text;
  };
  return app.add_option_function<std::string>("NAME", take, words)->option_text(" ");
}

void add_device(CLI::App& app, DeviceChoice& choice) {
  Words devices = {"auto", "cpu", "cuda"};
  std::string words = "where to compute; auto: on the GPU when one works";
  if (choice.device == "run") {
    devices.push_back("run");
    words += "; run: as the run did";
  }
  add(app, {"device", word_of(devices), choice.device, words},
      [&](const std::string& text) { choice.device = text; });
  add_whole(app, "threads", 0, 1024, choice.threads,
            "threads on the CPU; 0: one for each processor");
  app.add_flag("--tf32", choice.tf32, "products on the GPU by cuBLAS in TF32, less exact [off]");
}

void add_train(CLI::App& app, TrainOptions& options) {
  const ModelKind& model = *options.model;
  Words models;
  for (const ModelKind& kind : all_models()) models.push_back(kind.name);
  add_name(app, options.name, "name of the data set, a folder in the data folder");
  add(app, {"model", word_of(models), models[0], "which model to train"},
      [](const std::string&) {});  // named_model has read it
  add_folder(app, "--data", options.data, "the data folder [data]");
  add_folder(app, "--out", options.out,
             "folder for the results; new or empty [runs/NAME-MODEL-SEED-TIME-PROCESS]");
  add_folder(app, "--resume", options.out,
             "go on with a run that was stopped, by the name of its folder")
      ->option_text("RUN");
  app.add_option_function<std::string>(
         "--modalities",
         [&](const std::string& text) { options.modalities = split(text, ','); },
         "which of the data set's modalities to use [all]")
      ->option_text("all|none|A,B,..");
  add_device(app, options.device);
  add(app, {"spmm", word_of({"own", "cusparse"}), "own",
            "propagation on the GPU by a kernel of our own or by cuSPARSE"},
      [&](const std::string& text) { options.device.cusparse = text == "cusparse"; });
  const std::string of_model = "Model " + model.name + " (" + model.words + ")";
  for (const auto& [group, settings] :
       {std::pair{std::string("Training"), training_settings(model)}, {of_model, model.settings}})
    for (const Setting& setting : settings)
      add(app, setting, [&options, name = setting.name](const std::string& text) {
        options.settings.set(name, text);
      })->group(group);
}

void add_sweep(CLI::App& bm3, SweepOptions& options) {
  CLI::App& app = *bm3.add_subcommand(
      "sweep", "Train with every combination of several values, and compare");
  add_name(app, options.name, "name of the data set")->required();
  add_folder(app, "--data", options.data, "the data folder [data]");
  add_folder(app, "--out", options.out, "folder for the runs' folders [runs/NAME-sweep]");
  app.add_flag("--dry-run", options.dry_run, "print the runs' command lines, and run nothing");
  app.allow_extras();
  app.footer(
      "\nThe other options are those of training (bm3 --model MODEL --help), each with one value\n"
      "or several: --model bm3 bpr --layers 1 2 --seed 1 2 3. A model goes without an option that\n"
      "only other models of the sweep have. Where the folder has a finished run it is not run\n"
      "again: after an interruption the same line goes on.");
}

void add_synth(CLI::App& bm3, SynthOptions& options) {
  CLI::App& app = *bm3.add_subcommand("synth", "Write a synthetic data set");
  SyntheticSpec& spec = options.spec;
  add_name(app, options.name, "name of the new data set")->required();
  add_folder(app, "--data", options.data, "the data folder [data]");
  add_whole(app, "users", 10, most_rows, spec.n_users, "users");
  add_whole(app, "items", 40, most_rows, spec.n_items, "items");
  add_whole(app, "interactions", 1, 1000000000000, spec.n_interactions,
            "interactions; at least five a user and an item");
  std::string fallback;
  for (const auto& m : spec.modalities)
    fallback += concat(" ", m.name, ":", m.dim, ":", m.noise);
  app.add_option_function<Words>(
         "--modality", [&](const Words& texts) { spec.modalities = parse_modalities(texts); },
         "modalities with size and noise, where the signal has 1 [" + fallback.substr(1) +
             "]")->option_text("NAME:DIM:NOISE ...");
  add_whole(app, "seed", 0, UINT64_MAX, spec.seed, "seed of every random number");
}

void add_import(CLI::App& bm3, ImportOptions& options) {
  CLI::App& app = *bm3.add_subcommand("import", "Make a data set of ratings and features");
  ImportSpec& spec = options.spec;
  add_name(app, options.name, "name of the new data set")->required();
  add_folder(app, "--data", options.data, "the data folder [data]");
  app.add_option("--ratings", spec.ratings,
                 "who took what: CSV, TSV or JSON lines, or any of them as .gz [required]")
      ->option_text("FILE")->required();
  app.add_option_function<Words>(
         "--columns", [&](const Words& texts) { spec.columns = parse_columns(texts); },
         "names of the columns or keys, or numbers from 1 where the file has no line of names "
         "[usual names, or Amazon's order]")->option_text("user=C item=C time=C");
  app.add_option_function<Words>(
         "--features", [&](const Words& texts) { spec.features = parse_features(texts); },
         "features by original id: McAuley's .b, CSV or TSV of an id and numbers (these also as "
         ".gz), or FILE.npy,IDS with a file of the rows' ids [none]")->option_text("NAME=FILE ...");
  add_whole(app, "core", 1, most_rows, spec.core, "least interactions of a user and of an item");
  add(app, {"split", word_of({"random", "time"}), "random",
            "8:1:1 for each user, at random or the last in time held out"},
      [&](const std::string& text) { spec.by_time = text == "time"; });
  add_whole(app, "seed", 0, UINT64_MAX, spec.seed, "seed of a random split");
}

void add_recommend(CLI::App& bm3, RecommendOptions& options) {
  CLI::App& app = *bm3.add_subcommand("recommend", "Print a user's best items by a run's lists");
  add_folder(app, "RUN", options.run, "folder that a training run left")->required();
  app.add_option("--user", options.user,
                 "the user's number, or original id where the data has maps [required]")
      ->option_text("ID")->required();
  add_whole(app, "k", 1, longest_list, options.k, "how many items");
}

void add_eval(CLI::App& bm3, EvalOptions& options) {
  CLI::App& app =
      *bm3.add_subcommand("eval", "Rank again by a run's embeddings, and compare");
  add_folder(app, "RUN", options.run, "folder that a training run left")->required();
  add_folder(app, "--data", options.data,
             "the data folder, or a data set with other interactions of the run's users and items "
             "[where the run found it]");
  add_device(app, options.device);
  app.add_flag("--each-user", options.each_user,
               "print every test metric of each user instead of the table [off]");
}

// ------------------------------------------------------------------------------------ checks

void check_device(const DeviceChoice& choice) {
  if (choice.device == "cpu" && (choice.tf32 || choice.cusparse))
    throw Error(choice.tf32 ? "--tf32" : "--spmm cusparse",
                " needs a GPU: expected it without --device cpu");
}

/// Throws where an option is given with --resume that the run has itself.
void check_resume(const CLI::App& app) {
  const Words may = {"--resume", "--data", "--threads"};
  for (const auto* option : app.get_options())
    if (option->count() && !std::count(may.begin(), may.end(), option->get_name()))
      throw Error(option->get_name(), " is given with --resume: expected --data and --threads at "
                  "most, for the run has all other options");
}

}  // namespace

Command parse_command_line(const Words& words) {
  CLI::App app{
      "Trains a recommender on the data set NAME, and leaves a folder of results. Without\n"
      "data/baby, `bm3 baby` trains on a built-in stand-in; data/README.md says how to get the\n"
      "real data.",
      "bm3"};
  app.get_formatter()->column_width(44);
  const ModelKind& model = named_model(words);
  TrainOptions train{"", "", "", {"all"}, &model, all_settings(model), {}};
  SynthOptions synth;
  ImportOptions import;
  RecommendOptions recommend;
  EvalOptions eval;
  SweepOptions sweep;
  add_train(app, train);
  add_sweep(app, sweep);
  app.set_version_flag("--version", "bm3 " BM3_VERSION, "Print the version and exit");
  add_synth(app, synth);
  add_import(app, import);
  add_recommend(app, recommend);
  add_eval(app, eval);
  // After the commands, which would copy it.
  app.footer("\nbm3 --model NAME --help lists another model's settings, bm3 COMMAND --help a "
             "command's options.");

  const std::string help = parse_words(app, words);
  if (!help.empty()) return Help{help};
  for (const auto* choice : {&train.device, &eval.device}) check_device(*choice);
  sweep.words = app.get_subcommand("sweep")->remaining();
  if (sweep.out.empty()) sweep.out = "runs/" + sweep.name + "-sweep";
  if (app.got_subcommand("sweep")) return sweep;
  if (app.got_subcommand("synth")) return synth;
  if (app.got_subcommand("import")) return import;
  if (app.got_subcommand("recommend")) return recommend;
  if (app.got_subcommand("eval")) return eval;
  train.resume = app.count("--resume") > 0;
  if (train.resume) {
    check_resume(app);
    return train;
  }
  if (train.name.empty())
    throw Error("no data set: expected its NAME, as in `bm3 ", example_of(train.data), "`");
  check_distinct("--modalities", train.modalities);
  // A data set may be called "paper", as a recipe is.
  const auto recipes = recipe_setting().range.choices;
  if (!std::count(recipes.begin(), recipes.end(), train.name)) train.settings.suit(train.name);
  if (train.settings.knows("recipe")) train.settings.suit(train.settings.text("recipe"));
  return train;
}

}  // namespace bm3
