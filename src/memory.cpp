#include "memory.h"

#include <omp.h>

#include <algorithm>

#include "ops/cpu/blocks.h"
#include "ops/cuda/launch.h"

namespace bm3 {
namespace {

constexpr size_t real = sizeof(float);

size_t parts_of(size_t n, size_t each) { return (n + each - 1) / each; }

/// What follows from data, configuration and device.
struct Sizes {
  size_t d, nodes, modalities, columns;  // columns: of all features together
  size_t max_users, max_items, rows;     // of a batch, padding included
  size_t parameters, steps;

  Sizes(const DataSizes& data, const TrainConfig& config, const DeviceFacts& device)
      : d(config.model.d),
        nodes(data.n_users + data.n_items),
        modalities(data.modalities.size()),
        columns(0),
        max_users(padded(std::min(config.batch, data.n_users), device.row_padding)),
        max_items(padded(std::min(config.batch, data.n_items), device.row_padding)),
        rows(max_users + max_items * (1 + modalities)) {
    for (const auto& m : data.modalities) columns += m.dim;
    parameters = (nodes + d + 1 + columns + modalities) * d;
    steps = config.epochs * parts_of(data.n_train, config.batch);
  }
  static size_t padded(size_t n, size_t to) { return parts_of(n, to) * to; }
};

/// Scratch memory of the threads, partial matrices of d_W, partial sums.
size_t working_memory_of_cpu(const DataSizes& data, const Sizes& s, const DeviceFacts& device) {
  using namespace cpu;
  size_t scratch = user_block * (s.d + item_block);
  const auto part_matrices = [&](size_t n, size_t in) {
    return parts_of(n, rows_of_part(n, in)) * (in + 1) * s.d;
  };
  size_t shared = part_matrices(s.rows, s.d);
  for (const auto& m : data.modalities) {
    shared = std::max(shared, part_matrices(s.max_items, m.dim));
    const size_t part = std::min(rows_of_part(s.max_items, m.dim), s.max_items);
    if (!device.copies_rows)
      scratch = std::max({scratch, row_block * m.dim, part * std::min(column_slice, m.dim)});
  }
  const size_t sums = std::max({parts_of(std::max(data.n_users, data.n_items) * s.d, norm_block),
                                parts_of(std::max(s.max_users, s.max_items), pair_block),
                                parts_of(data.n_ranked, metric_block) * n_metrics});
  return (scratch * static_cast<size_t>(device.threads) + shared) * real + sums * sizeof(double);
}

/// cuBLAS's workspace and partial sums of both lanes, and their blocks of scores with the users and
/// their lists.
size_t working_memory_of_gpu(const DataSizes& data, const Sizes& s) {
  using namespace cuda;
  const auto parts = [](size_t rows) {
    return std::min<size_t>(parts_of(rows, rows_of_sum), most_row_parts);
  };
  const size_t of_lanes = 2 * (blas_workspace(9) + (sum_blocks + 1) * sizeof(double)) +
                          (parts(s.rows) + (s.modalities ? parts(s.max_items) : 0)) * s.d * real;
  const size_t of_metrics =
      std::max(blocks_of_sum(data.n_ranked, warps_of_block), 1u) * n_metrics * sizeof(double);
  return of_lanes + of_metrics +
         2 * user_block * ((item_block + s.d) * real + list_size * (real + sizeof(int32_t)));
}

}  // namespace

DataSizes sizes_of(const Dataset& data) {
  const Interactions& x = data.interactions;
  const HeldOut valid = held_out(x.valid, x), test = held_out(x.test, x);
  DataSizes out{static_cast<size_t>(x.n_users), static_cast<size_t>(x.n_items), x.train.size(),
                users_of(valid, test).size(), valid.users.size() + test.users.size(),
                valid.items.size() + test.items.size(), {}};
  for (const auto& m : data.modalities)
    out.modalities.push_back({m.name, static_cast<size_t>(m.dim)});
  return out;
}

DeviceFacts facts_of_cpu(int threads) {
  return {1, false, false, threads > 0 ? threads : omp_get_max_threads()};
}
DeviceFacts facts_of_gpu() { return {cuda::row_padding, true, false, 0}; }

std::vector<MemoryPart> training_memory(const DataSizes& data, const TrainConfig& config,
                                        const DeviceFacts& device) {
  const Sizes s(data, config, device);
  const bool tuned = config.model.tuned;
  const size_t features = data.n_items * s.columns * real;
  const size_t of_batch = s.max_items * s.columns * real;
  const size_t copies = !device.copies_rows ? 0 : device.fetches_ahead || !tuned ? 2 : 1;
  const size_t of_nodes = s.nodes * s.d * real;
  // Begin and target of both groups, the rows' numbers, the items' as nodes and in the next batch.
  const size_t lists = 2 * s.max_users + 4 * s.max_items + 2 + 2 * config.batch;
  return {
      {"features", features, true},
      {"features: Adam's m and v", tuned ? 2 * features : 0, true},
      {"features: steps of their last updates", tuned ? data.n_items * s.modalities * 4 : 0},
      {"features: copies of batches' rows", copies * of_batch},
      {"features: copies of these rows' m and v",
       tuned && device.fetches_ahead ? 4 * of_batch : 0},
      {"features: gradients of a batch's rows", tuned ? of_batch : 0},
      {"parameters", s.parameters * real},
      {"parameters: gradients", s.parameters * real},
      {"parameters: Adam's m and v", 2 * s.parameters * real},
      {"Adam's schedule and step", (s.steps + 1) * sizeof(AdamStep<float>) + sizeof(uint32_t)},
      {"graph", (s.nodes + 1) * sizeof(int64_t) + 2 * data.n_train * sizeof(int32_t) +
                    s.nodes * real},
      {"H, layers and predictions of all nodes", (config.model.n_layers > 1 ? 3 : 2) * of_nodes},
      {"a batch's matrices, and sums of losses",
       s.rows * s.d * (4 * real + sizeof(uint8_t)) + 6 * sizeof(double)},
      {"row lists of two batches", 2 * lists * sizeof(int32_t)},
      {"ranking: users, items and scores",
       data.n_ranked * (sizeof(int32_t) + longest_list * (sizeof(int32_t) + real))},
      {"predictions of the best epoch", of_nodes},
      {"held-out items and metrics",
       data.n_evaluated * (sizeof(int32_t) + sizeof(size_t)) + data.n_held_out * sizeof(int32_t) +
           2 * (sizeof(size_t) + (longest_list + 1 + n_metrics) * sizeof(double))},
      {"working memory of the operations", device.threads > 0
                                               ? working_memory_of_cpu(data, s, device)
                                               : working_memory_of_gpu(data, s)}};
}

size_t memory_beside_tables(const DataSizes& data, const TrainConfig& config) {
  DeviceFacts facts = facts_of_gpu();
  facts.fetches_ahead = true;
  return total_beside_tables(training_memory(data, config, facts));
}

size_t total(const std::vector<MemoryPart>& parts) {
  size_t sum = 0;
  for (const auto& part : parts) sum += part.bytes;
  return sum;
}

size_t total_beside_tables(const std::vector<MemoryPart>& parts) {
  size_t sum = 0;
  for (const auto& part : parts)
    if (!part.table) sum += part.bytes;
  return sum;
}

}  // namespace bm3
