#pragma once
// JSON of config.json and of checkpoints.
#include <functional>
#include <nlohmann/json.hpp>

#include "error.h"
#include "evaluate.h"

namespace bm3 {

using Json = nlohmann::ordered_json;

/// Returns the figures, or null where there are no users to have them of.
inline Json to_json(const Metrics& metrics) {
  if (metrics.n_users == 0) return nullptr;
  Json out{{"users", metrics.n_users}};
  for (size_t m = 0; m < n_metrics; ++m) out[metric_name(m)] = metrics.values[m];
  return out;
}

/// Returns the figures that to_json was given. Throws Json's exceptions.
inline Metrics metrics_of(const Json& json) {
  Metrics metrics;
  if (json.is_null()) return metrics;
  metrics.n_users = json.at("users");
  for (size_t m = 0; m < n_metrics; ++m) metrics.values[m] = json.at(metric_name(m));
  return metrics;
}

/// Returns the text, with U+FFFD for what is no UTF-8.
inline std::string text_of(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Calls `read`. Throws with the file's name where a value is not there or of another type.
inline void read_json(const std::string& file, const std::function<void()>& read) {
  try {
    read();
  } catch (const Json::exception& e) {
    throw Error(file + " is damaged: " + e.what() + ": expected it as a run left it");
  }
}

}  // namespace bm3
