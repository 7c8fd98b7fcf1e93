#include "data/ids.h"

#include "data/lines.h"
#include "error.h"
#include "text.h"

namespace bm3 {

int32_t Ids::number(std::string_view text) {
  if (const int32_t known = find(text); known >= 0) return known;
  if (size() == INT32_MAX)
    throw Error("there are more than " + std::to_string(INT32_MAX) +
                " ids: expected as many as an int32 can number");
  const auto number = static_cast<int32_t>(size());
  numbers_.emplace(texts_.emplace_back(text), number);
  return number;
}

int32_t Ids::find(std::string_view text) const {
  const auto at = numbers_.find(text);
  return at == numbers_.end() ? -1 : at->second;
}

std::string id_map_text(const std::string& title, const std::string& number_title,
                        const std::vector<std::string>& ids) {
  std::string text = title + '\t' + number_title + '\n';
  for (size_t k = 0; k < ids.size(); ++k)
    text += tsv_field(ids[k]) + '\t' + std::to_string(k) + '\n';
  return text;
}

std::vector<std::string> read_id_map(const std::filesystem::path& path, int64_t n) {
  RecordReader records(path, "a map of original ids");
  std::vector<std::string> ids(static_cast<size_t>(n));
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
    std::string& id = ids[static_cast<size_t>(number)];
    if (!id.empty())
      throw Error(records.where() + ": the number " + std::to_string(number) +
                  " stands twice: expected it once");
    id = fields[0];
  }
  for (size_t k = 0; k < ids.size(); ++k)
    if (ids[k].empty())
      throw Error(records.name() + " has no id of number " + std::to_string(k) +
                  ": expected one for each number below " + std::to_string(n));
  return ids;
}

}  // namespace bm3
