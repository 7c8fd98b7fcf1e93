// The program `bm3`: train, sweep, synth, import, recommend, eval.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <variant>

#include "command_words.h"
#include "data/files.h"
#include "data/lines.h"
#include "error.h"
#include "interrupt.h"
#include "report.h"
#include "run_folder.h"
#include "sweep.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

/// Keeps only the requested modalities, in the order of the data set.
void choose_modalities(Dataset& data, const std::vector<std::string>& wanted) {
  if (wanted == std::vector<std::string>{"all"}) return;
  std::vector<std::string> names = {"all", "none"};
  for (const Modality& m : data.modalities) names.push_back(m.name);
  for (const auto& name : wanted) check_value("--modalities", word_of(names), name);
  std::vector<Modality> chosen;
  for (Modality& m : data.modalities)
    if (std::count(wanted.begin(), wanted.end(), m.name)) chosen.push_back(std::move(m));
  data.modalities = std::move(chosen);
}

/// Says that there is no such data set, and what to try.
[[noreturn]] void refuse_dataset(const fs::path& folder, const std::string& name) {
  const std::string missing = concat("no data set ", folder / name, ": ");
  if (fs::exists(folder / (name + ".inter")))
    throw Error(missing, "did you mean `bm3 ", example_of(folder), "`?");
  std::vector<std::string> names = {"--help"};
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string other = entry.path().filename().string();
    if (fs::exists(entry.path() / (other + ".inter"))) names.push_back(one_line(other));
  }
  if (folder == "data") names.push_back("baby");  // which need not be there
  const std::string meant = most_like(name, names);
  if (!meant.empty()) throw Error(missing, "did you mean `bm3 ", meant, "`?");
  throw Error(missing, "expected a folder with ", name, ".inter (data/README.md says where to get "
              "data and how to bring your own, --data where they are)");
}

/// Returns the requested data set: the built-in stand-in for `baby` where nobody said where it is.
Dataset find_dataset(const TrainOptions& options) {
  const fs::path folder = options.data.empty() ? "data" : options.data;
  const std::string& name = options.name;
  std::error_code status;
  const bool there = fs::exists(fs::symlink_status(folder / name, status));
  if (!there && (name != "baby" || !options.data.empty())) refuse_dataset(folder, name);
  Dataset data = there ? load_dataset(folder, name, options.settings.whole("split-seed"))
                       : synthetic_dataset(SyntheticSpec{}, name);
  choose_modalities(data, options.modalities);
  return data;
}

/// Returns a name that no other run has, of those that start in the same second either.
fs::path default_run_folder(const TrainOptions& options) {
  const std::time_t now = std::time(nullptr);
  char time[32];
  std::strftime(time, sizeof time, "%Y%m%d-%H%M%S", std::localtime(&now));
  return fs::path("runs") / join({options.name, options.model->name,
                                  options.settings.text("seed"), time, std::to_string(getpid())},
                                 "-");
}

/// Throws if standard output could not be flushed; `also` is appended.
void flush_output(const std::string& also = "") {
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    throw Error("cannot write to the standard output: is the disk full?", also);
}

void run(const Help& help) { std::fputs(help.text.c_str(), stdout); }

/// Trains, noting the signals that ask for an end.
TrainResult train_until_stopped(Ops<float>& ops, const Dataset& data, const TrainOptions& options) {
  EpochTable table(options.settings.whole("epochs"));
  TrainHooks hooks;
  hooks.on_ready = [&](size_t n_parameters) {
    check_threads(options.device);
    std::fprintf(stderr, "run          %s\n", options.out.c_str());
    print_data(data, *options.model);
    print_setup(options, n_parameters, ops);
  };
  hooks.on_batch = print_progress;
  hooks.on_epoch = [&](const Epoch& epoch) { table.print(epoch); };
  hooks.file = checkpoint_path(options.out);
  hooks.about = about_run(options, data);
  hooks.resume = options.resume;
  hooks.stop = [] { return Interruption::signal() != 0; };
  hooks.not_saved = [](const std::string& why) {
    std::fprintf(stderr, "bm3: %s; the last checkpoint stays\n", one_line(why).c_str());
  };
  const Interruption noting;
  return train(ops, data, *options.model, options.settings, hooks);
}

/// Prints a run's figures, and writes its folder: of the best epoch, or of the best so far.
void report(const TrainOptions& options, const Dataset& data, const TrainResult& result,
            const Ops<float>& ops) {
  print_end(result, options.settings, ops);
  print_results({{"validation", result.valid},
                 {"test", result.test},
                 {"by popularity, test", result.by_popularity}},
                data, *options.model);
  print_advice(result, data, options.settings);
  std::fflush(stdout);  // a disk that is full must not take the figures
  write_run(options.out, options, data, result);
  std::printf("results in %s\n", options.out.c_str());
}

void run(TrainOptions options) {
  std::error_code ignored;
  if (options.resume && is_complete(options.out)) {
    fs::remove(checkpoint_path(options.out), ignored);  // which a kill has left
    std::printf("results in %s, complete\n", options.out.c_str());
    return;
  }
  if (options.resume) options = resumed_options(options);
  options.device = choose_device(options.device);
  const Dataset data = find_dataset(options);
  if (options.out.empty()) options.out = default_run_folder(options);
  check_run_folder(options.out, options.resume);
  const auto ops = choose_ops(options.device);
  const TrainResult result = train_until_stopped(*ops, data, options);
  const int signal = Interruption::signal();
  if (result.best_epoch > 0) report(options, data, result, *ops);
  if (result.ended == interrupted)
    std::fprintf(stderr,
                 "interrupted in epoch %zu; to go on from the last checkpoint: bm3 --resume %s\n",
                 result.epochs.size() + 1, options.out.c_str());
  else
    fs::remove(checkpoint_path(options.out), ignored);
  flush_output(" The results are in " + options.out.string());
  if (result.ended != interrupted && result.ended != complete)
    throw Error(result.ended, "; the results are of the best epoch before it");
  if (signal != 0) std::raise(signal);
}

void run(const SweepOptions& options) { run_sweep(options, find_dataset); }

void run(const SynthOptions& options) {
  write_dataset(options.spec, options.name, options.data);
  std::printf("wrote %s\n", (options.data / options.name).string().c_str());
}

void run(const ImportOptions& options) {
  import_dataset(options.spec, options.name, options.data,
                 [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  std::printf("wrote %s\n", (options.data / options.name).string().c_str());
}

/// Returns the number of a user: by original id, or by the number where the run has no such ids.
size_t find_user(const Run& past, const std::string& user) {
  const auto& ids = past.user_ids;
  size_t number = std::find(ids.begin(), ids.end(), user) - ids.begin();
  if (ids.empty() ? parse(user, number) && number < past.n_users : number < ids.size())
    return number;
  throw Error("--user is ", in_quotes(user), ": expected ",
              ids.empty() ? concat("a number below ", past.n_users)
                          : "the original id of one of the run's users");
}

void run(const RecommendOptions& options) {
  const Run past = read_run(options.run);
  const size_t user = find_user(past, options.user), width = past.result.width;
  const int32_t* const item = past.result.lists.data() + user * longest_list;
  const float* const h_u = past.result.user.data() + user * width;
  std::puts("rank\titem\tscore");
  for (size_t k = 0; k < options.k && item[k] >= 0; ++k) {
    const float* const h_i = past.result.item.data() + item[k] * width;
    const std::string id =
        past.item_ids.empty() ? shortest(item[k]) : tsv_field(past.item_ids[item[k]]);
    std::printf("%zu\t%s\t%.6f\n", k + 1, id.c_str(),
                static_cast<double>(std::inner_product(h_u, h_u + width, h_i, 0.0F)));
  }
}

/// Throws where a number below both sizes has two ids, of those that are known.
void check_ids(const std::vector<std::string>& ids, const std::vector<std::string>& of_run,
               const std::string& what) {
  for (size_t k = 0; k < std::min(ids.size(), of_run.size()); ++k)
    if (!of_run[k].empty() && ids[k] != of_run[k])
      throw Error(what, " ", k, " is ", in_quotes(ids[k]), ", but in the run ",
                  in_quotes(of_run[k]), ": expected the same users and items by the same numbers");
}

/// Reads the data that a run was trained on, where they are now; or the data set that a folder
/// holds under their name or is itself: of the same users and items.
Dataset data_of(const Run& past, const fs::path& given) {
  const auto& [name, folder] = std::tie(past.options.name, past.options.data);
  const uint64_t seed = past.options.settings.whole("split-seed");
  TrainOptions options = past.options;
  options.modalities = {"all"};  // they may be others by now: none is read
  Dataset data;
  if (given.empty())
    data = folder.empty() ? synthetic_dataset(SyntheticSpec{}, name) : find_dataset(options);
  else if (fs::exists(given / name))
    data = load_dataset(given, name, seed);
  else if (const fs::path own = absolute_path(given);
           fs::exists((own / own.filename()) += ".inter"))
    data = load_dataset(own.parent_path(), own.filename().string(), seed);
  else
    throw Error("no data set ", given / name, ": expected --data to hold it, or to be the folder "
                "of another");
  Interactions& x = data.interactions;
  if (given.empty() && checksum(x) != past.checksum)
    throw Error(folder / name, " is not the data that the run was trained on: expected it as it "
                "was, or --data");
  if (x.n_users > past.n_users || x.n_items > past.n_items)
    throw Error(given, " has ", x.n_users, " users and ", x.n_items,
                " items: expected those of the run, ", past.n_users, " and ", past.n_items);
  check_ids(data.user_ids, past.user_ids, "user");
  check_ids(data.item_ids, past.item_ids, "item");
  x.n_users = past.n_users;
  x.n_items = past.n_items;
  return data;
}

/// Ranks again by a run's embeddings. On the device they lie one after the other as in training: at
/// other addresses cuBLAS may sum in another order.
Array<int32_t> rank_again(Ops<float>& ops, const Interactions& x, const TrainResult& past) {
  std::vector<float> all = past.user;
  all.insert(all.end(), past.item.begin(), past.item.end());
  const Array<float> h(ops, all);
  const Matrix<const float> nodes = h.matrix(x.n_users + x.n_items, past.width);
  return rank<float>(ops, nodes.slice(0, x.n_users), nodes.slice(x.n_users, x.n_items),
                     make_graph<float>(ops, x.n_users, x.n_items, x.train));
}

/// Counts the users whose lists differ.
size_t count_different(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  size_t different = 0;
  for (size_t at = 0; at < a.size(); at += longest_list)
    different += !std::equal(&a[at], &a[at] + longest_list, &b[at]);
  return different;
}

/// Returns the largest difference between figures and the run's. Throws beyond what rounding does:
/// it swaps neighbours in a list whose scores are nearly equal, and that moves a user's figure only
/// where one of the two was held out. Such users are few and go both ways, in TF32 too: a hundredth
/// of the mean is allowed, and one user's whole figure where users are few.
double difference(const Metrics& now, const Metrics& past, const std::string& title) {
  double largest = 0;
  bool close = now.n_users == past.n_users;
  for (size_t m = 0; m < n_metrics; ++m) {
    const double ran = past.values[m], apart = std::abs(now.values[m] - ran);
    close = close && apart <= 1e-2 * ran + 1 / static_cast<double>(past.n_users);
    largest = std::max(largest, apart);
  }
  if (!close)
    throw Error("the ", title, " figures differ by up to ", largest,
                " from those in config.json: expected the data and embeddings of the run");
  return largest;
}

void run(const EvalOptions& options) {
  const Run past = read_run(options.run);
  const Dataset data = data_of(past, options.data);
  DeviceChoice device = options.device;
  if (device.device == "run") {
    device.device = past.options.device.device == "cuda" ? "auto" : "cpu";
    device.tf32 |= past.options.device.tf32;
  }
  device = choose_device(device);
  const auto ops = choose_ops(device);
  check_threads(device);
  const Interactions& x = data.interactions;
  const Array<int32_t> lists = rank_again(*ops, x, past.result);
  const auto items = lists.matrix(x.n_users, longest_list);
  const Metrics valid = Evaluator<float>(*ops, x.valid, x).metrics(items);
  Evaluator<float> tested(*ops, x.test, x);
  const Metrics test = tested.metrics(items);
  if (options.each_user)
    print_users(tested.of_each_user(items));
  else
    print_results({{"validation", valid}, {"test", test}}, data, *past.options.model);
  std::fprintf(stderr, "device       %s\n", ops->name().c_str());
  std::FILE* const to = options.each_user ? stderr : stdout;
  if (past.checksum != checksum(x)) {
    std::fputs("other interactions than the run's: there are no figures to compare with\n", to);
    return;
  }
  const double largest = std::max(difference(valid, past.result.valid, "validation"),
                                  difference(test, past.result.test, "test"));
  const std::string figures = valid.n_users + test.n_users == 0 ? "none"
                              : largest == 0                    ? "equal to the run's"
                              : concat("equal to the run's but for rounding, by which processors "
                                       "and libraries differ (by ", largest, " at most)");
  std::fprintf(to, "figures: %s; lists: %zu of %zu users' differ\n", figures.c_str(),
               count_different(lists.host(), past.result.lists), items.rows);
}

}  // namespace
}  // namespace bm3

/// The program, which launch.cpp loads.
extern "C" int bm3_main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit of size then fails, with a message
  try {
    std::visit([](const auto& command) { bm3::run(command); },
               bm3::parse_command_line({argv + 1, argv + argc}));
    bm3::flush_output();
    return 0;
  } catch (const std::bad_alloc&) {
    std::fputs("bm3: out of memory: a smaller data set, --batch or --dim needs less\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bm3: %s\n", bm3::one_line(e.what()).c_str());
  }
  return 1;
}
