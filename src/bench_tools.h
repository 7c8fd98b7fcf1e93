#pragma once
// What the parts of the benchmark share.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include "error.h"

namespace bm3 {

/// The middle one of some numbers (of an even count, the larger of the two); 0 of none.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Median of `seconds()` over `repeats` calls, after one to warm up.
template <class Seconds>
double median_of(size_t repeats, const Seconds& seconds) {
  seconds();
  std::vector<double> all;
  for (size_t r = 0; r < repeats; ++r) all.push_back(seconds());
  return median(all);
}

/// Result of some work, plain data, and the most memory that its process held at once.
template <class Result>
struct Apart {
  Result result;
  double peak_bytes;
};

/// Does `work` in a process of its own, so that memory, threads and a GPU's state are its own too.
/// The caller must have started neither threads nor a GPU. Error where the work fails.
template <class Work>
auto apart(const Work& work) -> Apart<decltype(work())> {
  using Result = decltype(work());
  static_assert(std::is_trivially_copyable_v<Result>);
  int ends[2];
  if (pipe(ends) != 0) throw Error(std::string("no pipe for a process: ") + std::strerror(errno));
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Error(std::string("no new process: ") + std::strerror(errno));
  if (child == 0) {
    int status = 1;
    try {
      const Result result = work();
      status = write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "bench: %s\n", e.what());
    }
    std::fflush(stdout);
    _exit(status);
  }
  close(ends[1]);
  Apart<Result> out{};
  const bool all = read(ends[0], &out.result, sizeof(Result)) == sizeof(Result);
  close(ends[0]);
  int status = 0;
  rusage usage{};
  if (wait4(child, &status, 0, &usage) != child || status != 0 || !all)
    throw Error("a measurement failed; see the line above");
  out.peak_bytes = 1024.0 * static_cast<double>(usage.ru_maxrss);
  return out;
}

}  // namespace bm3
