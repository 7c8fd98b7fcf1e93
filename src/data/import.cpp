#include "data/import.h"

#include <algorithm>
#include <utility>

#include "data/dataset.h"
#include "data/files.h"
#include "error.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

/// Numbers what occurs in `rows` anew, from 0 in the order of the rows. Returns its ids.
Ids renumber(std::vector<Rating>& rows, int32_t Rating::* number, const Ids& ids) {
  Ids out;
  std::vector<int32_t> new_of(ids.size(), -1);
  for (Rating& r : rows) {
    int32_t& renumbered = new_of[r.*number];
    if (renumbered < 0) renumbered = out.number(ids[r.*number]);
    r.*number = renumbered;
  }
  return out;
}

using Tell = std::function<void(const std::string&)>;

/// The ratings that are to be split, with the users and items that they have.
Ratings ratings_of(const ImportSpec& spec, const Tell& tell) {
  Ratings ratings = read_ratings(spec.ratings, spec.columns, spec.by_time);
  const size_t read = ratings.rows.size(), merged = merge_repeated(ratings);
  tell(concat("ratings      ", read, " of ", ratings.users.size(), " users and ",
              ratings.items.size(), " items; ", merged, " repeat a pair and are merged, ",
              ratings.incomplete, " lines lack a user",
              spec.by_time ? ", an item or a time" : " or an item", " and are left out"));
  keep_core(ratings, spec.core);
  tell(concat("core         ", read - merged - ratings.rows.size(),
              " ratings fall out, of users or items with fewer than ", spec.core));
  if (ratings.rows.empty())
    throw Error(spec.ratings, " has no user and item left with ", spec.core,
                " ratings each: expected a smaller --core");
  if (ratings.rows.size() < read - merged) {  // else every user and item is left
    ratings.users = renumber(ratings.rows, &Rating::user, ratings.users);
    ratings.items = renumber(ratings.rows, &Rating::item, ratings.items);
  }
  return ratings;
}

/// Reads every modality's features of the items.
std::vector<Modality> modalities_of(const ImportSpec& spec, const Ids& items, const Tell& tell) {
  std::vector<Modality> modalities;
  for (const FeatureSource& source : spec.features) {
    ItemFeatures x = read_item_features(source, items.size(),
                                        [&](std::string_view id) { return items.find(id); });
    tell(concat("features     ", source.modality, ": ", x.dim, "-d; ", x.missing, " of ",
                items.size(), " items without features, which get the mean of the others"));
    const auto rows = std::make_shared<std::vector<float>>(std::move(x.rows));
    modalities.push_back({source.modality, x.dim,
                          [rows, dim = x.dim](size_t first, size_t count, float* out) {
                            std::copy_n(rows->data() + first * dim, count * dim, out);
                          }});
  }
  return modalities;
}

/// Splits the ratings. Throws where nothing is held out.
Interactions split(const std::vector<Rating>& rows, size_t n_users, size_t n_items,
                   const ImportSpec& spec) {
  std::vector<Interaction> all;
  for (const Rating& row : rows) all.push_back({row.user, row.item});
  std::function<double(size_t)> time;
  if (spec.by_time) time = [&](size_t row) { return rows[row].time; };
  Interactions data = split_by_user(n_users, n_items, all, spec.seed, time);
  if (data.test.empty())
    throw Error(spec.ratings,
                " leaves no user with three ratings: expected some, to split 8:1:1");
  return data;
}

}  // namespace

int32_t Ids::number(std::string_view text) {
  if (const int32_t known = find(text); known >= 0) return known;
  if (size() == INT32_MAX)
    throw Error("there are more than ", INT32_MAX, " ids: expected as many as an int32 can number");
  const auto number = static_cast<int32_t>(size());
  numbers_.emplace(texts_.emplace_back(text), number);
  return number;
}

int32_t Ids::find(std::string_view text) const {
  const auto at = numbers_.find(text);
  return at == numbers_.end() ? -1 : at->second;
}

size_t merge_repeated(Ratings& ratings) {
  std::vector<Rating>& rows = ratings.rows;
  std::vector<std::pair<int64_t, size_t>> places;  // of each pair of user and item
  places.reserve(rows.size());
  for (size_t k = 0; k < rows.size(); ++k)
    places.emplace_back(int64_t{rows[k].user} << 32 | rows[k].item, k);
  std::sort(places.begin(), places.end());
  for (size_t k = 1, first = 0; k < places.size(); ++k) {
    if (places[k].first != places[first].first) {
      first = k;
      continue;
    }
    double& earliest = rows[places[first].second].time;
    earliest = std::min(earliest, rows[places[k].second].time);
    rows[places[k].second].user = -1;
  }
  const size_t before = rows.size();
  rows.erase(std::remove_if(rows.begin(), rows.end(), [](const Rating& r) { return r.user < 0; }),
             rows.end());
  return before - rows.size();
}

void keep_core(Ratings& ratings, size_t core) {
  std::vector<Rating>& rows = ratings.rows;
  size_t before = 0;
  do {
    std::vector<size_t> of_user(ratings.users.size()), of_item(ratings.items.size());
    for (const Rating& r : rows) ++of_user[r.user], ++of_item[r.item];
    const auto falls_out = [&](const Rating& r) {
      return of_user[r.user] < core || of_item[r.item] < core;
    };
    before = rows.size();
    rows.erase(std::remove_if(rows.begin(), rows.end(), falls_out), rows.end());
  } while (rows.size() < before);
}

void import_dataset(const ImportSpec& spec, const std::string& name, const fs::path& folder,
                    const Tell& tell) {
  PartFolder{folder / name};  // throws now rather than at the end
  Ratings ratings = ratings_of(spec, tell);
  const size_t n_users = ratings.users.size(), n_items = ratings.items.size();
  check_node_count(n_users, n_items, spec.ratings.string());
  Dataset data;
  data.name = name;
  data.interactions = split(ratings.rows, n_users, n_items, spec);
  std::vector<Rating>().swap(ratings.rows);  // the largest part of the memory
  const Interactions& x = data.interactions;
  tell(concat("split        ", n_users, " users, ", n_items, " items; ", x.train.size(),
              " interactions for training, ", x.valid.size(), " for validation, ", x.test.size(),
              " for test, by ", spec.by_time ? "time" : concat("seed ", spec.seed)));
  data.modalities = modalities_of(spec, ratings.items, tell);
  data.user_ids = {ratings.users.texts().begin(), ratings.users.texts().end()};
  data.item_ids = {ratings.items.texts().begin(), ratings.items.texts().end()};
  write_dataset(data, folder);
}

}  // namespace bm3
