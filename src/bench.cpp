// `make bench`: time, work and floor of each stage of training and evaluation, on made data of
// Baby's or Electronics' size. Training runs as it is, over operations that keep count.
#include <CLI/CLI.hpp>
#include <map>

#include "bench_rates.h"
#include "bench_reference.h"
#include "bench_tools.h"
#include "libraries.h"
#include "data/dataset.h"
#include "measured_ops.h"
#include "memory.h"
#include "train.h"
#ifdef BM3_CUDA
#include "ops/cuda/cuda.h"
#endif

namespace bm3 {
namespace {

struct Case {
  const char* title;
  SyntheticSpec spec;
  bool tuned;
  DeviceChoice device;
  size_t repeats;  // epochs of which a median is taken
};

/// What a table leaves for the lines below it.
struct Outcome {
  size_t interactions, features, parameters;  // in training; numbers in memory; others' number
  double epoch, evaluation;                   // seconds
  double unrecorded;                          // of an epoch whose steps are launched one by one
};

/// Stages of several epochs: medians of the seconds, and the work of the last.
Stages medians(const std::vector<Stages>& epochs) {
  std::map<std::string, std::vector<double>> seconds;
  for (const Stages& epoch : epochs)
    for (const auto& [name, stage] : epoch) seconds[name].push_back(stage.seconds);
  Stages out = epochs.back();
  for (auto& [name, stage] : out) stage.seconds = median(seconds[name]);
  return out;
}

void print_row(const char* name, const char* calls, double seconds, const char* work,
               double floor) {
  std::printf("  %-26s %6s %9.2f %17s %9.2f %6.2f\n", name, calls, 1e3 * seconds, work,
              1e3 * floor, seconds / floor);
}

/// The stages, what they add up to, and the whole as it really runs by the host's clock, from its
/// first call until the results are there. Returns the floor of the whole, in seconds.
double print_table(const char* title, const Stages& stages, double whole, const Rates& rates) {
  std::printf("  %-26s %6s %9s %8s %8s %9s %6s\n", title, "calls", "ms", "GFLOP", "GB", "floor ms",
              "ratio");
  double sum = 0, floors = 0;
  for (const auto& [name, stage] : stages) {
    const double floor = std::max(stage.flops / rates.flops, stage.bytes / rates.bytes);
    sum += stage.seconds;
    floors += floor;
    char work[64];
    std::snprintf(work, sizeof work, "%8.2f %8.3f", stage.flops / 1e9, stage.bytes / 1e9);
    print_row(name.c_str(), std::to_string(stage.calls).c_str(), stage.seconds, work, floor);
  }
  print_row("= their sum", "", sum, "", floors);
  print_row("= the whole, as it runs", "", whole, "", floors);
  return floors;
}

/// Epochs: one to warm up, then `repeats` whose operations are measured one by one, then one that
/// records and `repeats` that run as in ./bm3, replayed and without a wait; on a GPU, `repeats`
/// more without the records.
Outcome measure(const Case& of, const Rates& rates) {
  const Dataset data = synthetic_dataset(of.spec, "stand-in");
  TrainConfig config;
  config.model.tuned = of.tuned;
  DeviceChoice choice = of.device;
  choice.reserve = memory_beside_tables(sizes_of(data), config);
  MeasuredOps ops(choose_ops(choice));
  const bool gpu = of.device.device == "cuda";
  config.epochs = config.patience = 2 + (gpu ? 3 : 2) * of.repeats;
  std::vector<Stages> training, evaluation;
  std::vector<double> train_seconds, valid_seconds, unrecorded_seconds;
  Outcome out{data.interactions.train.size(), 0, 0, 0, 0, 0};
  TrainProgress progress;
  progress.on_ready = [&](size_t n) { out.parameters = n; };
  progress.on_batch = [&](size_t done, size_t batches) {
    if (done == batches) training.push_back(ops.take());
  };
  progress.on_epoch = [&](const Epoch& epoch) {
    evaluation.push_back(ops.take());
    if (epoch.number == 1) {
      training.clear();
      evaluation.clear();
    }
    ops.count(epoch.number <= of.repeats, epoch.number < 2 + 2 * of.repeats);
    if (epoch.number <= 2 + of.repeats) return;
    const bool recorded = epoch.number <= 2 + 2 * of.repeats;
    (recorded ? train_seconds : unrecorded_seconds).push_back(epoch.train_seconds);
    valid_seconds.push_back(epoch.valid_seconds);
  };
  train(ops, data, config, progress);

  training.resize(of.repeats);
  evaluation.resize(of.repeats);
  out.epoch = median(train_seconds);
  out.evaluation = median(valid_seconds);
  out.unrecorded = median(unrecorded_seconds);
  for (const auto& m : of.spec.modalities)
    out.features += static_cast<size_t>(of.spec.n_items * m.dim);
  std::printf("\n%s: medians of %zu\n", of.title, of.repeats);
  const double floor = print_table("an epoch of training", medians(training), out.epoch, rates);
  if (gpu)
    std::printf("  %-26s %16.2f ms: what the records of the steps save\n", "launched one by one",
                1e3 * out.unrecorded);
  const double of_both =
      floor + print_table("an evaluation", medians(evaluation), out.evaluation, rates);
  print_row("training and validation", "", out.epoch + out.evaluation, "", of_both);
  return out;
}

/// One case: its table, its memory beside the bound that ./bm3 keeps on a CPU, and PyTorch's times.
void bench(const Case& of, const Rates& rates) {
  const Apart<Outcome> table = apart([&] { return measure(of, rates); });
  const Outcome& out = table.result;
  if (!rates.cuda) {
    const size_t numbers = (of.tuned ? 4 : 1) * out.features + 4 * out.parameters;
    std::printf("  resident memory: peak %.0f MB; bound %.0f MB (features%s, 4 x the other "
                "parameters, 150 MB)\n",
                table.peak_bytes / 1e6, static_cast<double>(sizeof(float) * numbers) / 1e6 + 150,
                of.tuned ? " x 4" : "");
  }
  std::printf("  ");
  const auto theirs = measure_reference(of.spec, out.interactions, of.tuned, rates.cuda,
                                        of.device.tf32, of.device.threads);
  if (theirs)
    std::printf("  PyTorch's time over ours: epoch %.1f, evaluation %.1f\n",
                theirs->epoch / out.epoch, theirs->evaluation / out.evaluation);
}

#ifdef BM3_CUDA
/// The two ways of `propagate` on a GPU, with its floor.
int compare_propagation(const SyntheticSpec& spec, const Rates& rates) {
  const Interactions data = synthesise(spec);
  std::printf("\npropagation of %zu interactions, d = 64, median of 101; cuSPARSE by its one "
              "algorithm that has the same bits in every run:\n",
              data.train.size());
  for (const bool cusparse : {false, true}) {
    MeasuredOps ops(make_cuda_ops<float>(false, cusparse));
    const auto graph = make_graph<float>(ops, data.n_users, data.n_items, data.train);
    const size_t d = 64, n = static_cast<size_t>(graph.n_nodes()) * d;
    const Array<float> x(ops, n);
    Array<float> y(ops, n);
    ops.take();
    const double seconds = median_of(101, [&] {
      ops.propagate(y.data(), x.data(), x.data(), 0.5F, 0.5F, 1.5F, graph, d);
      return ops.take().at("propagation [Eq. 3, 4]").seconds;
    });
    ops.propagate(y.data(), x.data(), x.data(), 0.5F, 0.5F, 1.5F, graph, d);
    const double floor = ops.take().at("propagation [Eq. 3, 4]").bytes / rates.bytes;
    std::printf("  %-18s %8.2f us, floor %.2f us, ratio %.2f\n",
                cusparse ? "cuSPARSE, CSR_ALG3" : "our row kernel", 1e6 * seconds, 1e6 * floor,
                seconds / floor);
  }
  return 0;
}
#endif

void bench_size(const std::string& size, const DeviceChoice& device, const Rates& rates) {
  SyntheticSpec spec;
  if (size == "elec") {
    spec.n_users = 192403;
    spec.n_items = 63001;
    spec.n_interactions = 1689188;
  }
  std::printf("%s size: %lld users, %lld items, %lld interactions, 8 of 10 in training; L = 1, "
              "d = 64, batch 2048\n"
              "floor: the larger of FLOPs and bytes over these rates, every operand moved once\n"
              "linear layers by shape: 64 x 64 is the predictor [Eq. 6], others project [Eq. 1]\n",
              size == "elec" ? "Electronics'" : "Baby's", static_cast<long long>(spec.n_users),
              static_cast<long long>(spec.n_items), static_cast<long long>(spec.n_interactions));
  const size_t repeats = rates.cuda ? 11 : size == "elec" ? 1 : 3;
  bench({"frozen features", spec, false, device, repeats}, rates);
  bench({"tuned features", spec, true, device, repeats}, rates);
#ifdef BM3_CUDA
  if (rates.cuda) apart([&] { return compare_propagation(spec, rates); });
#endif
  spec.modalities.clear();
  bench({"no features", spec, false, device, repeats}, rates);
}

void run(const std::string& size, DeviceChoice device) {
  const Rates rates = apart([&] { return measure_rates(device); }).result;
  device.device = rates.cuda ? "cuda" : "cpu";
  if (size != "elec") bench_size("baby", device, rates);
  if (size == "elec" || (size == "auto" && rates.cuda)) bench_size("elec", device, rates);
}

}  // namespace
}  // namespace bm3

int main(int argc, char** argv) {
  using namespace bm3;
  set_up_libraries(argv);
  CLI::App app("Time, work and floor of each stage of an epoch and of an evaluation");
  app.option_defaults()->always_capture_default();
  DeviceChoice device;
  std::string size = "auto";
  app.add_option("--size", size, "sizes of the made data; auto: Baby's, on a GPU Electronics' too")
      ->check(CLI::IsMember({"auto", "baby", "elec"}));
  app.add_option("--device", device.device, "where to compute")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--threads", device.threads, "threads on the CPU; 0: one for each processor")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--tf32", device.tf32, "products on the GPU in TF32");
  CLI11_PARSE(app, argc, argv);
  try {
    run(size, device);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
