#pragma once
// A data set: interactions, and the features of its items in one matrix per modality.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/inter.h"
#include "data/synthetic.h"

namespace bm3 {

/// One modality's features e_m, which stay where they are until they are asked for.
struct Modality {
  std::string name;
  int64_t dim;  // d_m
  /// out [count, dim] = the rows of items first .. first + count.
  std::function<void(int64_t first, int64_t count, float* out)> read_rows;
};

struct Dataset {
  std::string name;
  Interactions interactions;
  std::vector<Modality> modalities;
  bool synthetic = false;
};

/// Reads folder/name/name.inter and every *_feat.npy beside it, a modality each, by name. Errors:
/// those of `read_inter` (which uses `seed` for a split) and `NpyMatrix`; a matrix with fewer rows
/// than there are items (more are allowed).
Dataset load_dataset(const std::filesystem::path& folder, const std::string& name, uint64_t seed);

/// The data set that `spec` describes, made in memory.
Dataset synthetic_dataset(const SyntheticSpec& spec, const std::string& name);

/// Writes `data` to folder/name in the layout that `load_dataset` reads. Error when that is there
/// already or cannot be written; then nothing is left.
void write_dataset(const Dataset& data, const std::filesystem::path& folder);

}  // namespace bm3
