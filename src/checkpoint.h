#pragma once
// Checkpoints: how far a training is, in one .safetensors file, written whole or not at all.
#include <filesystem>
#include <fstream>

#include "layers/saved_array.h"
#include "train.h"

namespace bm3 {

/// Where a training is. `result` has no vectors or lists: they are arrays.
struct Position {
  size_t epoch = 1;    // that is next or under way
  size_t batches = 0;  // of it that are done
  TrainResult result;  // of the epochs before it
};

/// Returns what tells one training from another: the data by their sizes and the interactions'
/// checksum, the model, and every setting, as a number where it is one. Throws for names that are
/// not UTF-8.
Json identity(const Dataset& data, const ModelKind& kind, const Settings& settings);
/// Returns the first thing that `found` has otherwise than `expected`, in words; "" where there is
/// none. `found` may say more. Throws Json's exceptions.
std::string difference(const Json& found, const Json& expected);

/// Writes a checkpoint that says `about`, with these arrays. An older one keeps its name until the
/// new one is on the disk. Throws when it cannot be written.
void write_checkpoint(const std::filesystem::path& path, const Json& about,
                      const Position& position, Device& device,
                      const std::vector<SavedArray>& arrays);

/// A checkpoint to read.
class Checkpoint {
 public:
  /// Reads all but the arrays. Throws for a file that is missing, foreign, cut short or damaged.
  explicit Checkpoint(const std::filesystem::path& path);
  const Json& about() const { return about_; }
  const Position& position() const { return position_; }
  /// Copies the arrays to the device. Throws unless they are these, in this order, each of its type
  /// and sizes.
  void load(Device& device, const std::vector<SavedArray>& arrays);

 private:
  void read_header(const std::string& text, size_t data_bytes);

  std::string path_;
  std::ifstream file_;
  Json about_;
  Position position_;
  std::vector<SavedArray> entries_;  // in the order of their bytes, nowhere yet
};

}  // namespace bm3
