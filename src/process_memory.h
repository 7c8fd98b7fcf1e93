#pragma once
// What this process takes of the host's memory.
#include <fstream>
#include <string>

namespace bm3 {

/// Returns this process's memory in MiB by a field of /proc/self/status: VmRSS, what it has now, or
/// VmHWM, the most that it has had (of this program alone, unlike getrusage's).
inline double process_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == field + ":" && status >> kib) return kib / 1024;
  return 0;
}

}  // namespace bm3
