#include "data/ids.h"

#include <functional>

#include "data/lines.h"
#include "error.h"
#include "text.h"

namespace bm3 {

std::string_view Ids::operator[](int32_t number) const {
  const auto at = static_cast<size_t>(number);
  const size_t begin = at == 0 ? 0 : ends_[at - 1];
  return std::string_view(texts_).substr(begin, ends_[at] - begin);
}

/// Returns where the text's number stands or would stand (linear probing).
size_t Ids::slot_of(std::string_view text) const {
  const size_t mask = slots_.size() - 1;  // their number is a power of two
  size_t slot = std::hash<std::string_view>{}(text) & mask;
  while (slots_[slot] >= 0 && (*this)[slots_[slot]] != text) slot = (slot + 1) & mask;
  return slot;
}

void Ids::grow() {
  slots_.assign(slots_.empty() ? 1024 : 2 * slots_.size(), -1);
  for (size_t k = 0; k < size(); ++k) {
    const auto number = static_cast<int32_t>(k);
    slots_[slot_of((*this)[number])] = number;
  }
}

int32_t Ids::number(std::string_view text) {
  if (3 * size() >= 2 * slots_.size()) grow();
  int32_t& slot = slots_[slot_of(text)];
  if (slot >= 0) return slot;
  if (size() == INT32_MAX)
    throw Error("there are more than " + std::to_string(INT32_MAX) +
                " ids: expected as many as an int32 can number");
  slot = static_cast<int32_t>(size());
  texts_ += text;
  ends_.push_back(texts_.size());
  return slot;
}

int32_t Ids::find(std::string_view text) const {
  return slots_.empty() ? -1 : slots_[slot_of(text)];
}

std::string id_map_text(const std::string& title, const std::string& number_title,
                        const std::vector<std::string_view>& ids) {
  std::string text = title + '\t' + number_title + '\n';
  for (size_t k = 0; k < ids.size(); ++k)
    text += tsv_field(ids[k]) + '\t' + std::to_string(k) + '\n';
  return text;
}

std::vector<std::string> read_id_map(const std::filesystem::path& path, int64_t n) {
  RecordReader records(path, "a map of original ids");
  std::vector<std::string> ids(static_cast<size_t>(n));
  std::vector<char> has(ids.size());
  Ids seen;
  Fields fields;
  records.next(fields);  // the header
  while (records.next(fields)) {
    int64_t number = -1;
    if (fields.size() != 2 || fields[0].empty() || !parse(fields[1], number) || number < 0)
      throw Error(records.where() + ": expected an original id and its number");
    const size_t before = seen.size();
    if (static_cast<size_t>(seen.number(fields[0])) != before)
      throw Error(records.where() + ": the id " + in_quotes(fields[0]) +
                  " stands twice: expected it once");
    if (number >= n) continue;
    if (has[static_cast<size_t>(number)]++)
      throw Error(records.where() + ": the number " + std::to_string(number) +
                  " stands twice: expected it once");
    ids[static_cast<size_t>(number)] = fields[0];
  }
  for (size_t k = 0; k < has.size(); ++k)
    if (!has[k])
      throw Error(records.name() + " has no id of number " + std::to_string(k) +
                  ": expected one for each number below " + std::to_string(n));
  return ids;
}

}  // namespace bm3
