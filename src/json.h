#pragma once
// JSON of config.json and of checkpoints.
#include <functional>
#include <nlohmann/json.hpp>

#include "error.h"
#include "evaluate.h"

namespace bm3 {

using Json = nlohmann::ordered_json;

/// Figures as JSON: null where there are no users to have them of.
template <class AnyJson>
void to_json(AnyJson& json, const Metrics& metrics) {
  if (metrics.n_users == 0) return;
  json["users"] = metrics.n_users;
  for (size_t m = 0; m < n_metrics; ++m) json[metric_name(m)] = metrics.values[m];
}
template <class AnyJson>
void from_json(const AnyJson& json, Metrics& metrics) {
  if (json.is_null()) return;
  json.at("users").get_to(metrics.n_users);
  for (size_t m = 0; m < n_metrics; ++m) json.at(metric_name(m)).get_to(metrics.values[m]);
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
    throw Error(file, " is damaged: ", e.what(), ": expected it as a run left it");
  }
}

}  // namespace bm3
