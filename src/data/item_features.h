#pragma once
// Features of items by their original ids.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bm3 {

/// A modality's features. `ids`, a line for each row, is there for an .npy file and for no other.
struct FeatureSource {
  std::string modality;
  std::filesystem::path file, ids;
};

struct ItemFeatures {
  int64_t dim = 0;
  std::vector<float> rows;  // [n_items, dim]
  size_t missing = 0;       // items that the file lacks, which have the mean of the others
  size_t repeated = 0;      // rows of an item that the file has again: the last one holds
};

/// Reads the features of items 0 .. n_items - 1; `item_of` gives the number of an id, or -1. By its
/// name the file is an .npy matrix, McAuley's image_features_X.b (10 bytes of id, 4096 float32), or
/// else CSV or TSV of an id and numbers, with or without a line of names; all but .npy also
/// compressed by gzip. Throws, with the place, for what does not fit, and where no item is in it.
ItemFeatures read_item_features(const FeatureSource& source, size_t n_items,
                                const std::function<int32_t(std::string_view)>& item_of);

}  // namespace bm3
