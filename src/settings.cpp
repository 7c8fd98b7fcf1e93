#include "settings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.h"
#include "text.h"

namespace bm3 {
namespace {

using Float = std::numeric_limits<float>;  // what computes with these numbers

/// Whether `text` is a T in the range.
template <class T>
bool fits(const Range& range, const std::string& text) {
  T value = 0;
  return parse(text, value) && static_cast<double>(value) >= range.least &&
         static_cast<double>(value) <= range.most;
}

}  // namespace

Range whole_from_to(uint64_t least, uint64_t most) {
  return {Range::whole, static_cast<double>(least), static_cast<double>(most),
          concat("from ", least, " to ", most), {}};
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
Range probability() { return real(0, std::nextafter(1.0, 0.0), "from 0 to below 1"); }
Range weight() { return real(0, Float::max(), "from 0, in float32's range"); }
Range positive() { return real(Float::min(), Float::max(), "above 0, in float32's range"); }

std::string option_name(const std::string& name) {
  return (name.size() == 1 ? "-" : "--") + name;
}

void check_value(const std::string& name, const Range& range, const std::string& text) {
  const bool whole = range.kind == Range::whole;
  if (whole || range.kind == Range::real) {
    if (!(whole ? fits<uint64_t>(range, text) : fits<double>(range, text)))
      throw Error(name, " is ", in_quotes(text), ": expected a ",
                  whole ? "whole number " : "number ", range.words);
    return;
  }
  const auto words = range.kind == Range::list ? split(text, ',') : std::vector{text};
  for (const auto& word : words)
    if (!std::count(range.choices.begin(), range.choices.end(), word))
      throw Error(name, " is ", in_quotes(word), ": expected ", range.words);
  check_distinct(name, words);
}

void check_distinct(const std::string& name, const std::vector<std::string>& words) {
  for (const auto& word : words)
    if (std::count(words.begin(), words.end(), word) > 1)
      throw Error(name, " names ", in_quotes(word), " twice: expected different names");
}

Settings::Settings(std::vector<Setting> known) : known_(std::move(known)), set_(known_.size()) {
  for (const auto& setting : known_) values_.push_back(setting.fallback);
}

size_t Settings::place(const std::string& name) const {
  for (size_t k = 0; k < known_.size(); ++k)
    if (known_[k].name == name) return k;
  throw Error("there is no setting ", in_quotes(name));
}

bool Settings::knows(const std::string& name) const {
  return std::any_of(known_.begin(), known_.end(),
                     [&](const Setting& setting) { return setting.name == name; });
}

void Settings::suit(const std::string& name) {
  for (size_t k = 0; k < known_.size(); ++k)
    if (!set_[k] && known_[k].best.count(name)) values_[k] = known_[k].best.at(name);
}

void Settings::set(const std::string& name, const std::string& value) {
  const size_t k = place(name);
  check_value(option_name(name), known_[k].range, value);
  values_[k] = value;
  set_[k] = true;
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
