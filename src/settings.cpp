#include "settings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.h"
#include "text.h"

namespace bm3 {
namespace {

using Float = std::numeric_limits<float>;  // what computes with these numbers

bool fits(const Range& range, const std::string& text) {
  if (range.kind == Range::whole) {
    uint64_t value = 0;
    return parse(text, value) && static_cast<double>(value) >= range.least &&
           static_cast<double>(value) <= range.most;
  }
  double value = 0;
  return parse(text, value) && value >= range.least && value <= range.most;
}

}  // namespace

Range whole_from_to(uint64_t least, uint64_t most) {
  return {Range::whole, static_cast<double>(least), static_cast<double>(most),
          "from " + shortest(least) + " to " + shortest(most), {}};
}
Range real(double least, double most, const std::string& words) {
  return {Range::real, least, most, words, {}};
}
Range word_of(const std::vector<std::string>& choices) {
  return {Range::word, 0, 0, join(choices, " or "), choices};
}
Range list_of(const std::vector<std::string>& choices) {
  return {Range::list, 0, 0, join(choices, " or "), choices};
}
const Range& probability() {
  static const Range range = real(0, std::nextafter(1.0, 0.0), "from 0 to below 1");
  return range;
}
const Range& weight() {
  static const Range range = real(0, Float::max(), "from 0, in float32's range");
  return range;
}
const Range& positive() {
  static const Range range = real(Float::min(), Float::max(), "above 0, in float32's range");
  return range;
}

std::string option_name(const std::string& name) {
  return (name.size() == 1 ? "-" : "--") + name;
}

void check_value(const std::string& name, const Range& range, const std::string& text) {
  const bool number = range.kind == Range::whole || range.kind == Range::real;
  if (number && !fits(range, text))
    throw Error(name + " is " + in_quotes(text) + ": expected a " +
                (range.kind == Range::whole ? "whole number " : "number ") + range.words);
  if (number) return;
  const auto words = range.kind == Range::list ? split(text, ',') : std::vector{text};
  for (const auto& word : words) {
    if (!std::count(range.choices.begin(), range.choices.end(), word))
      throw Error(name + " is " + in_quotes(word) + ": expected " + range.words);
    if (std::count(words.begin(), words.end(), word) > 1)
      throw Error(name + " names " + in_quotes(word) + " twice: expected different names");
  }
}

Settings::Settings(std::vector<Setting> known) : known_(std::move(known)) {
  for (const auto& setting : known_) values_.push_back(setting.fallback);
}

size_t Settings::place(const std::string& name) const {
  for (size_t k = 0; k < known_.size(); ++k)
    if (known_[k].name == name) return k;
  throw Error("there is no setting " + in_quotes(name));
}

bool Settings::knows(const std::string& name) const {
  return std::any_of(known_.begin(), known_.end(),
                     [&](const Setting& setting) { return setting.name == name; });
}

void Settings::suit(const std::string& name) {
  for (size_t k = 0; k < known_.size(); ++k)
    if (const auto best = known_[k].best.find(name); best != known_[k].best.end())
      values_[k] = best->second;
}

void Settings::set(const std::string& name, const std::string& value) {
  const size_t k = place(name);
  check_value(option_name(name), known_[k].range, value);
  values_[k] = value;
}

size_t Settings::whole(const std::string& name) const {
  size_t value = 0;
  parse(text(name), value);
  return value;
}

double Settings::real(const std::string& name) const {
  double value = 0;
  parse(text(name), value);
  return value;
}

const std::string& Settings::text(const std::string& name) const { return values_[place(name)]; }

bool Settings::has(const std::string& name, const std::string& word) const {
  const auto words = split(text(name), ',');
  return std::count(words.begin(), words.end(), word) > 0;
}

}  // namespace bm3
