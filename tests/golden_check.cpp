// golden_check FILE...: compares the C++ on the CPU, in float64 and in float32, with goldens
// (format: ref/README.md). Exit status 0 when all agree, 1 otherwise. golden_check --show FILE
// walks through one in the order of the equations.
#include <cstdio>
#include <iostream>

#include "golden.h"
#include "text.h"

namespace {

using namespace bm3;
using namespace bm3::test;

/// "[2, 0]", the place of a value in an array of this shape.
std::string place_words(const Shape& shape, size_t k) {
  return shape.size() < 2 ? shape_words({k}) : shape_words({k / shape[1], k % shape[1]});
}

/// Prints the first array that differs, and a summary.
template <class T>
bool check(const std::string& file, const Golden& g, const char* precision) {
  const GoldenReport report = check_golden(*make_cpu_ops<T>(0), g);
  const std::string who = file + ": " + precision;
  if (const Comparison* c = report.first_wrong())
    std::printf("%s: %s differs first: at %s found %.9g, expected %.9g; off by %.1e of the largest "
                "magnitude, bound %.1e\n",
                who.c_str(), c->name.c_str(),
                place_words(g.find(c->name)->shape, c->agreement.at).c_str(), c->agreement.found,
                c->agreement.expected, c->agreement.error, c->bound);
  size_t values = 0, failed = 0;
  const Comparison* worst = &report.compared.front();  // in units of its bound
  for (const Comparison& c : report.compared) {
    values += c.agreement.count;
    failed += !c.ok();
    if (c.ratio() > worst->ratio()) worst = &c;
  }
  if (!report.left_out.empty())
    std::printf("%s: not compared: %zu, from %s on: expected the gradients of every step\n",
                who.c_str(), report.left_out.size(), report.left_out.front().c_str());
  std::printf("%s: %s: %zu arrays and metrics, %zu values compared, %zu differ; worst %s, "
              "error %.1e, bound %.1e\n",
              who.c_str(), report.ok() ? "agrees" : "DIFFERS", report.compared.size(), values,
              failed, worst->name.c_str(), worst->agreement.error, worst->bound);
  return report.ok();
}

/// "step_0/", or nothing where an array is of no step.
std::string step_of(const std::string& name) {
  return name.rfind("step_", 0) == 0 ? name.substr(0, name.find('/') + 1) : "";
}

constexpr size_t few = 24;  // numbers that are shown

/// Prints an array: its name, its shape and how it compares, then its rows, each behind its number:
/// the file's numbers, if it has them, and the C++'s, if it computes them.
void print_array(const Result& at, const FileArray* golden, const Comparison* compared) {
  std::printf("%s  %s", at.name.c_str(), shape_words(golden ? golden->shape : at.shape).c_str());
  if (!at.equation.empty()) std::printf("  [%s]", at.equation.c_str());
  if (compared)
    std::printf("  error %.1e, bound %.1e%s", compared->agreement.error, compared->bound,
                compared->ok() ? "" : "  DIFFERS");
  const bool given = at.values.empty();
  std::printf("%s\n", given ? "  given" : golden ? "" : "  not in the file");
  const size_t cols = given && at.shape.size() == 1 ? at.shape[0] : at.cols();
  const size_t count = given ? golden->values.size() : at.values.size();
  for (size_t first = 0; first < count && count <= few; first += cols) {
    const size_t place = at.place(first);
    std::printf("%6zu ", place / cols);
    for (size_t k = 0; golden && k < cols; ++k) std::printf(" %12.8g", golden->values[place + k]);
    if (!given) std::printf("   C++");
    for (size_t k = 0; !given && k < cols; ++k) std::printf(" %12.8g", at.values[first + k]);
    std::printf("\n");
  }
}

/// Prints the inputs of a step, or of none.
void print_inputs(const Golden& g, const GoldenReport& report, const std::string& step) {
  for (const auto& [name, array] : g.arrays)
    if (!find(report.results, name) && step_of(name) == step)
      print_array({{name, "", array.shape, {}, {}}}, &array, nullptr);
}

/// Prints a golden's settings, then all arrays: inputs first, then in the order of computation.
void show(const Golden& g) {
  const GoldenReport report = check_golden(*make_cpu_ops<double>(0), g);
  std::printf("%s:", g.kind->name.c_str());
  for (const Setting& s : g.settings.known())
    if (s.name != recipe_setting().name)
      std::printf(" %s %s", s.name.c_str(), g.settings.text(s.name).c_str());
  std::printf("\nRows by their numbers, where an array has at most %zu numbers: the file's, then "
              "the C++'s.\n", few);
  print_inputs(g, report, "");
  std::string step;
  for (const Result& r : report.results) {
    if (const std::string its = step_of(r.name); its != step) {
      if (!its.empty()) print_inputs(g, report, its);
      step = its;
    }
    print_array(r, g.find(r.name), find(report.compared, r.name));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> files(argv + 1, argv + argc);
  const bool showing = !files.empty() && files[0] == "--show";
  if (showing) files.erase(files.begin());
  if (files.empty() || files[0][0] == '-' || (showing && files.size() > 1)) {
    std::cerr << "usage: golden_check FILE..., or golden_check --show FILE; ref/README.md says "
                 "what a golden is\n";
    return 1;
  }
  bool all = true;
  try {
    for (const auto& file : files) {
      const Golden g = read_golden(file);
      for (const auto& name : g.unknown)
        std::cerr << file << ": ignored: " << one_line(name) << " is no array of a golden\n";
      if (showing) {
        show(g);
        continue;
      }
      all = check<double>(file, g, "float64") && all;
      all = check<float>(file, g, "float32") && all;
    }
  } catch (const std::exception& e) {
    std::cerr << "golden_check: " << e.what() << "\n";
    return 1;
  }
  return all ? 0 : 1;
}
