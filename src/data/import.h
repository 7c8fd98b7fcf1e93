#pragma once
// Makes a data set of ratings and features as people have them.
#include "data/inter.h"
#include "data/item_features.h"
#include "data/ratings.h"

namespace bm3 {

struct ImportSpec {
  std::filesystem::path ratings;
  RatingColumns columns;
  int64_t core = 5;      // least interactions of a user and of an item
  bool by_time = false;  // the split; else at random
  uint64_t seed = 999;   // of a split at random
  std::vector<FeatureSource> features;
};

/// Merges the ratings that have a user and an item together: the first of them stays, with the
/// earliest time. Returns how many went.
size_t merge_repeated(Ratings& ratings);

/// Says what a round took: the users and items that fell out, and the ratings that are left.
using Round = std::function<void(size_t users, size_t items, size_t left)>;

/// Removes users and items with fewer than `core` ratings until none has: in each round, those that
/// had fewer when it began.
void keep_core(Ratings& ratings, int64_t core, const Round& tell);

/// Reads what `spec` names and writes the new or empty folder/name in the layout that
/// `load_dataset` reads, with maps of the original ids; users and items are numbered in the order
/// in which they come. Passes `tell` a line for each thing done. Throws as the readers do, where no
/// rating is left, where validation and test are empty, and where the folder cannot be written;
/// then, and when interrupted, no part of it is left.
void import_dataset(const ImportSpec& spec, const std::string& name,
                    const std::filesystem::path& folder,
                    const std::function<void(const std::string&)>& tell);

}  // namespace bm3
