#pragma once
// The released code's way of doing the same, in PyTorch: ref/bench_pytorch.py.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/synthetic.h"
#include "ops/choose.h"
#include "settings.h"

namespace bm3 {

struct ReferenceTimes {
  double epoch, evaluation;  // seconds
};

/// Returns what a command prints; nothing where it fails.
inline std::string output_of(const std::string& command) {
  std::fflush(stdout);
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return {};
  std::string out;
  char piece[256];
  while (std::fgets(piece, sizeof piece, pipe)) out += piece;
  return pclose(pipe) == 0 ? out : std::string();
}

/// Runs the script for a model with these settings on data of these sizes, on the same device, and
/// prints its figures. Returns nothing, and prints one line that says so, where it cannot run.
inline std::optional<ReferenceTimes> measure_reference(
    const std::string& model, const Settings& settings, const SyntheticSpec& spec,
    size_t interactions, bool cuda, const DeviceChoice& choice) {
  std::string command = "python3 '" BM3_SOURCE "/ref/bench_pytorch.py'";
  const auto add = [&](const char* name, const std::string& value) {
    command += std::string(" --") + name + ' ' + value;
  };
  add("model", model);
  for (const char* name : {"layers", "dim", "batch", "features"})
    if (settings.knows(name)) add(name, settings.text(name));
  add("users", std::to_string(spec.n_users));
  add("items", std::to_string(spec.n_items));
  add("interactions", std::to_string(interactions));
  add("dims", "0");  // none; more of them follow
  for (const auto& m : spec.modalities) command += ' ' + std::to_string(m.dim);
  add("device", cuda ? "cuda" : "cpu");
  add("steps", cuda ? "58" : "10");
  if (choice.threads > 0) add("threads", std::to_string(choice.threads));
  if (choice.tf32) command += " --tf32";
  const auto json = nlohmann::json::parse(output_of(command + " 2>/dev/null"), nullptr, false);
  if (json.is_discarded()) {
    std::printf("  no python3 with PyTorch%s here, or too little memory for it\n",
                cuda ? " for CUDA" : "");
    return std::nullopt;
  }
  const ReferenceTimes times{json.at("epoch_seconds"), json.at("evaluation_seconds")};
  std::printf("  PyTorch %s the released code's way: epoch %.2f ms (%d steps timed), "
              "evaluation %.2f ms\n",
              json.at("torch").get<std::string>().c_str(), 1e3 * times.epoch,
              json.at("steps").get<int>(), 1e3 * times.evaluation);
  return times;
}

}  // namespace bm3
