#include "data/inter.h"

#include <algorithm>
#include <charconv>
#include <numeric>

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

Columns parse_header(std::string_view line, const std::string& name) {
  if (line.find('\r') != std::string_view::npos)
    fail(name, 1, "has lines that end in \\r alone: expected \\n or \\r\\n");
  std::vector<std::string_view> fields;
  split_fields(line, fields);
  const auto find = [&](std::string_view column) {
    const auto at = std::find(fields.begin(), fields.end(), column);
    if (std::count(fields.begin(), fields.end(), column) > 1)
      fail(name, 1, "the column " + std::string(column) + " stands twice: expected it once");
    return at == fields.end() ? absent : static_cast<size_t>(at - fields.begin());
  };
  const Columns columns{fields.size(), find("userID"), find("itemID"), find("x_label")};
  for (const auto& [at, column] : {std::pair{columns.user, "userID"}, {columns.item, "itemID"}})
    if (at == absent)
      fail(name, 1,
           std::string("no column ") + column + " in the header " + in_quotes(line) +
               ": expected tab-separated names with userID and itemID");
  return columns;
}

int64_t parse_number(std::string_view field, const char* column, const std::string& name,
                     size_t line) {
  int64_t value = 0;
  const auto [end, status] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (status == std::errc::invalid_argument || end != field.data() + field.size())
    fail(name, line, std::string(column) + " is " + in_quotes(field) + ": expected a whole number");
  if (status != std::errc() || value < 0 || value > INT32_MAX)
    fail(name, line,
         std::string(column) + " is " + in_quotes(field) + ": expected a number from 0 to " +
             std::to_string(INT32_MAX));
  return value;
}

/// What a file's lines hold; line k of the file (from 1) is row k - 2 here.
struct Rows {
  std::vector<Interaction> pairs;
  std::vector<int8_t> labels;  // empty without x_label
};

Rows parse_rows(std::string_view text, const Columns& columns, const std::string& name) {
  Rows rows;
  std::vector<std::string_view> fields;
  for (size_t line = 2; !text.empty(); ++line) {
    const std::string_view row = next_line(text);
    if (row.empty()) fail(name, line, "is blank: expected an interaction");
    split_fields(row, fields);
    if (fields.size() != columns.count)
      fail(name, line,
           "has " + std::to_string(fields.size()) + " fields: expected " +
               std::to_string(columns.count) + ", as in the header");
    rows.pairs.push_back(
        {static_cast<int32_t>(parse_number(fields[columns.user], "userID", name, line)),
         static_cast<int32_t>(parse_number(fields[columns.item], "itemID", name, line))});
    if (columns.label == absent) continue;
    const int64_t label = parse_number(fields[columns.label], "x_label", name, line);
    if (label > 2)
      fail(name, line,
           "x_label is " + std::to_string(label) +
               ": expected 0 (train), 1 (validation) or 2 (test)");
    rows.labels.push_back(static_cast<int8_t>(label));
  }
  return rows;
}

void check_sizes(const Rows& rows, const std::string& name) {
  const int64_t limit = 1000 + 10 * static_cast<int64_t>(rows.pairs.size());
  for (size_t k = 0; k < rows.pairs.size(); ++k)
    for (const auto& [number, column] :
         {std::pair{rows.pairs[k].user, "userID"}, {rows.pairs[k].item, "itemID"}})
      if (number >= limit)
        fail(name, k + 2,
             std::string(column) + " is " + std::to_string(number) + ": with " +
                 std::to_string(rows.pairs.size()) + " interactions, expected a number below " +
                 std::to_string(limit));
}

void check_distinct(const Rows& rows, const std::string& name) {
  std::vector<size_t> order(rows.pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto key = [&](size_t k) {
    return int64_t{rows.pairs[k].user} << 32 | int64_t{rows.pairs[k].item};
  };
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
  size_t repeat = absent, original = 0;  // the first line that repeats another
  for (size_t k = 1; k < order.size(); ++k)
    if (key(order[k]) == key(order[k - 1]) && order[k] < repeat) {
      repeat = order[k];
      original = order[k - 1];
    }
  if (repeat != absent)
    fail(name, repeat + 2,
         "user " + std::to_string(rows.pairs[repeat].user) + " and item " +
             std::to_string(rows.pairs[repeat].item) + " stand in line " +
             std::to_string(original + 2) + " already: expected each pair once");
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
  for (size_t k = 0; k < all.size(); ++k)
    (label[k] == 0 ? data.train : label[k] == 1 ? data.valid : data.test).push_back(all[k]);
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
  check_sizes(rows, name);
  check_distinct(rows, name);

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
    for (size_t k = 0; k < rows.pairs.size(); ++k)
      (rows.labels[k] == 0   ? data.train
       : rows.labels[k] == 1 ? data.valid
                             : data.test)
          .push_back(rows.pairs[k]);
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
