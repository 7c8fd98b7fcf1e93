#pragma once
// Makes a data set of ratings and features as people have them: who took what, and when; features
// of items by their original ids.
#include <deque>
#include <functional>
#include <string_view>
#include <unordered_map>

#include "data/inter.h"

namespace bm3 {

/// Texts, numbered from 0 in the order in which they come.
class Ids {
 public:
  Ids() = default;
  Ids(Ids&&) = default;  // a copy's numbers would be those of this object's texts
  Ids& operator=(Ids&&) = default;
  /// Returns the number of a text, which is the next one where it is new. Throws beyond int32_t.
  int32_t number(std::string_view text);
  /// Returns the number of a text, or -1.
  int32_t find(std::string_view text) const;
  const std::string& operator[](size_t number) const { return texts_[number]; }
  const std::deque<std::string>& texts() const { return texts_; }
  size_t size() const { return texts_.size(); }

 private:
  std::deque<std::string> texts_;  // which stay where they are
  std::unordered_map<std::string_view, int32_t> numbers_;
};

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

/// Reads a file of one of the forms that data/README.md names; times where `with_time`. Throws,
/// with the line: columns that are not there; what is no JSON object; a time that is no number.
/// Throws as RecordReader does, and for a file without ratings.
Ratings read_ratings(const std::filesystem::path& path, const RatingColumns& columns,
                     bool with_time);

/// A modality's features. `ids`, a line for each row, is there for an .npy file and for no other.
struct FeatureSource {
  std::string modality;
  std::filesystem::path file, ids;
};

struct ItemFeatures {
  size_t dim = 0;
  std::vector<float> rows;  // [n_items, dim]
  size_t missing = 0;       // items that the file lacks, which have the mean of the others
};

/// Reads the features of items 0 .. n_items - 1; `item_of` gives the number of an id, or -1. The
/// file's name tells its form, as data/README.md says. Throws, with the place, for what does not
/// fit, and where no item is in it.
ItemFeatures read_item_features(const FeatureSource& source, size_t n_items,
                                const std::function<int32_t(std::string_view)>& item_of);

struct ImportSpec {
  std::filesystem::path ratings;
  RatingColumns columns;
  size_t core = 5;       // least interactions of a user and of an item
  bool by_time = false;  // the split; else at random
  uint64_t seed = 999;   // of a split at random
  std::vector<FeatureSource> features;
};

/// Merges the ratings that have a user and an item together: the first of them stays, with the
/// earliest time. Returns how many went.
size_t merge_repeated(Ratings& ratings);

/// Removes users and items with fewer than `core` ratings until none has: in each round, those that
/// had fewer when it began.
void keep_core(Ratings& ratings, size_t core);

/// Reads what `spec` names and writes the new or empty folder/name in the layout that
/// `load_dataset` reads, with maps of the original ids; users and items are numbered in the order
/// in which they come. Passes `tell` a line for each thing done. Throws as the readers do, where no
/// rating is left, where validation and test are empty, and where the folder cannot be written;
/// then, and when interrupted, no part of it is left.
void import_dataset(const ImportSpec& spec, const std::string& name,
                    const std::filesystem::path& folder,
                    const std::function<void(const std::string&)>& tell);

}  // namespace bm3
