#pragma once
// Golden directories (ref/README.md describes the format): reading one, and comparing with it.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "compare.h"
#include "model/adam.h"

namespace bm3::test {

struct GoldenArray {
  std::vector<size_t> shape;
  std::vector<double> values;  // in C order; whole numbers and masks are exact
  bool single = false;         // float32 in the file: made by code of that precision
};

/// A golden directory, checked: every array has its shape, finite values, and indices in range.
struct Golden {
  Interactions data;
  double degree_epsilon = 0;
  Bm3Config config;
  AdamConfig adam;
  std::vector<ModalityShape> modalities;
  size_t n_steps = 0;
  /// By path without ".npy". A loss is split: step_0/loss.rec, .align, .mask, .reg (each times its
  /// weight) and .total.
  std::map<std::string, GoldenArray> arrays;
  std::map<std::string, double> metrics;  // "test/recall@20"
  std::vector<std::string> unknown;       // .npy files whose names the format does not know

  const GoldenArray* find(const std::string& name) const;
  const GoldenArray& at(const std::string& name) const { return arrays.at(name); }
  /// What a step s has an array of for each parameter: "step_0/grad/predictor.bias".
  static std::string in_step(size_t s, const std::string& name);
  std::vector<Interaction> batch(size_t s) const;
  /// Parameters that Adam updates; features only when tuned.
  std::vector<std::string> trainable() const;
};

/// Error, with the file and what was expected, unless `folder` is a whole golden directory.
Golden read_golden(const std::filesystem::path& folder);

/// One array, or one metric, beside the golden one.
struct Comparison {
  std::string name;
  Agreement agreement;  // relative to the array's largest magnitude
  double bound;
  bool ok() const { return agreement.within(bound); }
};

struct GoldenReport {
  std::vector<Comparison> compared;
  std::vector<std::string> left_out;  // arrays and metrics there was nothing sound to compare with
  bool ok() const;
};

/// What a float64 computation may be off: rounding alone is 1e-13 or less.
constexpr double golden_bound = 1e-10;

/// Runs the steps of `golden` in precision T and compares every array, all rows of it. The model
/// computes projections, predictions and views of a batch's rows alone and lets other rows of tuned
/// features wait; a run before that one, in which all rows are caught up after each step, fills in
/// the rest by the model's operations over whole tables. Scores are sums in float64 of products of
/// the C++'s predictions, those of listed items the ranking's own.
///
/// Bounds: golden_bound in float64; in float32 rounding<float>(n) * (1 + k), where n is the longest
/// sum of the case and k how much the array magnifies a relative change of the inputs. k is
/// measured, with float64 on the CPU, by changing each parameter and feature by +-u, float32's
/// rounding unit, at random: an array whose terms cancel is as exact as its terms, and a plain
/// multiple of u would be wrong. Two scores that a list may exchange differ by twice their bound.
///
/// Gradients and cosine losses may be zero but for rounding: with d = 1 each cosine is +-1,
/// whatever the parameters. Theirs may therefore always be off by rounding<T>(n) of the largest
/// magnitude that the terms add up to (golden_terms.h). In float64 that matters only where terms of
/// some 10,000 times the result's size cancel.
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
