#include "train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>

#include "error.h"

namespace bm3 {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The order of `pairs` in an epoch: Fisher and Yates' shuffle, drawn from (seed, epoch, place).
void shuffle(std::vector<Interaction>& pairs, uint64_t seed, size_t epoch) {
  for (size_t n = pairs.size(); n > 1; --n) {
    const Random4 random = philox(seed, Stream::shuffle, static_cast<uint32_t>(epoch), n);
    const uint64_t word = uint64_t{random.x[0]} << 32 | random.x[1];
    std::swap(pairs[n - 1], pairs[word % n]);
  }
}

constexpr const char* what_to_try = ": try a smaller --lr, or look at the features' scale";

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

/// Features pass through in pieces, so that they are in memory once.
void load_features(Ops<float>& ops, Bm3<float>& model, const Dataset& data) {
  for (size_t m = 0; m < data.modalities.size(); ++m) {
    const auto& source = data.modalities[m];
    const auto n_items = static_cast<int64_t>(model.n_items()), piece = int64_t{256};
    const auto dim = static_cast<size_t>(source.dim);
    std::vector<float> rows(static_cast<size_t>(piece) * dim);
    for (int64_t first = 0; first < n_items; first += piece) {
      const int64_t count = std::min(piece, n_items - first);
      source.read_rows(first, count, rows.data());
      ops.upload(model.modalities()[m].features.data() + static_cast<size_t>(first) * dim,
                 rows.data(), static_cast<size_t>(count) * dim * sizeof(float));
    }
  }
}

/// What is held out in the split `title`. Error when the training has none of its users.
HeldOut evaluated(const Dataset& data, const std::vector<Interaction>& part, const char* title) {
  HeldOut out = held_out(part, data.interactions);
  if (out.users.empty())
    throw Error("no user of " + data.name + "'s " + title +
                " split is in its training split: expected some, for the figures");
  return out;
}

/// What one training run holds on the device, and its steps.
class Training {
 public:
  Training(Ops<float>& ops, const Dataset& data, const TrainConfig& config)
      : ops_(ops),
        config_(config),
        pairs_(data.interactions.train),
        graph_(
            make_graph<float>(ops, data.interactions.n_users, data.interactions.n_items, pairs_)),
        loader_(ops, graph_.n_users, graph_.n_items, config.batch),
        model_(ops, graph_, config.model, shapes(data), loader_),
        adam_(ops, model_, config.adam, config.epochs * batches()) {
    // Frozen rows do not change in the step before; tuned ones do, and are fetched ahead (and carried
    // over) only where their table lies in the host's memory.
    if (ops.fetches_ahead() || (ops.copies_rows() && !config.model.tuned)) {
      model_.fetch_ahead();
      adam_.fetch_ahead();
    }
    model_.initialise(config.seed);
    load_features(ops, model_, data);
  }

  size_t batches() const { return (pairs_.size() + config_.batch - 1) / config_.batch; }
  Bm3<float>& model() { return model_; }

  /// One pass over all interactions; the mean losses of its batches.
  LossParts run_epoch(size_t epoch, const TrainProgress& progress) {
    if (!next_order_.valid()) draw_order(epoch);
    pairs_ = next_order_.get();
    if (epoch < config_.epochs) draw_order(epoch + 1);
    load(0);
    for (size_t k = 0; k < batches(); ++k) {
      const Batch& batch = arrived();
      if (k + 1 < batches()) load(k + 1);
      step(batch);
      progress.on_batch(k + 1, batches());
    }
    LossParts loss = model_.take_losses();
    for (double* part : {&loss.rec, &loss.align, &loss.mask, &loss.reg})
      *part /= static_cast<double>(batches());
    if (!std::isfinite(loss.total()))
      throw Error("the loss of epoch " + std::to_string(epoch) + " is not finite" + what_to_try);
    return loss;
  }

 private:
  static std::vector<ModalityShape> shapes(const Dataset& data) {
    std::vector<ModalityShape> out;
    for (const auto& m : data.modalities) out.push_back({m.name, static_cast<size_t>(m.dim)});
    return out;
  }

  /// Draws the epoch's order from the one before, on a thread of its own: until it is taken, pairs_
  /// is only read.
  void draw_order(size_t epoch) {
    next_order_ = std::async(std::launch::async, [this, epoch] {
      std::vector<Interaction> pairs = pairs_;
      shuffle(pairs, config_.seed, epoch);
      return pairs;
    });
  }

  /// Loads batch k of the epoch, in the other slot than the batch before, beside the step that is
  /// under way.
  void load(size_t k) {
    const size_t first = k * config_.batch, size = std::min(config_.batch, pairs_.size() - first);
    const size_t slot = loads_++ % 2;
    ops_.beside(slot, [this, first, size, slot] {
      Batch& batch = batch_[slot] = loader_.load(pairs_.data() + first, size, slot);
      model_.fetch(batch);
      adam_.fetch(batch);
    });
  }

  /// The next batch, ready for its step; the other slot is free again.
  const Batch& arrived() {
    const size_t slot = steps_++ % 2;
    ops_.join(slot);
    adam_.carry(batch_[slot]);
    return batch_[slot];
  }

  void step(const Batch& batch) {
    const uint64_t key = batch.size | batch.n_users << 21 | batch.n_items << 42 | batch.slot << 63;
    ops_.replay(key, [&] {
      adam_.begin_step(batch);
      model_.encode(batch);
      model_.draw_masks(batch, config_.seed, adam_.now());
      model_.losses(batch);
      model_.backward(batch);
      adam_.step(batch);
    });
    adam_.write_back(batch);
  }

  Ops<float>& ops_;
  const TrainConfig& config_;
  std::vector<Interaction> pairs_;                          // in the epoch's order
  std::future<std::vector<Interaction>> next_order_;
  Graph<float> graph_;
  BatchLoader loader_;
  Bm3<float> model_;
  Adam<float> adam_;
  Batch batch_[2];
  size_t loads_ = 0, steps_ = 0;
};

}  // namespace

TrainResult train(Ops<float>& ops, const Dataset& data, const TrainConfig& config,
                  const TrainProgress& progress) {
  const HeldOut valid = evaluated(data, data.interactions.valid, "validation");
  const HeldOut test = evaluated(data, data.interactions.test, "test");
  Training training(ops, data, config);
  Bm3<float>& model = training.model();
  // One ranking serves validation and test.
  Ranker<float> ranker(ops, model.graph(), users_of(valid, test), longest_list);
  Evaluator<float> of_valid(ops, valid, ranker.users()), of_test(ops, test, ranker.users());
  const size_t d = config.model.d, users = model.n_users() * d, items = model.n_items() * d;
  Array<float> best(ops, users + items);  // h~ of the best epoch
  progress.on_ready(model.values().size());

  TrainResult result;
  for (size_t epoch = 1; epoch <= config.epochs && epoch <= result.best_epoch + config.patience;
       ++epoch) {
    Epoch report;
    report.number = epoch;
    const auto start = Clock::now();
    report.loss = training.run_epoch(epoch, progress);
    report.train_seconds = seconds_since(start);
    const auto valid_start = Clock::now();
    const float* h = model.predict_all();
    const int32_t* item = ranker.rank(h, h + users, d);
    report.valid = of_valid.metrics(item, longest_list);
    report.valid_seconds = seconds_since(valid_start);
    report.best = result.best_epoch == 0 || report.valid.recall[at20] > result.valid.recall[at20];
    if (report.best) {
      result.best_epoch = epoch;
      result.valid = report.valid;
      result.test = of_test.metrics(item, longest_list);
      std::swap(best, model.all_predicted());
    }
    progress.on_epoch(report);
  }
  result.user.resize(users);
  result.item.resize(items);
  ops.download(result.user.data(), best.data(), users * sizeof(float));
  ops.download(result.item.data(), best.data() + users, items * sizeof(float));
  if (!all_finite(result.user) || !all_finite(result.item))
    throw Error("the embeddings after epoch " + std::to_string(result.best_epoch) +
                " are not finite" + what_to_try);
  return result;
}

}  // namespace bm3
