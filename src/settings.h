#pragma once
// Hyper-parameters: each stands once, with all that --help, config.json, goldens and models know of
// it.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bm3 {

/// What a setting may be: a whole number or a number in a range, one of some words, or a list of
/// them with commas between.
struct Range {
  enum Kind { whole, real, word, list } kind;
  double least = 0, most = 0;
  std::string words;                 // "from 0 to 8"
  std::vector<std::string> choices;  // of a word or a list
};
Range whole_from_to(uint64_t least, uint64_t most);
Range real(double least, double most, const std::string& words);
Range word_of(const std::vector<std::string>& choices);
Range list_of(const std::vector<std::string>& choices);
Range probability();  // from 0 to below 1
Range weight();       // from 0
Range positive();     // above 0

struct Setting {
  std::string name;      // of the option, and the key in config.json and in a golden's metadata
  Range range;
  std::string fallback;  // its value unless something else is said
  std::string words;     // for --help
  /// Other values, by the name of a data set (the best by the paper) or of a recipe.
  std::map<std::string, std::string> best = {};
  std::vector<std::string> aliases = {};
};

/// Settings with their values.
class Settings {
 public:
  explicit Settings(std::vector<Setting> known);

  /// Gives the settings that were not set the values that stand under this name of a data set or of
  /// a recipe.
  void suit(const std::string& name);
  /// Throws where there is no such setting or where the value is impossible, with what was
  /// expected.
  void set(const std::string& name, const std::string& value);
  size_t whole(const std::string& name) const;
  double real(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  /// Whether a setting is this word, or a list that has it.
  bool has(const std::string& name, const std::string& word) const;
  bool knows(const std::string& name) const;
  /// Whether `set` gave it its value.
  bool was_set(const std::string& name) const { return set_[place(name)]; }
  const std::vector<Setting>& known() const { return known_; }

 private:
  size_t place(const std::string& name) const;
  std::vector<Setting> known_;
  std::vector<std::string> values_;
  std::vector<bool> set_;
};

/// Returns a setting's name as an option: "--layers", "-k".
std::string option_name(const std::string& name);

/// Throws unless `text` is in the range; `name` stands in the message.
void check_value(const std::string& name, const Range& range, const std::string& text);
/// Throws when a word occurs twice.
void check_distinct(const std::string& name, const std::vector<std::string>& words);

}  // namespace bm3
