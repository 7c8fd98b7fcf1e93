// golden_check DIR: compares the C++ on the CPU, in float64 and in float32, with a golden directory
// (format: ref/README.md). Exit status 0 when all agree, 1 otherwise.
#include <cstdio>
#include <iostream>

#include "error.h"
#include "golden.h"

namespace {

using bm3::test::Golden;

template <class T>
bool check(const Golden& golden, const char* precision) {
  const auto ops = bm3::make_cpu_ops<T>(0);
  const auto report = bm3::test::check_golden(*ops, golden);
  const bm3::test::Comparison* worst = nullptr;  // in units of its bound
  size_t values = 0, failed = 0;
  for (const auto& c : report.compared) {
    std::printf("%s  %-34s %7zu values  error %.1e  bound %.1e%s\n", precision, c.name.c_str(),
                c.agreement.count, c.agreement.error, c.bound, c.ok() ? "" : "  DIFFERS");
    values += c.agreement.count;
    failed += !c.ok();
    if (!worst || c.agreement.error / c.bound > worst->agreement.error / worst->bound) worst = &c;
  }
  if (!report.left_out.empty())
    std::printf("%s  not compared: %zu, from %s on: expected the gradients of every step\n",
                precision, report.left_out.size(), report.left_out.front().c_str());
  std::printf("%s: %s: %zu arrays and metrics, %zu values compared, %zu differ", precision,
              report.ok() ? "agrees" : "DIFFERS", report.compared.size(), values, failed);
  if (worst)
    std::printf("; worst %s, error %.1e, bound %.1e", worst->name.c_str(), worst->agreement.error,
                worst->bound);
  std::printf("\n");
  return report.ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    std::cerr << "usage: golden_check DIR, a golden directory as ref/README.md describes it\n";
    return 1;
  }
  try {
    const Golden golden = bm3::test::read_golden(argv[1]);
    for (const auto& name : golden.unknown)
      std::cerr << "ignored: " << name << " is no array of a golden directory\n";
    const bool in64 = check<double>(golden, "float64"), in32 = check<float>(golden, "float32");
    return in64 && in32 ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "golden_check: " << e.what() << "\n";
    return 1;
  }
}
