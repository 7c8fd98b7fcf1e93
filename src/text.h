#pragma once
// Numbers and lists as text.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bm3 {

/// The shortest text that reads back as the same number, in any locale.
template <class T>
std::string shortest(T x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

/// Returns texts, paths and numbers, as `shortest` writes them, one after the other.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  const auto add = [&out](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>)
      out += shortest(part);
    else
      out += part;
  };
  (add(parts), ...);
  return out;
}

/// Reads a number that is the whole of `text`; false for anything else, and what T cannot hold.
template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc() && end == text.data() + text.size();
}

/// Likewise, but no infinity or NaN.
template <class T>
bool parse_finite(std::string_view text, T& value) {
  return parse(text, value) && std::isfinite(value);
}

inline bool is_control(char c) { return (c >= 0 && c < ' ') || c == 127; }

/// `text` with a space for each control character: one line, and no command to a terminal.
inline std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) out += is_control(c) ? ' ' : c;
  return out;
}

/// `text` in quotation marks, fit for a message: one line, and not a long one.
inline std::string in_quotes(std::string_view text) {
  constexpr size_t longest = 40;
  return "'" + one_line(text.substr(0, longest)) + (text.size() > longest ? "...'" : "'");
}

inline std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

/// A column's name in small letters, without blanks, _ and -.
inline std::string plain(std::string_view column) {
  std::string out;
  for (const char c : column)
    if (c != ' ' && c != '_' && c != '-') out += c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
  return out;
}

inline std::string join(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

/// The pieces of `text` between commas or other separators; n separators make n + 1 pieces.
inline std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> pieces(1);
  for (const char c : text)
    if (c == separator)
      pieces.emplace_back();
    else
      pieces.back() += c;
  return pieces;
}

}  // namespace bm3
