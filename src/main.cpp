// The program `bm3`: train, synth, recommend, eval.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <variant>

#include "blas_kernels.h"
#include "error.h"
#include "report.h"
#include "run_folder.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

/// Leaves the modalities that were asked for, in the order of the data set.
void choose_modalities(Dataset& data, const std::vector<std::string>& wanted) {
  if (wanted == std::vector<std::string>{"all"}) return;
  std::vector<Modality> chosen;
  std::vector<std::string> names;
  for (const auto& m : data.modalities) {
    names.push_back(m.name);
    if (std::count(wanted.begin(), wanted.end(), m.name)) chosen.push_back(m);
  }
  if (wanted != std::vector<std::string>{"none"})
    for (const auto& name : wanted)
      if (!std::count(names.begin(), names.end(), name))
        throw Error("--modalities names " + in_quotes(name) + ": expected all, none or some of " +
                    (names.empty() ? "none (the data set has no features)" : join(names, ",")));
  data.modalities = std::move(chosen);
}

/// The data set that was asked for, with the modalities that were; the built-in stand-in for `baby`
/// where nobody said where it is.
Dataset find_dataset(const TrainOptions& options) {
  const fs::path folder = options.data.empty() ? "data" : options.data;
  const std::string& name = options.name;
  if (!options.data.empty() && !fs::exists(folder))
    throw Error("no folder " + folder.string() + ": expected --data to hold " + name);
  std::error_code status;
  const bool there = fs::symlink_status(folder / name, status).type() != fs::file_type::not_found;
  if (!there && (name != "baby" || !options.data.empty()))
    throw Error("no data set " + (folder / name).string() + ": expected a folder with " + name +
                ".inter (see data/README.md; --data says where)");
  Dataset data = there ? load_dataset(folder, name, options.settings.whole("seed"))
                       : synthetic_dataset(SyntheticSpec{}, name);
  choose_modalities(data, options.modalities);
  return data;
}

fs::path default_run_folder(const std::string& name) {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", std::localtime(&now));
  return fs::path("runs") / (name + "-" + text);
}

Graph<float> graph_of(Ops<float>& ops, const Interactions& x) {
  return make_graph<float>(ops, static_cast<size_t>(x.n_users), static_cast<size_t>(x.n_items),
                           x.train);
}

/// Ranks `users` by embeddings on the host. They come to lie one after the other as in training:
/// with other addresses a BLAS may sum in another order.
Ranking rank_by(Ops<float>& ops, const Graph<float>& graph, const TrainResult& result,
                const std::vector<int32_t>& users) {
  std::vector<float> all = result.user;
  all.insert(all.end(), result.item.begin(), result.item.end());
  const Array<float> h(ops, all);
  const Matrix<const float> nodes = h.matrix(graph.n_nodes(), result.width);
  return rank<float>(ops, nodes.slice(0, graph.n_users), nodes.slice(graph.n_users, graph.n_items),
                     users, graph, longest_list);
}

Metrics popularity(Ops<float>& ops, const Graph<float>& graph, const Interactions& data) {
  const HeldOut test = held_out(data.test, data);
  return evaluate(ops, rank_by_popularity(ops, data, test.users, graph, longest_list), test);
}

/// Error, which `also` follows, unless all that was printed has gone out.
void flush_output(const std::string& also = "") {
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    throw Error("cannot write to the standard output: is the disk full?" + also);
}

int run(const Help& help) {
  std::fputs(help.text.c_str(), stdout);
  return 0;
}

int run(TrainOptions options) {
  options.device.device = choose_device(options.device.device);
  const fs::path out = options.out.empty() ? default_run_folder(options.name) : options.out;
  check_run_folder(out);
  const Dataset data = find_dataset(options);
  const auto ops = choose_ops(options.device);
  options.device.tf32 &= options.device.device == "cuda";
  options.device.cusparse &= options.device.device == "cuda";

  RunLog log;
  TrainProgress progress;
  progress.on_ready = [&](size_t n) {
    check_threads(options.device);
    log.allocated = ops->allocated();
    print_data(data, *options.model);
    print_setup(options, n, *ops);
  };
  progress.on_batch = [&](size_t done, size_t all) {
    print_progress(log.epochs.size() + 1, done, all);
  };
  progress.on_epoch = [&](const Epoch& epoch) {
    print_epoch(epoch);
    log.epochs.push_back(epoch);
  };
  const TrainResult result = train(*ops, data, *options.model, options.settings, progress);

  const Interactions& x = data.interactions;
  const Graph<float> graph = graph_of(*ops, x);
  print_end(result, log.epochs.size(), *ops);
  print_results({{"validation", result.valid},
                 {"test", result.test},
                 {"by popularity, test", popularity(*ops, graph, x)}},
                data, *options.model);
  std::fflush(stdout);  // a disk that is full must not take the figures
  std::vector<int32_t> everyone(graph.n_users);
  std::iota(everyone.begin(), everyone.end(), 0);
  write_run(out, options, data, log, result, rank_by(*ops, graph, result, everyone));
  std::printf("results in %s\n", out.string().c_str());
  flush_output(" The results are in " + out.string());
  return 0;
}

int run(const SynthOptions& options) {
  write_dataset(options.spec, options.name, options.data);
  std::printf("wrote %s\n", (options.data / options.name).string().c_str());
  return 0;
}

int run(const RecommendOptions& options) {
  const Run past = read_run(options.run);
  if (options.user >= past.n_users)
    throw Error("--user is " + std::to_string(options.user) + ": expected a number below " +
                std::to_string(past.n_users));
  const Ranking best = read_best_items(options.run, past);
  const size_t user = static_cast<size_t>(options.user), width = past.result.width;
  const int32_t* const item = best.item.data() + user * best.k;
  const float* const h_u = past.result.user.data() + user * width;
  std::puts("rank\titem\tscore");
  for (size_t k = 0; k < std::min(options.k, best.k) && item[k] >= 0; ++k) {
    const float* const h_i = past.result.item.data() + static_cast<size_t>(item[k]) * width;
    std::printf("%zu\t%d\t%.6f\n", k + 1, item[k],
                static_cast<double>(std::inner_product(h_u, h_u + width, h_i, 0.0F)));
  }
  return 0;
}

/// Reads the data that a run was trained on, where they are now.
Dataset data_of(const Run& past, const fs::path& folder) {
  if (!folder.empty() && !fs::exists(folder / past.name))
    throw Error("no data set " + (folder / past.name).string() +
                ": expected --data to say where it is now");
  Dataset data = folder.empty() ? synthetic_dataset(SyntheticSpec{}, past.name)
                                : load_dataset(folder, past.name, past.seed);
  const Interactions& x = data.interactions;
  if (x.n_users != past.n_users || x.n_items != past.n_items || x.size() != past.n_interactions)
    throw Error((folder / past.name).string() + " is not the data that the run was trained on: " +
                "expected " + std::to_string(past.n_users) + " users, " +
                std::to_string(past.n_items) + " items and " +
                std::to_string(past.n_interactions) + " interactions");
  return data;
}

/// Returns how many of the users' lists are not those of `all`, which has every user's.
size_t count_other_lists(const Ranking& lists, const Ranking& all) {
  size_t other = 0;
  for (size_t r = 0; r < lists.users.size(); ++r) {
    const auto first = lists.item.begin() + static_cast<ptrdiff_t>(r * lists.k);
    const auto past = all.item.begin() + static_cast<ptrdiff_t>(all.k) * lists.users[r];
    other += !std::equal(first, first + static_cast<ptrdiff_t>(lists.k), past);
  }
  return other;
}

/// Returns the largest difference between figures and the run's. Throws beyond what rounding does:
/// it swaps neighbours in a list whose scores are nearly equal, and that moves a user's figure only
/// where one of the two was held out. Such users are few and go both ways, in TF32 too: a hundredth
/// of the mean is allowed, and one user's whole figure where users are few.
double difference(const Metrics& now, const Metrics& past, const std::string& title) {
  double largest = 0;
  bool close = now.n_users == past.n_users;
  for (const auto values : {&Metrics::recall, &Metrics::ndcg, &Metrics::precision, &Metrics::map})
    for (size_t c = 0; c < cutoffs.size(); ++c) {
      const double ran = (past.*values)[c], apart = std::abs((now.*values)[c] - ran);
      close = close && apart <= 1e-2 * ran + 1 / static_cast<double>(past.n_users);
      largest = std::max(largest, apart);
    }
  if (!close)
    throw Error("the " + title + " figures differ by up to " + shortest(largest) +
                " from those in config.json: expected the data and embeddings of the run");
  return largest;
}

int run(const EvalOptions& options) {
  const Run past = read_run(options.run);
  const Ranking best = read_best_items(options.run, past);
  const Dataset data = data_of(past, options.data.empty() ? past.data : options.data);
  DeviceChoice device = options.device;
  if (device.device == "run") {
    device.device = past.device == "cuda" ? "auto" : past.device;
    device.tf32 = device.tf32 || past.tf32;
  }
  const auto ops = choose_ops(device);
  check_threads(device);
  const Interactions& x = data.interactions;
  const HeldOut valid = held_out(x.valid, x), test = held_out(x.test, x);
  const Graph<float> graph = graph_of(*ops, x);
  const Ranking lists = rank_by(*ops, graph, past.result, users_of(valid, test));
  const Metrics of_valid = evaluate(*ops, lists, valid), of_test = evaluate(*ops, lists, test);
  print_results({{"validation", of_valid}, {"test", of_test}}, data, *past.model);
  const double largest = std::max(difference(of_valid, past.result.valid, "validation"),
                                  difference(of_test, past.result.test, "test"));
  std::printf("figures: %s; lists: %zu of %zu users' differ\n",
              largest == 0 ? "equal to the run's"
                           : ("up to " + shortest(largest) + " from the run's").c_str(),
              count_other_lists(lists, best), lists.users.size());
  std::fprintf(stderr, "device       %s\n", ops->name().c_str());
  return 0;
}

}  // namespace
}  // namespace bm3

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit of size then fails, with a message
  try {
    bm3::warn_of_old_blas_kernels();
    const int status = std::visit([](const auto& command) { return bm3::run(command); },
                                  bm3::parse_command_line(argc, argv));
    bm3::flush_output();
    return status;
  } catch (const std::bad_alloc&) {
    std::fputs("bm3: out of memory: expected a smaller data set or model\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bm3: %s\n", bm3::one_line(e.what()).c_str());
  }
  return 1;
}
