#pragma once
// Goldens (ref/README.md describes the format): reading one, and comparing with it. Nothing here
// knows a model: parameters, losses, masks and intermediates come from the model itself.
#include <filesystem>
#include <map>
#include <set>

#include "compare.h"
#include "models/model.h"

namespace bm3::test {

using Shape = std::vector<size_t>;
constexpr size_t any = static_cast<size_t>(-1);  // an extent above 0 that a file decides

/// An array of a .safetensors file, which is a JSON header and then the arrays' bytes.
struct FileArray {
  Shape shape;
  std::vector<double> values;  // in C order; whole numbers and masks are exact
  bool single = false;         // float32 in the file
};

/// Returns "[3, 2]" or, with any number of rows, "[*, 2]".
std::string shape_words(const Shape& shape);

/// A golden, checked: every array has its shape, finite values, and indices in range.
struct Golden {
  struct Step {
    std::vector<Interaction> pairs;
    std::vector<int32_t> negatives;
    std::vector<int32_t> drawn;  // by the model's begin_epoch
  };
  const ModelKind* kind = nullptr;
  Settings settings{{}};  // the model's, and those of every golden
  Interactions data;
  std::vector<ModalityShape> modalities;
  std::vector<Step> steps;
  std::map<std::string, FileArray> arrays;  // and the metrics: "metrics/test/recall@20"
  std::vector<std::string> outputs;         // arrays that the C++ computes
  std::vector<std::string> unknown;         // arrays whose names the format does not know
  mutable std::set<std::string> asked;      // names that `find` was asked for: the format's

  /// Returns an array, or null where there is none. Throws where it is missing though needed, or
  /// has another shape; a table of one row may be a vector.
  const FileArray* find(const std::string& name, const Shape& shape = {},
                        bool needed = false) const;
  const FileArray& at(const std::string& name, const Shape& shape) const {
    return *find(name, shape, true);
  }
  size_t largest_batch() const;
  size_t n_users() const { return static_cast<size_t>(data.n_users); }
  size_t n_items() const { return static_cast<size_t>(data.n_items); }
};

/// Returns "step_0/NAME".
std::string in_step(size_t s, const std::string& name);

/// Reads a golden. Throws, with the file and what was expected, unless it is a whole one: also
/// where the file is truncated, arrays overlap or leave a gap, a type is none of F64, F32, I64,
/// I32, U8 and BOOL, or a value is not finite.
Golden read_golden(const std::filesystem::path& file);

/// What the C++ computes for an array of a golden.
struct Result : Trace {
  size_t cols() const { return shape.size() < 2 ? 1 : shape[1]; }
  /// Where the k-th value is in the golden's array.
  size_t place(size_t k) const {
    return rows.empty() ? k : static_cast<size_t>(rows[k / cols()]) * cols() + k % cols();
  }
};

/// One array beside the golden one.
struct Comparison {
  std::string name;
  Agreement agreement;  // relative to the array's largest magnitude; `at` in the golden's array
  double bound;
  bool ok() const { return agreement.within(bound); }
  double ratio() const { return agreement.error / bound; }
};

/// Returns the one of this name, or null.
template <class Named>
const Named* find(const std::vector<Named>& list, const std::string& name) {
  for (const Named& named : list)
    if (named.name == name) return &named;
  return nullptr;
}

struct GoldenReport {
  std::vector<Comparison> compared;   // in the order of computation
  std::vector<std::string> left_out;  // arrays there was nothing sound to compare with
  std::vector<Result> results;        // in the order of computation, also those of no array
  bool ok() const { return !compared.empty() && !first_wrong(); }
  /// Returns the first that differs, or null.
  const Comparison* first_wrong() const;
};

/// What a float64 computation may be off: rounding alone is 1e-13 or less.
constexpr double golden_bound = 1e-10;

/// Runs the steps of `golden` in precision T and compares every array. Intermediates that the model
/// computes for a batch's rows alone are compared in these rows, everything else in all rows.
/// Scores are sums in float64 of products of the C++'s vectors.
///
/// Bounds: golden_bound in float64; in float32 rounding<float>(n) * (1 + k), where n is the longest
/// sum of the case and k how much the array magnifies a relative change of the inputs. k is
/// measured, with float64 on the CPU, by changing each parameter and feature by +-u, float32's
/// rounding unit, at random: an array whose terms cancel is as exact as its terms, and a plain
/// multiple of u would be wrong. Two scores that a list may exchange differ by twice their bound.
///
/// Gradients and losses may be zero but for rounding: with d = 1 each cosine is +-1, whatever the
/// parameters. They may therefore always be off by rounding<T>(n) of the largest magnitude that the
/// terms add up to (golden_run.h). In float64 that matters only where terms of some 10,000 times
/// the result's size cancel.
///
/// Adam divides by sqrt(v), so that its first step is +-lr whatever a gradient's size: rounding
/// in one that is nearly zero would come back at full size. Each step's gradients are therefore
/// compared and then replaced by the golden ones, so that after/ is Adam's own rounding. Where they
/// are absent, float64 goes on with its own, and float32 leaves out what comes after.
///
/// An array that is float32 in the file has rounding of its own: the bound is twice float32's in
/// float32, and float32's in float64.
template <class T>
GoldenReport check_golden(Ops<T>& ops, const Golden& golden);

}  // namespace bm3::test
