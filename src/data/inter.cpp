#include "data/inter.h"

#include <algorithm>
#include <unordered_set>

#include "data/lines.h"
#include "error.h"
#include "random.h"
#include "text.h"

namespace bm3 {
namespace {

/// Where three of the columns stand; label = count, the number of columns, without x_label.
struct Columns {
  size_t count, user, item, label;
};

Columns find_columns(Fields columns, const std::string& where) {
  const std::string header = in_quotes(join({columns.begin(), columns.end()}, " "));
  for (auto& column : columns) column = without_blanks(column);
  const auto find = [&](const std::string& wanted) {
    const auto at = std::find(columns.begin(), columns.end(), wanted);
    if (std::count(at, columns.end(), wanted) > 1)
      throw Error(where, ": the column ", wanted, " stands twice: expected it once");
    for (const auto& column : columns)
      if (at == columns.end() && plain(column.substr(0, column.find(':'))) == plain(wanted))
        throw Error(where, ": ", in_quotes(column), " in the header: did you mean ", wanted, "?");
    if (at == columns.end() && wanted != "x_label")
      throw Error(where, ": no column ", wanted, " in the header ", header,
                  ": expected tab-separated names with userID and itemID");
    return static_cast<size_t>(at - columns.begin());
  };
  return {columns.size(), find("userID"), find("itemID"), find("x_label")};
}

/// Puts each record into the part that its x_label says; without one, into train.
void read_rows(RecordReader& records, const Columns& columns, Interactions& data) {
  std::vector<Interaction>* const parts[] = {&data.train, &data.valid, &data.test};
  std::unordered_set<int64_t> pairs;
  std::string repeat;  // what is wrong with the first line that repeats a pair
  size_t repeats = 0;
  for (Fields fields; records.next(fields);) {
    const auto number = [&](size_t column, int32_t last, const char* title, const char* expected) {
      int32_t value = 0;
      if (!parse(fields[column], value) || value < 0 || value > last)
        throw Error(records.where(), ": ", title, " is ", in_quotes(fields[column]), ": expected ",
                    expected);
      return value;
    };
    const int32_t user = number(columns.user, INT32_MAX, "userID", "a whole number from 0"),
                  item = number(columns.item, INT32_MAX, "itemID", "a whole number from 0");
    const int32_t label = columns.label == columns.count
                              ? 0
                              : number(columns.label, 2, "x_label",
                                       "0 (train), 1 (validation) or 2 (test)");
    if (!pairs.insert(int64_t{user} << 32 | item).second && repeats++ == 0)
      repeat = concat(records.where(), ": user ", user, " and item ", item,
                      " stand in an earlier line");
    data.n_users = std::max(data.n_users, size_t{1} + user);
    data.n_items = std::max(data.n_items, size_t{1} + item);
    parts[label]->push_back({user, item});
  }
  if (repeats > 0)
    throw Error(repeat, " (such lines: ", repeats,
                "): expected each pair once (`bm3 import` merges them)");
}

/// Shuffles a user's rows, drawn from (seed, user) (Fisher and Yates).
void shuffle(std::vector<size_t>& rows, uint64_t seed, size_t user) {
  for (size_t n = rows.size(); n > 1; --n) {
    const Random4 random = philox(seed, Stream::split, static_cast<uint32_t>(user), n);
    std::swap(rows[n - 1], rows[random.x[0] % n]);
  }
}

}  // namespace

Interactions split_by_user(size_t n_users, size_t n_items, const std::vector<Interaction>& all,
                           uint64_t seed, const std::function<double(size_t)>& time) {
  Interactions data;
  data.n_users = n_users;
  data.n_items = n_items;
  std::vector<std::vector<size_t>> rows(n_users);
  for (size_t k = 0; k < all.size(); ++k) rows[all[k].user].push_back(k);
  std::vector<Interaction>* const parts[] = {&data.train, &data.valid, &data.test};
  std::vector<int> part(all.size());
  for (size_t u = 0; u < rows.size(); ++u) {
    std::vector<size_t>& own = rows[u];
    if (time)
      std::stable_sort(own.begin(), own.end(),
                       [&](size_t a, size_t b) { return time(a) < time(b); });
    else
      shuffle(own, seed, u);
    const size_t n = own.size(), held = n < 3 ? 0 : n < 10 ? 2 : n / 5;
    for (size_t k = n - held; k < n; ++k) part[own[k]] = k < n - held + held / 2 ? 1 : 2;
  }
  for (size_t k = 0; k < all.size(); ++k) parts[part[k]]->push_back(all[k]);
  return data;
}

void check_node_count(size_t n_users, size_t n_items, const std::string& name) {
  if (n_users + n_items > INT32_MAX)
    throw Error(name, " has ", n_users, " users and ", n_items, " items: expected at most ",
                INT32_MAX, " of both together");
}

Interactions read_inter(const std::filesystem::path& path, uint64_t seed) {
  RecordReader records(path, "an .inter file to read");
  const std::string name = path.string();
  Fields header;
  if (!records.next(header))
    throw Error(name, " is empty: expected a header line and interactions");
  const Columns columns = find_columns(header, records.where());
  Interactions data;
  read_rows(records, columns, data);
  const size_t most = 1000 + 10 * data.size(), found = std::max(data.n_users, data.n_items);
  if (found > most)
    throw Error(name, " has numbers up to ", found - 1, ": expected them below ", most,
                " (1000 + 10 * ", data.size(), " interactions)");
  check_node_count(data.n_users, data.n_items, name);
  if (columns.label == columns.count) {
    data = split_by_user(data.n_users, data.n_items, data.train, seed);
    data.drawn = true;
    if (data.valid.empty())
      throw Error(name, " has no user with three interactions: expected some, to split 8:1:1");
  }
  if (data.train.empty())
    throw Error(name, " leaves the training (x_label 0) split empty: expected at least one "
                "interaction");
  return data;
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
      text += concat(user, "\t", item, "\t", label, "\n");
  return text;
}

}  // namespace bm3
