#pragma once
// Original ids of users and items, and the numbers that the program knows them by.
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bm3 {

/// Texts, numbered from 0 in the order in which they come.
class Ids {
 public:
  Ids() = default;
  Ids(Ids&&) = default;  // a copy's numbers would be those of this object's texts
  /// Returns the number of a text, which is the next one where it is new. Throws beyond int32_t.
  int32_t number(std::string_view text);
  /// Returns the number of a text, or -1.
  int32_t find(std::string_view text) const;
  const std::string& operator[](int32_t number) const {
    return texts_[static_cast<size_t>(number)];
  }
  size_t size() const { return texts_.size(); }

 private:
  std::deque<std::string> texts_;  // which stay where they are
  std::unordered_map<std::string_view, int32_t> numbers_;
};

/// Returns the text of a map of ids: a header of the two titles, and a line for each id.
std::string id_map_text(const std::string& title, const std::string& number_title,
                        const std::vector<std::string>& ids);

/// Reads a map: a header, and records of an original id and its number, separated as
/// `RecordReader` says. Returns the ids of the numbers 0 .. n - 1; others are ignored. Throws where
/// a record is no such pair, where a number or an id stands twice, and where a number is missing.
std::vector<std::string> read_id_map(const std::filesystem::path& path, int64_t n);

}  // namespace bm3
