#pragma once
// Ratings as people have them: who took what, and when.
#include "data/ids.h"

namespace bm3 {

/// Which columns hold the user, the item and the time. Names stand in the first line, or are keys
/// of JSON objects; of numbers, from 1, a file has no such line. Empty: found by usual names.
struct RatingColumns {
  std::string user, item, time;
};

struct Rating {
  int32_t user, item;  // numbers in Ratings::users and items
  double time;         // 0 where it was not asked for
};

struct Ratings {
  Ids users, items;
  std::vector<Rating> rows;  // in the order of the file
  size_t incomplete = 0;     // lines without a user, an item or, if asked for, a time: left out
};

/// Reads CSV, TSV or a JSON object a line, each also compressed by gzip. Without names or numbers,
/// columns are those named userID, itemID, timestamp, reviewerID, asin, unixReviewTime or nearly so
/// (and RecBole's, as user_id:token); or the file is Amazon's, without names: user, item, rating,
/// time. Times are read where `with_time`.
/// Throws, with the line: columns that are not there; what is no JSON object; a time that is no
/// number. Throws as RecordReader does, and for a file without ratings.
Ratings read_ratings(const std::filesystem::path& path, const RatingColumns& columns,
                     bool with_time);

}  // namespace bm3
