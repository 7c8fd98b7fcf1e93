#include "data/inter.h"

#include <algorithm>
#include <unordered_map>

#include "data/open_file.h"
#include "random.h"
#include "text.h"

namespace bm3 {
namespace {

[[noreturn]] void fail(const std::string& name, size_t line, const std::string& what) {
  throw Error(name + ":" + std::to_string(line) + ": " + what);
}

/// Cuts a line without its line end off the front of `text`.
std::string_view next_line(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

void split_fields(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (size_t tab; (tab = line.find('\t')) != std::string_view::npos; line.remove_prefix(tab + 1))
    fields.push_back(line.substr(0, tab));
  fields.push_back(line);
}

constexpr size_t absent = static_cast<size_t>(-1);

struct Columns {
  size_t count, user, item, label;
};

/// `column` in small letters, without blanks, _ and -.
std::string plain(std::string_view column) {
  std::string out;
  for (const char c : column)
    if (c != ' ' && c != '_' && c != '-') out += c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
  return out;
}

/// Returns where `wanted` stands, or `absent`. Throws where it stands twice, or is misspelt.
size_t find_column(const std::vector<std::string_view>& columns, const std::string& wanted,
                   const std::string& name) {
  const auto at = std::find(columns.begin(), columns.end(), wanted);
  if (std::count(columns.begin(), columns.end(), wanted) > 1)
    fail(name, 1, "the column " + wanted + " stands twice: expected it once");
  if (at != columns.end()) return static_cast<size_t>(at - columns.begin());
  for (const auto& column : columns)
    if (plain(column) == plain(wanted))
      fail(name, 1, in_quotes(column) + " in the header: did you mean " + wanted + "?");
  return absent;
}

Columns parse_header(std::string_view line, const std::string& name) {
  if (line.find('\r') != std::string_view::npos)
    fail(name, 1, "has lines that end in \\r alone: expected \\n or \\r\\n");
  std::vector<std::string_view> columns;
  split_fields(line, columns);
  for (auto& column : columns) {
    column.remove_prefix(std::min(column.find_first_not_of(' '), column.size()));
    column = column.substr(0, column.find_last_not_of(' ') + 1);
  }
  const size_t user = find_column(columns, "userID", name);
  const size_t item = find_column(columns, "itemID", name);
  if (user == absent || item == absent)
    fail(name, 1,
         "no column " + std::string(user == absent ? "userID" : "itemID") + " in the header " +
             in_quotes(line) + ": expected tab-separated names with userID and itemID");
  return {columns.size(), user, item, find_column(columns, "x_label", name)};
}

/// What a file's lines hold; line k of the file (from 1) is row k - 2 here.
struct Rows {
  std::vector<Interaction> pairs;
  std::vector<int8_t> labels;  // empty without x_label
};

Rows parse_rows(std::string_view text, const Columns& columns, const std::string& name) {
  Rows rows;
  std::vector<std::string_view> fields;
  size_t line = 2;
  const auto number = [&](size_t at, const char* column, int32_t most, const char* expected) {
    int32_t value = 0;
    if (!parse(fields[at], value) || value < 0 || value > most)
      fail(name, line,
           std::string(column) + " is " + in_quotes(fields[at]) + ": expected " + expected);
    return value;
  };
  const char* const any = "a whole number from 0 to 2147483647";
  for (; !text.empty(); ++line) {
    const std::string_view row = next_line(text);
    if (row.empty()) fail(name, line, "is blank: expected an interaction");
    split_fields(row, fields);
    if (fields.size() != columns.count)
      fail(name, line,
           "has " + std::to_string(fields.size()) + " fields: expected " +
               std::to_string(columns.count) + ", as in the header");
    rows.pairs.push_back({number(columns.user, "userID", INT32_MAX, any),
                          number(columns.item, "itemID", INT32_MAX, any)});
    if (columns.label != absent)
      rows.labels.push_back(static_cast<int8_t>(
          number(columns.label, "x_label", 2, "0 (train), 1 (validation) or 2 (test)")));
  }
  return rows;
}

/// Throws for a number far beyond what so few interactions need, and for a pair that occurs twice.
void check_pairs(const std::vector<Interaction>& pairs, const std::string& name) {
  const int64_t limit = 1000 + 10 * static_cast<int64_t>(pairs.size());
  std::unordered_map<int64_t, size_t> line_of;
  for (size_t k = 0; k < pairs.size(); ++k) {
    const auto [user, item] = pairs[k];
    const size_t line = k + 2;
    for (const auto& [number, column] : {std::pair{user, "userID"}, {item, "itemID"}})
      if (number >= limit)
        fail(name, line,
             std::string(column) + " is " + std::to_string(number) + ": with " +
                 std::to_string(pairs.size()) + " interactions, expected a number below " +
                 std::to_string(limit));
    const auto [first, is_new] = line_of.emplace(int64_t{user} << 32 | int64_t{item}, line);
    if (!is_new)
      fail(name, line,
           "user " + std::to_string(user) + " and item " + std::to_string(item) +
               " stand in line " + std::to_string(first->second) +
               " already: expected each pair once");
  }
}

/// Puts each pair into the part that its label (0, 1 or 2) says.
void distribute(Interactions& data, const std::vector<Interaction>& pairs,
                const std::vector<int8_t>& labels) {
  std::vector<Interaction>* const parts[] = {&data.train, &data.valid, &data.test};
  for (size_t k = 0; k < pairs.size(); ++k) parts[labels[k]]->push_back(pairs[k]);
}

}  // namespace

void split_by_user(Interactions& data, const std::vector<Interaction>& all, uint64_t seed) {
  std::vector<std::vector<size_t>> of_user(static_cast<size_t>(data.n_users));
  for (size_t k = 0; k < all.size(); ++k) of_user[static_cast<size_t>(all[k].user)].push_back(k);
  std::vector<int8_t> label(all.size());
  for (size_t u = 0; u < of_user.size(); ++u) {
    auto& rows = of_user[u];
    for (size_t n = rows.size(); n > 1; --n) {
      const Random4 random = philox(seed, Stream::split, static_cast<uint32_t>(u), n);
      std::swap(rows[n - 1], rows[random.x[0] % n]);
    }
    const size_t n = rows.size(), held = n < 3 ? 0 : std::max<size_t>(1, (n + 5) / 10);
    for (size_t k = 0; k < 2 * held; ++k) label[rows[k]] = k < held ? 1 : 2;
  }
  distribute(data, all, label);
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
  const Columns columns = parse_header(next_line(text), name);
  const Rows rows = parse_rows(text, columns, name);
  check_pairs(rows.pairs, name);

  Interactions data;
  for (const auto& [user, item] : rows.pairs) {
    data.n_users = std::max<int64_t>(data.n_users, user + int64_t{1});
    data.n_items = std::max<int64_t>(data.n_items, item + int64_t{1});
  }
  check_node_count(data.n_users, data.n_items, name);
  if (columns.label == absent) {
    split_by_user(data, rows.pairs, seed);
    data.drawn = true;
    if (data.valid.empty())
      throw Error(name + " has no user with three interactions: expected some, to split 8:1:1");
  } else {
    distribute(data, rows.pairs, rows.labels);
  }
  for (const auto& [part, title] : {std::pair{&data.train, "training (x_label 0)"},
                                    {&data.valid, "validation (x_label 1)"},
                                    {&data.test, "test (x_label 2)"}})
    if (part->empty())
      throw Error(name + " leaves the " + title +
                  " split empty: expected at least one interaction");
  return data;
}

Interactions read_inter(const std::filesystem::path& path, uint64_t seed) {
  std::ifstream file = open_file(path, "an .inter file to read");
  file.seekg(0, std::ios::end);
  std::string text(static_cast<size_t>(std::max<std::streamoff>(file.tellg(), 0)), '\0');
  file.seekg(0);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) throw Error("cannot read " + path.string());
  return parse_inter(text, path.string(), seed);
}

}  // namespace bm3
