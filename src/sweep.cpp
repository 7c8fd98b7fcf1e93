#include "sweep.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>

#include "error.h"
#include "report.h"
#include "run_folder.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
using Words = std::vector<std::string>;
namespace {

// -------------------------------------------------------------------------------------- plan

/// An option with its values; none for a flag.
struct Axis {
  std::string option;  // by its first name: --layers
  Words values;
};

/// Returns an option's first name where `option` is another name of a setting.
std::string first_name(const std::string& option) {
  for (const ModelKind& kind : all_models())
    for (const auto& settings : {kind.settings, training_settings(kind)})
      for (const Setting& setting : settings)
        for (const auto& alias : setting.aliases)
          if (option == option_name(alias)) return option_name(setting.name);
  return option;
}

/// Takes words apart: each option is followed by its values. --seed becomes the last.
std::vector<Axis> read_axes(const Words& words) {
  std::vector<Axis> axes;
  for (const auto& word : words) {
    const bool option = word.size() > 1 && word[0] == '-' && !std::strchr(".0123456789", word[1]);
    if (option) {
      const size_t end = word.find('=');
      axes.push_back({first_name(word.substr(0, end)), {}});
      if (end != std::string::npos) axes.back().values.push_back(word.substr(end + 1));
    } else if (axes.empty()) {
      throw Error("the argument ", in_quotes(word), " was not expected: `bm3 sweep` takes one data "
                  "set's NAME, and options with their values");
    } else {
      axes.back().values.push_back(word);
    }
  }
  for (const Axis& axis : axes) {
    Words values = axis.values;
    for (auto& value : values) {  // 1, 01 and 1e0 are one
      uint64_t whole = 0;
      double real = 0;
      if (parse(value, whole))
        value = shortest(whole);
      else if (parse(value, real))
        value = shortest(real);
    }
    check_distinct(axis.option, values);
    if (std::count_if(axes.begin(), axes.end(),
                      [&](const Axis& other) { return other.option == axis.option; }) > 1)
      throw Error(axis.option, " stands twice: expected all its values after one");
  }
  std::stable_partition(axes.begin(), axes.end(),
                        [](const Axis& axis) { return axis.option != "--seed"; });
  return axes;
}

bool has(const ModelKind& kind, const std::string& option) {
  if (option == "--modalities") return kind.reads_features;
  return std::any_of(kind.settings.begin(), kind.settings.end(),
                     [&](const Setting& x) { return option_name(x.name) == option; });
}

/// Returns the axes of a model: without those that only other models of the sweep have.
std::vector<Axis> axes_of(const ModelKind& kind, const std::vector<Axis>& axes,
                          const Words& models) {
  std::vector<Axis> out;
  for (const Axis& axis : axes) {
    const auto has_it = [&](const auto& model) { return has(model_kind(model), axis.option); };
    if (axis.option != "--model" &&
        (has(kind, axis.option) || std::none_of(models.begin(), models.end(), has_it)))
      out.push_back(axis);
  }
  return out;
}

/// Returns the k-th run of a model, as its axes count, the last one fastest.
SweepRun make_run(const SweepOptions& options, const std::string& model,
                  const std::vector<Axis>& axes, const Words& columns, size_t k) {
  std::map<std::string, std::string> value_of;
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    const size_t n = std::max<size_t>(1, axis->values.size());
    value_of[axis->option] = axis->values.empty() ? "" : axis->values[k % n];
    k /= n;
  }
  Words words = {options.name, "--model", model};
  for (const Axis& axis : axes) {
    words.push_back(axis.option);
    if (!axis.values.empty()) words.push_back(value_of[axis.option]);
  }
  if (!options.data.empty()) words.insert(words.end(), {"--data", options.data.string()});
  const Command command = parse_command_line(words);
  if (!std::holds_alternative<TrainOptions>(command))
    throw Error("--version stands after sweep: expected options of training");
  SweepRun run{std::get<TrainOptions>(command), words, {}, {}};
  std::string folder = model;
  for (const auto& column : columns) {
    run.values.push_back(value_of[option_name(column)]);
    if (!run.values.back().empty()) folder += "_" + column + "=" + run.values.back();
  }
  run.options.out = options.out / (folder + "_seed=" + run.options.settings.text("seed"));
  run.words.insert(run.words.end(), {"--out", run.options.out.string()});
  return run;
}

// --------------------------------------------------------------------------------------- run

/// Makes the folder, and holds it until this program and the run that it has begun have ended.
void lock_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (file < 0)
    throw Error("cannot make the folder ", folder, " (", std::strerror(errno),
                "): expected --out to be one where files can be written");
  if (flock(file, LOCK_EX | LOCK_NB) != 0)
    throw Error("another sweep, or a run that it began, works in ", folder,
                ": expected another --out, or its end");
}

/// Runs this program with other words, and waits. What it prints goes to standard error. Returns
/// the signal that ended it, or 0. A terminal's signals are for that program alone.
int run_program(const Words& words) {
  std::vector<char*> argv = {const_cast<char*>("bm3")};
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid(), process = fork();
  if (process < 0) throw Error("cannot start a run (", std::strerror(errno), ")");
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && dup2(STDERR_FILENO, STDOUT_FILENO) == STDOUT_FILENO)
      execv("/proc/self/exe", argv.data());
    _exit(127);
  }
  const auto interrupt = std::signal(SIGINT, SIG_IGN), hangup = std::signal(SIGHUP, SIG_IGN);
  int status = 0;
  if (waitpid(process, &status, 0) != process)
    throw Error("cannot wait for a run (", std::strerror(errno), ")");
  std::signal(SIGINT, interrupt);
  std::signal(SIGHUP, hangup);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/// Returns the words that go on with a run which left a checkpoint, else those of the run.
Words words_to_run(const SweepRun& run) {
  if (!fs::exists(checkpoint_path(run.options.out))) return run.words;
  Words words = {"--resume", run.options.out.string()};
  for (const std::string option : {"--data", "--threads"}) {
    const auto at = std::find(run.words.begin(), run.words.end(), option);
    if (at != run.words.end()) words.insert(words.end(), at, at + 2);
  }
  return words;
}

/// Returns a command line that a shell takes apart into these words.
std::string command_line(const Words& words) {
  std::string out = "bm3";
  for (std::string word : words) {
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_-.,/=:+", c);
    });
    for (size_t at = 0; !plain && (at = word.find('\'', at)) != std::string::npos; at += 4)
      word.replace(at, 1, "'\\''");
    out += plain ? " " + word : " '" + word + "'";
  }
  return out;
}

void print_finished(const std::vector<SweepRun>& runs) {
  const auto n = std::count_if(runs.begin(), runs.end(),
                               [](const SweepRun& run) { return run.figures.has_value(); });
  std::fprintf(stderr, "%td of %zu runs are finished\n", n, runs.size());
}

/// Runs what has no figures yet, and reads them with `read`. Returns the folders of the runs that
/// failed. Ends this program by a signal that was meant to end a run.
Words run_missing(std::vector<SweepRun>& runs, const std::function<void(SweepRun&)>& read) {
  Words failed;
  auto left = std::count_if(runs.begin(), runs.end(), [](auto& run) { return !run.figures; });
  const auto begun = left;
  const std::time_t start = std::time(nullptr);
  for (SweepRun& run : runs) {
    if (run.figures) continue;
    const auto seconds = static_cast<double>(std::time(nullptr) - start),
               done = static_cast<double>(begun - left);
    const std::string time = duration(seconds / done * static_cast<double>(left));
    --left;
    const Words words = words_to_run(run);
    std::fprintf(stderr, "\nrun %td of %zu%s\n%s\n", &run - runs.data() + 1, runs.size(),
                 done == 0 ? "" : (", about " + time + " left").c_str(),
                 command_line(words).c_str());
    const int signal = run_program(words);
    read(run);
    if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) {
      std::fputs("\nbm3: stopped, the same line goes on: ", stderr);
      print_finished(runs);
      std::raise(signal);
    }
    if (signal) std::fprintf(stderr, "bm3: the run was ended by signal %d\n", signal);
    if (!run.figures) failed.push_back(run.options.out.filename().string());
  }
  return failed;
}

}  // namespace

Sweep plan(const SweepOptions& options) {
  const std::vector<Axis> axes = read_axes(options.words);
  Words models = {all_models().front().name};
  Sweep sweep;
  for (const Axis& axis : axes) {
    if (axis.option == "--model")
      models = axis.values;
    else if (axis.values.size() > 1 && axis.option != "--seed")
      sweep.columns.push_back(axis.option.substr(axis.option.find_first_not_of('-')));
  }
  if (models.empty())
    throw Error("--model stands without a value: expected the models' names");
  for (const auto& model : models) {
    const std::vector<Axis> own = axes_of(model_kind(model), axes, models);
    size_t n = 1;
    for (const Axis& axis : own) n *= std::max<size_t>(1, axis.values.size());
    for (size_t k = 0; k < n; ++k)
      sweep.runs.push_back(make_run(options, model, own, sweep.columns, k));
  }
  return sweep;
}

void run_sweep(const SweepOptions& options,
               const std::function<Dataset(const TrainOptions&)>& find) {
  Sweep sweep = plan(options);
  std::map<Words, Dataset> data;  // by what decides them
  const auto key = [](const TrainOptions& run) {
    Words out = run.modalities;
    out.push_back(run.settings.text("split-seed"));
    return out;
  };
  for (const SweepRun& run : sweep.runs)
    if (!data.count(key(run.options))) data.emplace(key(run.options), find(run.options));
  const auto read = [&](SweepRun& run) {
    run.figures = read_figures(run, data.at(key(run.options)));
  };
  if (!options.dry_run) lock_folder(options.out);
  for (SweepRun& run : sweep.runs) {
    read(run);
    if (options.dry_run)
      std::printf("%s%s\n", run.figures ? "# finished: " : "",
                  command_line(words_to_run(run)).c_str());
  }
  print_finished(sweep.runs);
  if (options.dry_run) return;
  const Words failed = run_missing(sweep.runs, read);
  const std::vector<SummaryRow> rows = summarise(sweep);
  if (!rows.empty()) {
    print_summary(sweep, rows, data.begin()->second);
    write_summary(options.out, sweep, rows, data.begin()->second);
  }
  if (!failed.empty())
    throw Error(failed.size(), " of ", sweep.runs.size(), " runs failed (", join(failed, ", "),
                "): the same line tries them again");
}

}  // namespace bm3
