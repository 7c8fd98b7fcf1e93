#pragma once
// Figures as JSON: in config.json and in checkpoints.
#include <nlohmann/json.hpp>

#include "evaluate.h"

namespace bm3 {

using Json = nlohmann::ordered_json;

/// Returns the figures, or null where there are no users to have them of.
inline Json to_json(const Metrics& metrics) {
  if (metrics.n_users == 0) return nullptr;
  Json out{{"users", metrics.n_users}};
  for (const auto& [name, values] : named_metrics)
    for (size_t c = 0; c < cutoffs.size(); ++c)
      out[name + ("@" + std::to_string(cutoffs[c]))] = (metrics.*values)[c];
  return out;
}

/// Returns the figures that to_json was given. Throws Json's exceptions.
inline Metrics metrics_of(const Json& json) {
  Metrics metrics;
  if (json.is_null()) return metrics;
  metrics.n_users = json.at("users");
  for (const auto& [name, values] : named_metrics)
    for (size_t c = 0; c < cutoffs.size(); ++c)
      (metrics.*values)[c] = json.at(name + ("@" + std::to_string(cutoffs[c])));
  return metrics;
}

}  // namespace bm3
