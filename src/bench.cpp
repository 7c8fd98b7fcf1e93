// `make bench`: time, work and floor of each stage of training and evaluation, on data of Baby's
// size. Training runs as it is, over operations that keep count.
#include <cblas.h>
#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "blas.h"
#include "data/dataset.h"
#include "data/synthetic.h"
#include "measured_ops.h"
#include "train.h"

namespace bm3 {
namespace {

struct Rates {
  double flops, bytes;  // a second
};

/// Median seconds of nine calls, after one to warm up.
template <class Work>
double median_seconds(const Work& work) {
  std::vector<double> seconds;
  work();
  for (int r = 0; r < 9; ++r) seconds.push_back(timed(work));
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

/// This machine's best: a large product on each thread, and a copy too large for the caches, counting
/// the bytes read and the bytes written.
Rates measure_rates(int threads) {
  constexpr int n = 1024;
  constexpr size_t matrix = size_t{n} * n, large = size_t{1} << 26;
  const auto t = static_cast<size_t>(threads);
  std::vector<float> a(matrix, 1.0F), b(matrix, 1.0F), c(t * matrix);
  const double product = median_seconds([&] {
#pragma omp parallel num_threads(threads)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0,
                c.data() + static_cast<size_t>(omp_get_thread_num()) * matrix, n);
  });
  std::vector<float> from(large, 1.0F), to(large);
  const double copy = median_seconds([&] {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < large; ++i) to[i] = from[i];
  });
  return {static_cast<double>(t * 2 * matrix) * n / product, 2.0 * sizeof(float) * large / copy};
}

/// One table: the stages of the last of three epochs and of its evaluation, and what they add up to.
void bench(const char* title, const Dataset& data, bool tuned, int threads, const Rates& rates) {
  MeasuredOps ops(make_cpu_ops<float>(threads));
  TrainConfig config;
  config.model.tuned = tuned;
  config.epochs = 3;
  double train_seconds = 0, valid_seconds = 0;
  TrainProgress progress;
  progress.on_ready = [](size_t) {};
  progress.on_batch = [](size_t, size_t) {};
  progress.on_epoch = [&](const Epoch& epoch) {
    train_seconds = epoch.train_seconds;
    valid_seconds = epoch.valid_seconds;
    if (epoch.number < config.epochs) ops.stages().clear();
  };
  train(ops, data, config, progress);

  std::printf("\n%s\n%-28s %6s %9s %8s %7s %9s %6s\n", title, "stage", "calls", "ms", "GFLOP", "GB",
              "floor ms", "ratio");
  double floors = 0, floors_of_ranking = 0;
  for (const auto& [name, stage] : ops.stages()) {
    const double floor = std::max(stage.flops / rates.flops, stage.bytes / rates.bytes);
    (name == MeasuredOps::ranking ? floors_of_ranking : floors) += floor;
    std::printf("%-28s %6zu %9.2f %8.2f %7.2f %9.2f %6.2f\n", name.c_str(), stage.calls,
                1e3 * stage.seconds, stage.flops / 1e9, stage.bytes / 1e9, 1e3 * floor,
                stage.seconds / floor);
  }
  const auto sum = [](const char* name, double seconds, double floor) {
    std::printf("%-28s %6s %9.2f %8s %7s %9.2f %6.2f\n", name, "", 1e3 * seconds, "", "",
                1e3 * floor, seconds / floor);
  };
  sum("= epoch of training", train_seconds, floors);
  sum("= evaluation", valid_seconds, floors_of_ranking);
}

}  // namespace
}  // namespace bm3

int main(int argc, char** argv) {
  using namespace bm3;
  try {
    choose_blas_kernels(argv);
    const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_max_threads();
    if (argc > 2 || threads < 1) throw Error("usage: bench [THREADS], a number from 1");
    Dataset data = synthetic_dataset(SyntheticSpec{}, "stand-in");
    const auto ops = make_cpu_ops<float>(threads);  // BLAS with one thread each from here on
    const Rates rates = measure_rates(threads);
    std::printf("%s: sgemm %.1f GFLOP/s, copy %.1f GB/s (read + written)\n", ops->name().c_str(),
                rates.flops / 1e9, rates.bytes / 1e9);
    std::printf("Baby's size: %lld users, %lld items, %zu training interactions, L = 1, d = 64, "
                "batch 2048\n",
                static_cast<long long>(data.interactions.n_users),
                static_cast<long long>(data.interactions.n_items), data.interactions.train.size());
    bench("frozen features", data, false, threads, rates);
    bench("tuned features", data, true, threads, rates);
    data.modalities.clear();
    bench("no features", data, false, threads, rates);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
