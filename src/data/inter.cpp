#include "data/inter.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "data/files.h"
#include "random.h"
#include "text.h"

namespace bm3 {
namespace {

using Texts = std::vector<std::string_view>;

[[noreturn]] void fail(const std::string& name, size_t line, const std::string& what) {
  throw Error(name + ":" + std::to_string(line) + ": " + what);
}

/// pieces = what stands between the separators.
void split_at(char separator, std::string_view text, Texts& pieces) {
  pieces.clear();
  for (size_t at; (at = text.find(separator)) != text.npos; text.remove_prefix(at + 1))
    pieces.push_back(text.substr(0, at));
  pieces.push_back(text);
}

/// How many columns there are and where three of them stand; label = count without x_label.
struct Columns {
  size_t count, user, item, label;
};

Columns parse_header(std::string_view line, const std::string& name) {
  if (line.find('\r') != line.npos)
    fail(name, 1, "has lines that end in \\r alone: expected \\n or \\r\\n");
  Texts columns;
  split_at('\t', line, columns);
  for (auto& column : columns) {
    column.remove_prefix(std::min(column.find_first_not_of(' '), column.size()));
    column = column.substr(0, column.find_last_not_of(' ') + 1);
  }
  const auto find = [&](const std::string& wanted) {
    const auto at = std::find(columns.begin(), columns.end(), wanted);
    if (std::count(at, columns.end(), wanted) > 1)
      fail(name, 1, "the column " + wanted + " stands twice: expected it once");
    for (const auto& column : columns)
      if (at == columns.end() && plain(column.substr(0, column.find(':'))) == plain(wanted))
        fail(name, 1, in_quotes(column) + " in the header: did you mean " + wanted + "?");
    if (at == columns.end() && wanted != "x_label")
      fail(name, 1, "no column " + wanted + " in the header " + in_quotes(line) +
                        ": expected tab-separated names with userID and itemID");
    return static_cast<size_t>(at - columns.begin());
  };
  return {columns.size(), find("userID"), find("itemID"), find("x_label")};
}

/// Returns the number from 0 to `last` that `text` is.
int32_t read_number(const std::string& name, size_t line, const char* title, std::string_view text,
                    int64_t last, const std::string& expected) {
  int32_t value = 0;
  if (!parse(text, value) || value < 0 || value > last)
    fail(name, line, std::string(title) + " is " + in_quotes(text) + ": expected " + expected);
  return value;
}

/// Puts each line but the header into the part that its x_label says; without one, into train.
Interactions parse_rows(const Texts& lines, const Columns& columns, const std::string& name) {
  Interactions data;
  std::vector<Interaction>* const parts[] = {&data.train, &data.valid, &data.test};
  const size_t rows = lines.size() - 1;
  const int64_t most = std::min<int64_t>(INT32_MAX, 999 + 10 * static_cast<int64_t>(rows));
  const std::string labels = "0 (train), 1 (validation) or 2 (test)",
                    numbers = "a whole number from 0 to " + std::to_string(most) + " (999 + 10 * " +
                              std::to_string(rows) + " interactions)";
  std::unordered_map<int64_t, size_t> line_of;
  line_of.reserve(rows);
  std::string repeat;  // what is wrong with the first line that repeats a pair
  size_t repeat_line = 0, repeats = 0;
  Texts fields;
  for (size_t line = 2; line <= lines.size(); ++line) {
    if (lines[line - 1].empty()) fail(name, line, "is blank: expected an interaction");
    split_at('\t', lines[line - 1], fields);
    if (fields.size() != columns.count)
      fail(name, line, "has " + std::to_string(fields.size()) + " fields: expected " +
                           std::to_string(columns.count) + ", as in the header");
    const auto number = [&](size_t column, const char* title, int64_t last,
                            const std::string& expected) {
      return read_number(name, line, title, fields[column], last, expected);
    };
    const int32_t user = number(columns.user, "userID", most, numbers),
                  item = number(columns.item, "itemID", most, numbers);
    int32_t label = 0;
    if (columns.label < columns.count) label = number(columns.label, "x_label", 2, labels);
    const auto [first, is_new] = line_of.emplace(int64_t{user} << 32 | int64_t{item}, line);
    if (!is_new && repeats++ == 0) {
      repeat_line = line;
      repeat = "user " + std::to_string(user) + " and item " + std::to_string(item) +
               " stand in line " + std::to_string(first->second) + " already";
    }
    data.n_users = std::max(data.n_users, user + int64_t{1});
    data.n_items = std::max(data.n_items, item + int64_t{1});
    parts[label]->push_back({user, item});
  }
  if (repeats > 0)
    fail(name, repeat_line, repeat + " (such lines: " + std::to_string(repeats) +
                                "): expected each pair once (`bm3 import` merges them)");
  return data;
}

}  // namespace

void shuffle_rows(std::vector<size_t>& rows, uint64_t seed, size_t user) {
  for (size_t n = rows.size(); n > 1; --n) {
    const Random4 random = philox(seed, Stream::split, static_cast<uint32_t>(user), n);
    std::swap(rows[n - 1], rows[random.x[0] % n]);
  }
}

void split_by_user(Interactions& data, const std::vector<Interaction>& all, uint64_t seed) {
  std::vector<std::vector<size_t>> of_user(static_cast<size_t>(data.n_users));
  for (size_t k = 0; k < all.size(); ++k) of_user[static_cast<size_t>(all[k].user)].push_back(k);
  std::vector<std::vector<Interaction>*> part(all.size(), &data.train);
  for (size_t u = 0; u < of_user.size(); ++u) {
    auto& rows = of_user[u];
    shuffle_rows(rows, seed, u);
    const size_t n = rows.size(), held = n < 3 ? 0 : std::max<size_t>(1, (n + 5) / 10);
    for (size_t k = 0; k < 2 * held; ++k) part[rows[k]] = k < held ? &data.valid : &data.test;
  }
  for (size_t k = 0; k < all.size(); ++k) part[k]->push_back(all[k]);
}

void check_node_count(int64_t n_users, int64_t n_items, const std::string& name) {
  if (n_users + n_items > INT32_MAX)
    throw Error(name + " has " + std::to_string(n_users) + " users and " +
                std::to_string(n_items) + " items: expected at most " + std::to_string(INT32_MAX) +
                " of both together");
}

Interactions parse_inter(std::string_view text, const std::string& name, uint64_t seed) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);  // byte order mark
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (text.empty()) throw Error(name + " is empty: expected a header line and interactions");
  Texts lines;
  split_at('\n', text, lines);
  for (auto& line : lines)
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  const Columns columns = parse_header(lines[0], name);
  Interactions data = parse_rows(lines, columns, name);
  check_node_count(data.n_users, data.n_items, name);
  data.drawn = columns.label == columns.count;
  if (data.drawn) {
    split_by_user(data, std::exchange(data.train, {}), seed);
    if (data.valid.empty())
      throw Error(name + " has no user with three interactions: expected some, to split 8:1:1");
  }
  if (data.train.empty())
    throw Error(name + " leaves the training (x_label 0) split empty: expected at least one "
                "interaction");
  return data;
}

Interactions read_inter(const std::filesystem::path& path, uint64_t seed) {
  std::ifstream file = open_file(path, "an .inter file to read");
  std::string text(std::filesystem::file_size(path), '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size())))
    throw Error("cannot read " + path.string() + ": did it change while it was open?");
  return parse_inter(text, path.string(), seed);
}

uint64_t checksum(const Interactions& data) {
  uint64_t hash = 14695981039346656037U;
  for (const auto* part : {&data.train, &data.valid, &data.test})
    for (const auto& [user, item] : *part)
      for (const int32_t number : {user, item})
        hash = (hash ^ static_cast<uint32_t>(number)) * 1099511628211U;
  return hash;
}

std::string inter_text(const Interactions& data) {
  std::string text = "userID\titemID\tx_label\n";
  const std::vector<Interaction>* parts[] = {&data.train, &data.valid, &data.test};
  for (int label = 0; label < 3; ++label)
    for (const auto& [user, item] : *parts[label])
      text += shortest(user) + '\t' + shortest(item) + '\t' + shortest(label) + '\n';
  return text;
}

}  // namespace bm3
