// `make bench`: time, work and floor of each stage of every model's training and evaluation, on
// made data of Baby's or Electronics' size. Training runs as it is, over operations that keep
// count.
#include <CLI/CLI.hpp>

#include "bench/measured_ops.h"
#include "bench/reference.h"
#include "train.h"

namespace bm3 {
namespace {

/// Where to measure, and how often.
struct Bench {
  DeviceChoice choice;
  bool cuda = false;
  Rates rates{};
  size_t repeats = 1;  // epochs of which a median is taken
};

/// A model with settings and data to train it on.
struct Case {
  std::string title;
  const ModelKind& kind;
  Settings settings;
  SyntheticSpec spec;
};

/// Seconds as it runs and at least.
struct Time {
  double seconds, floor;
};
struct Outcome {
  Time epoch, evaluation;
  std::optional<ReferenceTimes> theirs;
};

/// Returns a model's cases: where it reads features, with each choice of its setting `features` if
/// it has one, and without any if it can.
std::vector<Case> cases_of(const ModelKind& kind, SyntheticSpec spec) {
  Settings settings = all_settings(kind);
  if (!kind.reads_features) return {{kind.name, kind, settings, spec}};
  std::vector<Case> out;
  if (!settings.knows("features"))
    out.push_back({kind.name + ", features", kind, settings, spec});
  else
    for (const std::string& choice : features_setting().range.choices) {
      settings.set("features", choice);
      out.push_back({kind.name + ", " + choice + " features", kind, settings, spec});
    }
  if (kind.needs_features) return out;
  spec.modalities.clear();
  out.push_back({kind.name + ", no features", kind, all_settings(kind), spec});
  return out;
}

/// Stages of several epochs: medians of the seconds, and the work of the last.
Stages medians(const std::vector<Stages>& epochs) {
  std::map<std::string, std::vector<double>> seconds;
  for (const Stages& epoch : epochs)
    for (const auto& [name, stage] : epoch) seconds[name].push_back(stage.seconds);
  Stages out = epochs.back();
  for (auto& [name, stage] : out) stage.seconds = median(seconds[name]);
  return out;
}

void print_row(const char* name, const std::string& calls, const char* work, const Time& time) {
  std::printf("  %-26s %6s %9.2f %17s %9.2f %6.2f\n", name, calls.c_str(), 1e3 * time.seconds, work,
              1e3 * time.floor, time.seconds / time.floor);
}

/// Prints the stages, what they add up to, and the whole as it really runs by the host's clock,
/// from its first call until the results are there. Returns the whole.
Time print_table(const char* title, const Stages& stages, double whole) {
  std::printf("  %-26s %6s %9s %8s %8s %9s %6s\n", title, "calls", "ms", "GFLOP", "GB", "floor ms",
              "ratio");
  Time sum{0, 0};
  for (const auto& [name, stage] : stages) {
    sum.seconds += stage.seconds;
    sum.floor += stage.floor;
    char work[64];
    std::snprintf(work, sizeof work, "%8.2f %8.3f", stage.flops / 1e9, stage.bytes / 1e9);
    print_row(name.c_str(), std::to_string(stage.calls), work, {stage.seconds, stage.floor});
  }
  print_row("= their sum", "", "", sum);
  print_row("= the whole, as it runs", "", "", {whole, sum.floor});
  return {whole, sum.floor};
}

/// Trains: one epoch to warm up, then `repeats` whose operations are measured one by one, then one
/// that records and `repeats` that run as in ./bm3, replayed and without a wait; on a GPU,
/// `repeats` more without the records.
Outcome measure(Case of, const Bench& bench) {
  const size_t repeats = bench.repeats;
  const Dataset data = synthetic_dataset(of.spec, "stand-in");
  MeasuredOps ops(choose_ops(bench.choice), bench.rates);
  for (const char* name : {"epochs", "patience"})
    of.settings.set(name, std::to_string(2 + (bench.cuda ? 3 : 2) * repeats));
  std::vector<Stages> training, evaluation;
  std::vector<double> train_seconds, valid_seconds, unrecorded_seconds;
  TrainHooks progress;
  progress.on_batch = [&](size_t, size_t done, size_t batches) {
    if (done == batches) training.push_back(ops.take());
  };
  progress.on_epoch = [&](const Epoch& epoch) {
    evaluation.push_back(ops.take());
    if (epoch.number == 1) {
      training.clear();
      evaluation.clear();
    }
    ops.count(epoch.number <= repeats, epoch.number < 2 + 2 * repeats);
    if (epoch.number <= 2 + repeats) return;
    const bool recorded = epoch.number <= 2 + 2 * repeats;
    (recorded ? train_seconds : unrecorded_seconds).push_back(epoch.train_seconds);
    valid_seconds.push_back(epoch.valid_seconds);
  };
  train(ops, data, of.kind, of.settings, progress);

  training.resize(repeats);
  evaluation.resize(repeats);
  Outcome out;
  out.epoch = print_table("an epoch of training", medians(training), median(train_seconds));
  if (bench.cuda)
    std::printf("  %-26s %16.2f ms: what the records of the steps save\n", "launched one by one",
                1e3 * median(unrecorded_seconds));
  out.evaluation = print_table("an evaluation", medians(evaluation), median(valid_seconds));
  out.theirs = measure_reference(of.kind.name, of.settings, of.spec, data.interactions.train.size(),
                                 bench.cuda, bench.choice);
  if (out.theirs)
    std::printf("  PyTorch's time over ours: epoch %.1f, evaluation %.1f\n",
                out.theirs->epoch / out.epoch.seconds,
                out.theirs->evaluation / out.evaluation.seconds);
  return out;
}

void print_times(const Time& ours, const double* theirs) {
  std::printf(" | %9.2f %9.2f %6.2f", 1e3 * ours.seconds, 1e3 * ours.floor,
              ours.seconds / ours.floor);
  if (theirs)
    std::printf(" %9.2f %6.1f", 1e3 * *theirs, *theirs / ours.seconds);
  else
    std::printf(" %9s %6s", "-", "-");
}

/// The closing table: a line a case.
void print_outcomes(const std::vector<std::pair<std::string, Outcome>>& outcomes) {
  std::printf("\n%-21s | %-43s | evaluation\n%-21s", "ms", "epoch", "");
  for (int k = 0; k < 2; ++k)
    std::printf(" | %9s %9s %6s %9s %6s", "ours", "floor", "ratio", "PyTorch", "ratio");
  for (const auto& [title, out] : outcomes) {
    std::printf("\n%-21s", title.c_str());
    print_times(out.epoch, out.theirs ? &out.theirs->epoch : nullptr);
    print_times(out.evaluation, out.theirs ? &out.theirs->evaluation : nullptr);
  }
  std::printf("\n");
}

/// Measures the two ways of `propagate` on a GPU.
void compare_propagation(const SyntheticSpec& spec, Bench bench) {
  const Interactions data = synthesise(spec);
  const size_t d = 64;
  std::printf("\npropagation of %zu interactions, d = %zu, median of 101; cuSPARSE by its one "
              "algorithm that has the same bits in every run:\n",
              data.train.size(), d);
  for (const bool cusparse : {false, true}) {
    bench.choice.cusparse = cusparse;
    MeasuredOps ops(choose_ops(bench.choice), bench.rates);
    const auto graph = make_graph<float>(ops, static_cast<size_t>(data.n_users),
                                         static_cast<size_t>(data.n_items), data.train);
    const Array<float> x(ops, graph.n_nodes() * d);
    Array<float> y(ops, x.size());
    const auto from = x.matrix(graph.n_nodes(), d);
    Stage stage;
    const double seconds = median(times(101, [&] {
      ops.take();
      ops.propagate(y.matrix(from.rows, d), from, from, 0.5F, 0.5F, 1.5F, graph);
      stage = ops.take().begin()->second;
      return stage.seconds;
    }));
    std::printf("  %-18s %8.2f us, floor %.2f us, ratio %.2f\n",
                cusparse ? "cuSPARSE, CSR_ALG3" : "our row kernel", 1e6 * seconds,
                1e6 * stage.floor, seconds / stage.floor);
  }
}

void run(const std::string& model, const std::string& size, Bench bench) {
  bench.choice = choose_device(bench.choice);
  bench.cuda = bench.choice.device == "cuda";
  bench.repeats = bench.cuda ? 11 : size == "elec" ? 1 : 3;
  bench.rates = measure_rates(*choose_ops(bench.choice), bench.cuda, bench.choice);
  SyntheticSpec spec;
  if (size == "elec") {
    spec.n_users = 192403;
    spec.n_items = 63001;
    spec.n_interactions = 1689188;
  }
  std::printf("sizes of %s; medians of %zu; floor: the larger of FLOPs and bytes over these rates, "
              "every operand moved once\n",
              size.c_str(), bench.repeats);
  if (bench.cuda) compare_propagation(spec, bench);
  std::vector<std::pair<std::string, Outcome>> outcomes;
  for (const ModelKind& kind : all_models()) {
    if (model != "all" && model != kind.name) continue;
    for (const Case& of : cases_of(kind, spec)) {
      const bool layers = of.settings.knows("layers");
      std::printf("\n%s%s%s\n", of.title.c_str(), layers ? ", layers " : "",
                  layers ? of.settings.text("layers").c_str() : "");
      outcomes.emplace_back(of.title, measure(of, bench));
    }
  }
  print_outcomes(outcomes);
}

}  // namespace
}  // namespace bm3

int main(int argc, char** argv) {
  using namespace bm3;
  CLI::App app("Time, work and floor of each stage of every model's epoch and evaluation");
  app.option_defaults()->always_capture_default();
  Bench bench;
  std::string model = "all", size = "baby", spmm = "own";
  std::vector<std::string> models{"all"};
  for (const ModelKind& kind : all_models()) models.push_back(kind.name);
  app.add_option("--model", model, "what to train")->check(CLI::IsMember(models));
  app.add_option("--size", size, "of whose sizes the made data are")
      ->check(CLI::IsMember({"baby", "elec"}));
  app.add_option("--device", bench.choice.device, "where to compute")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--threads", bench.choice.threads, "threads on the CPU; 0: one a processor")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--tf32", bench.choice.tf32, "products on the GPU in TF32");
  app.add_option("--spmm", spmm, "propagation on the GPU")
      ->check(CLI::IsMember({"own", "cusparse"}));
  CLI11_PARSE(app, argc, argv);
  try {
    bench.choice.cusparse = spmm == "cusparse";
    run(model, size, bench);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
