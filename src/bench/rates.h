#pragma once
// What a device can do at best, measured: the floor of every operation.
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "ops/choose.h"

// OpenBLAS's own thread pool would fight with ours; other CBLAS libraries lack the call.
extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace bm3 {

struct Rates {
  double flops, bytes;  // a second: float32 products (TF32 where chosen); copies, read + written
  /// Returns the least seconds of an operation that has to do this much.
  double floor(double of_flops, double of_bytes) const {
    return std::max(of_flops / flops, of_bytes / bytes);
  }
};

/// Returns the middle one of some numbers (of an even count, the larger of the two); 0 of none.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Returns the least of some numbers.
inline double least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

/// Returns `seconds()` of `repeats` calls, after one to warm up.
template <class Seconds>
std::vector<double> times(size_t repeats, const Seconds& seconds) {
  seconds();
  std::vector<double> all;
  for (size_t r = 0; r < repeats; ++r) all.push_back(seconds());
  return all;
}

/// Returns FLOPs a second of a large product by a CBLAS, on each thread.
inline double blas_flops(Ops<float>& ops, int threads) {
  constexpr int n = 1024;
  constexpr size_t matrix = size_t{n} * n;
  const auto t = static_cast<size_t>(threads);
  std::vector<float> a(matrix, 1.0F), b(matrix, 1.0F), c(t * matrix);
  if (openblas_set_num_threads) openblas_set_num_threads(1);
  const auto product = [&] {
#pragma omp parallel num_threads(threads)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0,
                c.data() + static_cast<size_t>(omp_get_thread_num()) * matrix, n);
  };
  const double seconds = least(times(9, [&] { return ops.seconds_of(product); }));
  return static_cast<double>(t * 2 * matrix) * n / seconds;
}

/// Returns FLOPs a second of our own large product.
inline double own_flops(Ops<float>& ops, size_t n) {
  const Array<float> x(ops, n * n), W(ops, n * n), b(ops, n);
  Array<float> y(ops, n * n);
  const auto product = [&] {
    ops.linear_forward(y.matrix(n, n), x.matrix(n, n), {}, W.matrix(n, n), b.matrix(1, n));
  };
  return 2.0 * static_cast<double>(n * n * n) /
         least(times(21, [&] { return ops.seconds_of(product); }));
}

inline double cpu_bytes(Ops<float>& ops, int threads) {
  constexpr size_t n = size_t{1} << 26;
  std::vector<float> from(n, 1.0F), to(n);
  const auto copy = [&] {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
  };
  return 2.0 * sizeof(float) * n / least(times(9, [&] { return ops.seconds_of(copy); }));
}

inline double gpu_bytes(Ops<float>& ops) {
  constexpr size_t n = size_t{1} << 16, d = 4096;  // 1 GiB each way
  const Array<float> from(ops, n * d);
  Array<float> to(ops, n * d);
  const auto copy = [&] { ops.gather_rows(to.matrix(n, d), from.matrix(n, d), {nullptr, n}); };
  return 2.0 * sizeof(float) * n * d / least(times(21, [&] { return ops.seconds_of(copy); }));
}

/// Measures products and copies too large for the caches: the fastest of several, since others may
/// use the device too. Prints the rates.
inline Rates measure_rates(Ops<float>& ops, bool cuda, const DeviceChoice& choice) {
  const int threads = choice.threads > 0 ? choice.threads : omp_get_max_threads();
  const Rates rates =
      cuda ? Rates{own_flops(ops, 8192), gpu_bytes(ops)}
           : Rates{std::max(blas_flops(ops, threads), own_flops(ops, 2048)),
                   cpu_bytes(ops, threads)};
  std::printf("%s: products %.1f GFLOP/s%s, copies %.1f GB/s (read + written)\n",
              ops.name().c_str(), rates.flops / 1e9,
              cuda && choice.tf32 ? " in TF32" : " in float32", rates.bytes / 1e9);
  return rates;
}

}  // namespace bm3
