#pragma once
// What a training run holds on its device, by arithmetic alone: nothing is allocated.
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train.h"

namespace bm3 {

/// The sizes of a data set that memory depends on.
struct DataSizes {
  size_t n_users = 0, n_items = 0;
  size_t n_train = 0;   // interactions of the graph
  size_t n_ranked = 0;     // users that validation and test rank for
  size_t n_evaluated = 0;  // users of validation and users of test
  size_t n_held_out = 0;   // their items
  std::vector<ModalityShape> modalities;
};
DataSizes sizes_of(const Dataset& data);

/// What it depends on of a device (see device.h).
struct DeviceFacts {
  size_t row_padding = 1;
  bool copies_rows = false, fetches_ahead = false;
  int threads = 0;  // of the CPU; 0 for a GPU
};
DeviceFacts facts_of_cpu(int threads);
/// With features on the GPU. Of a GPU that may be any, cuBLAS's larger workspace is counted.
DeviceFacts facts_of_gpu();

struct MemoryPart {
  std::string name;
  size_t bytes;
  bool table = false;  // may lie in the host's memory where a GPU's is too small
};

/// The parts of what `train` holds at its peak, when it ranks after an epoch, in float32. Working
/// memory is the most that batches of this size can ask for; the other parts are exact.
std::vector<MemoryPart> training_memory(const DataSizes& data, const TrainConfig& config,
                                        const DeviceFacts& device);

/// What a training run on a GPU needs there when its tables lie in the host's memory: what tables
/// have to leave free (DeviceChoice::reserve).
size_t memory_beside_tables(const DataSizes& data, const TrainConfig& config);

size_t total(const std::vector<MemoryPart>& parts);
/// Without the parts that are tables.
size_t total_beside_tables(const std::vector<MemoryPart>& parts);

}  // namespace bm3
