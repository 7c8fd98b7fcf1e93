#pragma once
// Goldens (ref/README.md describes the format): reading one, and comparing with it. Nothing here
// knows a model: parameters, losses, masks and intermediates come from the model itself.
#include "compare.h"
#include "evaluate.h"
#include "layers/adam.h"
#include "models/model.h"
#include "safetensors.h"

namespace bm3::test {

/// A golden, checked: every array has its shape, finite values, and indices in range.
struct Golden {
  const ModelKind* kind = nullptr;
  Settings settings{{}};
  Interactions data;
  double degree_epsilon = 0;
  AdamConfig adam;
  std::vector<ModalityShape> modalities;
  size_t n_steps = 0, largest_batch = 0;
  std::map<std::string, FileArray> arrays;
  std::map<std::string, double> metrics;  // "test/recall@20"
  std::vector<std::string> unknown;       // arrays whose names the format does not know

  const FileArray* find(const std::string& name) const;
  const FileArray& at(const std::string& name) const { return arrays.at(name); }
  size_t batch_size(size_t s) const { return at(in_step(s, "users")).values.size(); }
  size_t n_users() const { return static_cast<size_t>(data.n_users); }
  size_t n_items() const { return static_cast<size_t>(data.n_items); }
  /// What a step s has an array of for each parameter: "step_0/grad/predictor.bias".
  static std::string in_step(size_t s, const std::string& name);
};

/// Reads a golden. Throws, with the file and what was expected, unless it is a whole one.
Golden read_golden(const std::filesystem::path& file);

/// The metrics by their names in a golden: "recall@5".
std::map<std::string, double> by_name(const Metrics& metrics);

/// A golden's model on a device.
template <class T>
struct GoldenModel {
  GoldenModel(Ops<T>& ops, const Golden& g);
  /// Returns the batch of step s, until the next call.
  Batch load(const Golden& g, size_t s);

  Graph<T> graph;
  BatchLoader loader;
  std::unique_ptr<Model<T>> model;
};

/// What the C++ computes for an array of a golden.
struct Result {
  std::string name, equation;
  size_t cols;
  std::vector<int32_t> rows;  // of the golden's array; empty: all of it
  std::vector<double> values;
  /// Where the k-th value is in the golden's array.
  size_t place(size_t k) const {
    return rows.empty() ? k : static_cast<size_t>(rows[k / cols]) * cols + k % cols;
  }
};

/// One array, or one metric, beside the golden one.
struct Comparison {
  std::string name;
  Agreement agreement;  // relative to the array's largest magnitude
  double bound;
  size_t worst;            // the place of the value that is furthest off
  double found, expected;  // there
  bool ok() const { return agreement.within(bound); }
  double ratio() const { return agreement.error / bound; }
};

struct GoldenReport {
  std::vector<Comparison> compared;   // in the order of computation
  std::vector<std::string> left_out;  // arrays and metrics there was nothing sound to compare with
  std::vector<Result> results;        // in the order of computation, also those of no array
  bool ok() const { return !compared.empty() && !first_wrong(); }
  /// Returns the first that differs, or null.
  const Comparison* first_wrong() const;
};

/// What a float64 computation may be off: rounding alone is 1e-13 or less.
constexpr double golden_bound = 1e-10;

/// Runs the steps of `golden` in precision T and compares every array. Intermediates that the model
/// computes for a batch's rows alone are compared in these rows, everything else in all rows. There
/// are two runs: in one, rows of tuned features that a batch does not touch wait with their
/// momentum, as in training; in the other all rows are caught up after each step. Scores are sums
/// in float64 of products of the C++'s vectors.
///
/// Bounds: golden_bound in float64; in float32 rounding<float>(n) * (1 + k), where n is the longest
/// sum of the case and k how much the array magnifies a relative change of the inputs. k is
/// measured, with float64 on the CPU, by changing each parameter and feature by +-u, float32's
/// rounding unit, at random: an array whose terms cancel is as exact as its terms, and a plain
/// multiple of u would be wrong. Two scores that a list may exchange differ by twice their bound.
///
/// Gradients and losses may be zero but for rounding: with d = 1 each cosine is +-1, whatever the
/// parameters. They may therefore always be off by rounding<T>(n) of the largest magnitude that the
/// terms add up to (magnitude_ops.h). In float64 that matters only where terms of some 10,000 times
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
