#pragma once
// What one training run holds on the device, and its steps: the order of the interactions, batches,
// passes and updates.
#include <algorithm>
#include <array>
#include <future>
#include <optional>

#include "data/dataset.h"
#include "error.h"
#include "layers/adam.h"
#include "layers/negatives.h"
#include "models/model.h"

namespace bm3 {

/// Shuffles `pairs` for an epoch, drawn from (seed, epoch, place) (Fisher and Yates).
inline void shuffle(std::vector<Interaction>& pairs, uint64_t seed, size_t epoch) {
  std::array<uint64_t, 256> words;  // drawn in a loop of their own, by vector instructions
  for (size_t n = pairs.size(); n > 1;) {
    const size_t drawn = std::min(words.size(), n - 1);
    for (size_t k = 0; k < drawn; ++k) {
      const Random4 random = philox(seed, Stream::shuffle, static_cast<uint32_t>(epoch), n - k);
      words[k] = uint64_t{random.x[0]} << 32 | random.x[1];
    }
    for (size_t k = 0; k < drawn; ++k, --n) std::swap(pairs[n - 1], pairs[words[k] % n]);
  }
}

/// Loads features in pieces, so that they are in memory once.
inline void load_features(Ops<float>& ops, Model<float>& model, const Dataset& data) {
  for (size_t m = 0; m < model.features().size(); ++m) {
    const Matrix<float> e = model.features()[m].value;
    constexpr size_t piece = 256;
    std::vector<float> rows(piece * e.cols);
    for (size_t first = 0; first < e.rows; first += piece) {
      const size_t n = std::min(piece, e.rows - first);
      data.modalities[m].read_rows(static_cast<int64_t>(first), static_cast<int64_t>(n),
                                   rows.data());
      ops.upload(e.row(first), rows.data(), n * e.cols * sizeof(float));
    }
  }
}

/// Returns the shapes of the features that the model reads.
inline std::vector<ModalityShape> shapes(const Dataset& data, const ModelKind& kind) {
  std::vector<ModalityShape> out;
  for (const auto& m : data.modalities)
    if (kind.reads_features) out.push_back({m.name, static_cast<size_t>(m.dim)});
  return out;
}

/// What one training run holds on the device, and its steps.
class Training {
 public:
  Training(Ops<float>& ops, const Dataset& data, const ModelKind& kind, const Settings& settings)
      : ops_(ops),
        seed_(settings.whole("seed")),
        batch_size_(settings.whole("batch")),
        epochs_(settings.whole("epochs")),
        order_{data.interactions.train, {}},
        graph_(make_graph<float>(ops, static_cast<size_t>(data.interactions.n_users),
                                 static_cast<size_t>(data.interactions.n_items), order_.pairs)),
        loader_(ops, graph_.n_users, graph_.n_items, batch_size_, kind.draws_negatives),
        model_(make_model<float>(kind, {ops, graph_, settings, shapes(data, kind), loader_})),
        adam_(ops, model_->parameters(), model_->tuned_features(), adam_config(settings),
              epochs_ * batches()) {
    if (kind.draws_negatives) negatives_.emplace(data.interactions);
    model_->parameters().initialise(seed_);
    load_features(ops, *model_, data);
    model_->prepare();
  }

  size_t batches() const { return (order_.pairs.size() + batch_size_ - 1) / batch_size_; }
  Model<float>& model() { return *model_; }
  const Graph<float>& graph() const { return graph_; }

  /// Passes once over all interactions but those of the first batches, which are done. Asks
  /// goes_on(batches done) after each batch; false when that says no.
  bool run_epoch(size_t epoch, size_t done, const std::function<bool(size_t)>& goes_on) {
    if (!next_order_.valid()) draw_order(epoch);
    order_ = next_order_.get();
    if (done == 0) model_->begin_epoch(seed_, epoch);
    for (size_t k = done; k < batches(); ++k) {
      const size_t first = k * batch_size_;
      const size_t size = std::min(batch_size_, order_.pairs.size() - first);
      const int32_t* negatives = negatives_ ? order_.negatives.data() + first : nullptr;
      step(loader_.load(order_.pairs.data() + first, negatives, size));
      if (k == done && epoch < epochs_) draw_order(epoch + 1);  // the device has work meanwhile
      if (!goes_on(k + 1)) return false;
    }
    return true;
  }

  /// Returns the means of an epoch's losses.
  std::vector<Loss> take_losses() {
    std::vector<Loss> losses = model_->take_losses();
    for (Loss& loss : losses) loss.value /= static_cast<double>(batches());
    return losses;
  }

  /// Returns all that a checkpoint needs of the device.
  std::vector<SavedArray> saved() {
    std::vector<SavedArray> out = model_->saved();
    for (SavedArray& array : adam_.saved()) out.push_back(std::move(array));
    return out;
  }
  /// Goes to this place of the training; the arrays are to be loaded then. The order of an epoch
  /// follows from the seed. Throws where there is no such place.
  void go_to(size_t epoch, size_t done) {
    if (epoch == 0 || epoch > epochs_ + (done == 0) || done > batches())
      throw Error("the checkpoint is of epoch " + std::to_string(epoch) + ", batch " +
                  std::to_string(done) + ": expected at most " + std::to_string(epochs_) + ", " +
                  std::to_string(batches()));
    adam_.resume((epoch - 1) * batches() + done);
    for (size_t e = 1; e < epoch; ++e) shuffle(order_.pairs, seed_, e);
    if (done == 0) return;
    model_->begin_epoch(seed_, epoch);
    model_->after_update();
  }

  /// Returns the vectors that rank.
  Embeddings<float> embeddings() {
    adam_.catch_up();
    return model_->embeddings();
  }

 private:
  /// An epoch's interactions in their order, and the negatives of those that need some.
  struct Order {
    std::vector<Interaction> pairs;
    std::vector<int32_t> negatives;
  };

  AdamConfig adam_config(const Settings& settings) const {
    AdamConfig out;
    out.lr = settings.real("lr");
    out.decay = settings.real("lr-decay");
    out.epoch_steps = batches();
    return out;
  }

  /// Draws an epoch's order from the previous one's, on a thread of its own: until it is taken,
  /// order_ is only read.
  void draw_order(size_t epoch) {
    next_order_ = std::async(std::launch::async, [this, epoch] {
      Order next{order_.pairs, {}};
      shuffle(next.pairs, seed_, epoch);
      if (negatives_) next.negatives = negatives_->draw(next.pairs, seed_, epoch);
      return next;
    });
  }

  void step(const Batch& batch) {
    const uint64_t key = batch.size | batch.users.n << 21 | batch.items.n << 42;
    const auto work = [&] {
      const Rows rows = model_->feature_rows(batch);
      adam_.begin_step(rows);
      model_->draw(batch, seed_, adam_.now());
      model_->forward(batch);
      model_->backward(batch);
      adam_.step(rows);
      model_->after_update();
    };
    if (model_->repeats())
      ops_.replay(key, work);
    else
      work();
  }

  Ops<float>& ops_;
  const uint64_t seed_;
  const size_t batch_size_, epochs_;
  Order order_;
  std::optional<Negatives> negatives_;
  Graph<float> graph_;
  BatchLoader loader_;
  std::unique_ptr<Model<float>> model_;
  Adam<float> adam_;
  std::future<Order> next_order_;  // last: its thread reads the members above
};

}  // namespace bm3
