#pragma once
// Numbers and lists as text.
#include <charconv>
#include <string>
#include <vector>

namespace bm3 {

/// The shortest text that reads back as the same number, in any locale.
template <class T>
std::string shortest(T x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
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
