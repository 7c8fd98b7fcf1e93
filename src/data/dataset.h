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
  size_t dim;  // d_m
  /// out [count, dim] = the rows of items first .. first + count.
  std::function<void(size_t first, size_t count, float* out)> read_rows;
};

struct Dataset {
  std::string name;
  std::filesystem::path folder;  // that it was read from; empty: made in memory
  Interactions interactions;
  std::vector<Modality> modalities;
  std::vector<std::string> user_ids, item_ids;  // original ids by number; empty: not known
  std::vector<std::string> unread;  // files that look like features, each with the name it needs
  bool synthetic = false;  // made up, not observed
};

/// Throws unless a modality can have this name, which file names and --modalities hold; `where`
/// begins the message.
void check_modality_name(const std::string& name, const std::string& where = "");

/// Returns the text of a map of ids: a header of the two titles, and a line for each id.
std::string id_map_text(const std::string& title, const std::string& number_title,
                        const std::vector<std::string>& ids);

/// Reads a map: a header, and records of an original id and its number, separated as
/// `RecordReader` says. Returns the ids of the numbers 0 .. n - 1; others are ignored. Throws where
/// a record is no such pair, where a number or an id stands twice, and where a number is missing.
std::vector<std::string> read_id_map(const std::filesystem::path& path, size_t n);

/// Reads folder/name, as data/README.md describes it: interactions, modalities by name, and maps of
/// original ids where both are there. `seed` is of a split that is drawn. Throws for a matrix with
/// fewer rows than there are items, and as `read_id_map`, `read_inter`, `NpyMatrix` and
/// `check_modality_name` do.
Dataset load_dataset(const std::filesystem::path& folder, const std::string& name, uint64_t seed);

/// Makes the data set that `spec` describes in memory.
Dataset synthetic_dataset(const SyntheticSpec& spec, const std::string& name);

/// Writes a data set to the new or empty folder/NAME in the layout that `load_dataset` reads, with
/// maps of original ids if it has them; `mark`, if any, says that it is made up. Throws when it
/// cannot be written; then, and when interrupted, no part of it is left.
void write_dataset(const Dataset& data, const std::filesystem::path& folder,
                   const std::string& mark = "");
/// Writes what `synthetic_dataset` makes.
void write_dataset(const SyntheticSpec& spec, const std::string& name,
                   const std::filesystem::path& folder);

}  // namespace bm3
