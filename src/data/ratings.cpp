#include "data/import.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "data/lines.h"
#include "error.h"
#include "text.h"

namespace bm3 {
namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;
constexpr const char* a_file = "a file of ratings";

/// A column: what it is to hold, the name or number that was given, and usual names as `plain`
/// writes them.
struct Role {
  const char* title;
  std::string wanted;
  std::vector<std::string> usual;
};

using Roles = std::vector<Role>;    // user, item and, if asked for, time
using Places = std::vector<size_t>;  // of the roles' columns

/// A column's name without RecBole's type: user_id of user_id:token.
std::string bare(const std::string& name) { return name.substr(0, name.find(':')); }

std::string list_of_names(const Words& names) { return in_quotes(join(names, " ")); }

/// Finds the role's column by its name, the one that was given or a usual one.
size_t place_by_name(const Role& role, const Words& names, const std::string& where) {
  const bool given = !role.wanted.empty();
  for (const auto& wanted : given ? Words{role.wanted} : role.usual) {
    const auto is_it = [&](const std::string& name) {
      return given ? name == wanted || bare(name) == wanted : plain(bare(name)) == wanted;
    };
    const auto n = std::count_if(names.begin(), names.end(), is_it);
    if (given && n != 1)
      throw Error(where, n ? ": several columns are" : ": no column is", " named ",
                  in_quotes(wanted), " in ", list_of_names(names), ": expected one with the ",
                  role.title, "s");
    if (n > 0) return std::find_if(names.begin(), names.end(), is_it) - names.begin();
  }
  throw Error(where, ": no column of ", role.title, "s in ", list_of_names(names),
              ": expected --columns ", role.title, "=NAME, or a number where the first line is a "
              "rating");
}

/// Reads the number of the role's column. Throws where names stand in that line after all.
size_t place_by_number(const Role& role, const Words& fields, const std::string& where) {
  size_t number = 0;
  if (!parse(role.wanted, number) || number < 1 || number > fields.size())
    throw Error(where, ": the column of ", role.title, "s is ", in_quotes(role.wanted),
                ": expected a number from 1 to ", fields.size(), ", or --columns with names alone");
  if (std::count(role.usual.begin(), role.usual.end(), plain(bare(fields[number - 1]))))
    throw Error(where, ": names stand in ", list_of_names(fields),
                ": expected --columns with names instead of numbers");
  return number - 1;
}

/// Where the columns are by the first record of a CSV or TSV, or by the keys of the first object;
/// `has_names`: it holds their names.
Places find_places(Roles roles, const Words& first, bool is_object, const std::string& where,
                   bool& has_names) {
  const auto given = [](const Role& role) { return !role.wanted.empty(); };
  const auto by_number = [](const Role& role) {
    size_t number = 0;
    return parse(role.wanted, number);
  };
  double number;
  if (std::none_of(roles.begin(), roles.end(), given) && !is_object && first.size() == 4 &&
      parse_finite(first[2], number) && parse_finite(first[3], number))
    for (size_t k = 0; k < roles.size(); ++k)  // Amazon's ratings_X.csv
      roles[k].wanted = k == 0 ? "1" : k == 1 ? "2" : "4";
  has_names = is_object || std::none_of(roles.begin(), roles.end(), by_number);
  Places places;
  for (const Role& role : roles)
    places.push_back((has_names ? place_by_name : place_by_number)(role, first, where));
  return places;
}

/// Takes a line's fields, of the roles in their order.
void add(Ratings& ratings, const Fields& fields, const std::function<std::string()>& where) {
  Rating row{0, 0, 0};
  if (std::count(fields.begin(), fields.end(), std::string_view())) {
    ++ratings.incomplete;
    return;
  }
  if (fields.size() > 2 && !parse_finite(fields[2], row.time))
    throw Error(where(), ": the time is ", in_quotes(fields[2]), ": expected a number");
  row.user = ratings.users.number(fields[0]);
  row.item = ratings.items.number(fields[1]);
  ratings.rows.push_back(row);
}

void read_records(const std::filesystem::path& path, const Roles& roles, Ratings& ratings) {
  RecordReader records(path, a_file);
  Fields fields, chosen(roles.size());
  if (!records.next(fields)) return;
  bool has_names = false;
  const Places places =
      find_places(roles, {fields.begin(), fields.end()}, false, records.where(), has_names);
  for (bool rating = !has_names || records.next(fields); rating; rating = records.next(fields)) {
    for (size_t k = 0; k < roles.size(); ++k) chosen[k] = fields[places[k]];
    add(ratings, chosen, [&] { return records.where(); });
  }
}

/// Returns a value as text; "" where there is none.
std::string text_of(const Json& object, const std::string& key, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return "";
  if (at->is_string()) return *at;
  if (!at->is_number() || (at->is_number_float() && std::abs(at->get<double>()) >= 0x1p63))
    throw Error(where, ": ", in_quotes(key), " is ", in_quotes(at->dump()),
                ": expected text or a number below 2^63");
  return at->dump();
}

/// Reads a file of JSON objects, one a line; false where the first line is none.
bool read_objects(const std::filesystem::path& path, const Roles& roles, Ratings& ratings) {
  GzipFile lines(path, a_file);
  Words keys, texts(roles.size());
  for (std::string line; lines.read_line(line);) {
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == line.npos) continue;
    if (keys.empty() && line[begin] != '{') return false;
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object())
      throw Error(lines.where(), ": expected a JSON object, as in the first line");
    if (keys.empty()) {
      Words names;
      for (const auto& [key, value] : object.items()) names.push_back(key);
      bool has_names = true;
      for (const size_t place : find_places(roles, names, true, lines.where(), has_names))
        keys.push_back(names[place]);
    }
    for (size_t k = 0; k < keys.size(); ++k) texts[k] = text_of(object, keys[k], lines.where());
    add(ratings, {texts.begin(), texts.end()}, [&] { return lines.where(); });
  }
  return true;
}

}  // namespace

Ratings read_ratings(const std::filesystem::path& path, const RatingColumns& columns,
                     bool with_time) {
  Roles roles = {{"user", columns.user, {"userid", "user", "reviewerid"}},
                 {"item", columns.item, {"itemid", "item", "asin", "parentasin", "movieid"}}};
  if (with_time)
    roles.push_back({"time", columns.time, {"timestamp", "time", "unixreviewtime"}});
  Ratings ratings;
  if (!read_objects(path, roles, ratings)) read_records(path, roles, ratings);
  if (ratings.rows.empty())
    throw Error(path, " has no rating with a user and an item", with_time ? " and a time" : "",
                ": expected some");
  return ratings;
}

}  // namespace bm3
