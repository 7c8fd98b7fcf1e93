// The program `bm3`: train, synth, recommend, eval.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <variant>

#include "libraries.h"
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
  Dataset data = there ? load_dataset(folder, name, options.train.seed)
                       : synthetic_dataset(SyntheticSpec{}, name);
  choose_modalities(data, options.modalities);
  if (data.modalities.empty() && !options.train.model.rec)
    throw Error("--losses is " + in_quotes(losses_of(options.train.model)) +
                ": expected rec, too, where there are no modalities");
  return data;
}

fs::path default_run_folder(const std::string& name) {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", std::localtime(&now));
  return fs::path("runs") / (name + "-" + text);
}

/// Ranks `users` by embeddings on the host, h_u [n_users, d] and h_i [n_items, d]. They come to lie
/// one after the other as in training: with other addresses a BLAS may sum in another order.
Ranking rank_by(Ops<float>& ops, const Graph<float>& graph, const TrainResult& result,
                const std::vector<int32_t>& users, size_t d) {
  std::vector<float> all = result.user;
  all.insert(all.end(), result.item.begin(), result.item.end());
  const Array<float> h(ops, all);
  return rank(ops, h.data(), h.data() + result.user.size(), users, graph, longest_list, d);
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

/// What training would hold on the device that was asked for, which need not be there.
int show_memory(const TrainOptions& options) {
  const std::string& wanted = options.device.device;
  const bool gpu = (wanted == "auto" ? choose_device(wanted) : wanted) == "cuda";
  const Dataset data = find_dataset(options);
  print_data(data);
  print_memory(training_memory(sizes_of(data), options.train,
                               gpu ? facts_of_gpu() : facts_of_cpu(options.device.threads)),
               gpu ? "GPU" : "CPU");
  if (gpu)
    std::puts("CUDA itself takes some hundred MiB more; features and their m and v that do not fit "
              "stay in\npinned memory of the host.");
  return 0;
}

int run(TrainOptions options) {
  if (options.memory) return show_memory(options);
  options.device.device = choose_device(options.device.device);
  const fs::path out = options.out.empty() ? default_run_folder(options.name) : options.out;
  check_run_folder(out);
  const Dataset data = find_dataset(options);

  if (options.device.device == "cuda")
    options.device.reserve = memory_beside_tables(sizes_of(data), options.train);
  const auto ops = choose_ops(options.device);
  options.device.tf32 &= options.device.device == "cuda";
  std::vector<Epoch> log;
  TrainProgress progress;
  progress.on_ready = [&](size_t n) {
    print_data(data);
    print_setup(options, data, n, ops->name());
  };
  progress.on_batch = [&](size_t done, size_t all) { print_progress(log.size() + 1, done, all); };
  progress.on_epoch = [&](const Epoch& epoch) {
    print_epoch(epoch);
    log.push_back(epoch);
  };
  const TrainResult result = train(*ops, data, options.train, progress);

  const Interactions& x = data.interactions;
  const auto graph = make_graph<float>(*ops, x.n_users, x.n_items, x.train);
  std::vector<int32_t> everyone(static_cast<size_t>(x.n_users));
  std::iota(everyone.begin(), everyone.end(), 0);
  write_run(out, options, data, log, result,
            rank_by(*ops, graph, result, everyone, options.train.model.d));
  std::fprintf(stderr, "\nbest epoch %zu of %zu; most memory %.0f MiB\n", result.best_epoch,
               log.size(), process_memory("VmHWM"));
  print_results({{"validation", result.valid},
                 {"test", result.test},
                 {"by popularity, test", popularity(*ops, graph, x)}},
                data);
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
  const auto best = read_best_items(options.run, options.user, options.k, past.n_items);
  std::puts("rank\titem\tscore");
  size_t rank = 0;
  const float* const h_u = past.result.user.data() + static_cast<size_t>(options.user) * past.d;
  for (int32_t item : best) {
    const float* const h_i = past.result.item.data() + static_cast<size_t>(item) * past.d;
    std::printf("%zu\t%d\t%.6f\n", ++rank, item,
                static_cast<double>(std::inner_product(h_u, h_u + past.d, h_i, 0.0F)));
  }
  return 0;
}

int run(const EvalOptions& options) {
  const Run past = read_run(options.run);
  const fs::path folder = options.data.empty() ? past.data : options.data;
  if (!folder.empty() && !fs::exists(folder / past.name))
    throw Error("no data set " + (folder / past.name).string() +
                ": expected --data to say where it is now");
  const Dataset data = folder.empty() ? synthetic_dataset(SyntheticSpec{}, past.name)
                                      : load_dataset(folder, past.name, past.seed);
  const Interactions& x = data.interactions;
  if (x.n_users != past.n_users || x.n_items != past.n_items || x.size() != past.n_interactions)
    throw Error((folder / past.name).string() + " is not the data that the run was trained on: " +
                "expected " + std::to_string(past.n_users) + " users, " +
                std::to_string(past.n_items) + " items and " +
                std::to_string(past.n_interactions) + " interactions");
  DeviceChoice device = options.device;
  if (device.device.empty()) {
    device.device = past.device == "cuda" ? "auto" : past.device;
    device.tf32 = device.tf32 || past.tf32;
  }
  const auto ops = choose_ops(device);
  const HeldOut valid = held_out(x.valid, x), test = held_out(x.test, x);
  const auto graph = make_graph<float>(*ops, x.n_users, x.n_items, x.train);
  const Ranking ranking = rank_by(*ops, graph, past.result, users_of(valid, test), past.d);
  const Metrics of_valid = evaluate(*ops, ranking, valid), of_test = evaluate(*ops, ranking, test);
  print_results({{"validation", of_valid}, {"test", of_test}}, data);
  if (!(of_valid == past.result.valid && of_test == past.result.test))
    throw Error("these are not the figures in " + (options.run / "config.json").string() +
                ": the data, the embeddings or the device (" + past.device + ") have changed");
  check_best_items(options.run, ranking);
  std::puts("the same figures and lists as when the run ended");
  std::fprintf(stderr, "device       %s\n", ops->name().c_str());
  return 0;
}

}  // namespace
}  // namespace bm3

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit of size then fails, with a message
  try {
    bm3::set_up_libraries(argv);
    const int status = std::visit([](const auto& command) { return bm3::run(command); },
                                  bm3::parse_command_line(argc, argv));
    bm3::flush_output();
    return status;
  } catch (const std::bad_alloc&) {
    std::fputs("bm3: out of memory; a smaller data set or --features frozen needs less\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bm3: %s\n", bm3::one_line(e.what()).c_str());
  }
  return 1;
}
