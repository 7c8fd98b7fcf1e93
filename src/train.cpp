#include "train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <limits>
#include <optional>

#include "error.h"
#include "layers/adam.h"
#include "layers/negatives.h"

namespace bm3 {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Shuffles `pairs` for an epoch, drawn from (seed, epoch, place) (Fisher and Yates).
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

/// Loads features in pieces, so that they are in memory once.
void load_features(Ops<float>& ops, Model<float>& model, const Dataset& data) {
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

/// Returns what evaluates a split. Throws when the training has none of its users.
Evaluator<float> evaluator(Ops<float>& ops, const Dataset& data,
                           const std::vector<Interaction>& part, const char* title) {
  Evaluator<float> out(ops, part, data.interactions);
  if (out.n_users() == 0)
    throw Error("no user of " + data.name + "'s " + title +
                " split is in its training split: expected some, for the figures");
  return out;
}

std::vector<ModalityShape> shapes(const Dataset& data, const ModelKind& kind) {
  std::vector<ModalityShape> out;
  for (const auto& m : data.modalities)
    if (kind.reads_features) out.push_back({m.name, static_cast<size_t>(m.dim)});
  return out;
}

/// Copies a matrix on the device.
void copy(Ops<float>& ops, Array<float>& to, Matrix<const float> from) {
  if (to.size() != from.size()) to = Array<float>(ops, from.size());
  ops.gather_rows(to.matrix(from.rows, from.cols), from, {nullptr, from.rows});
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
        adam_(ops, model_->parameters(), model_->tuned_features(), {settings.real("lr")},
              epochs_ * batches()) {
    if (kind.draws_negatives) negatives_.emplace(data.interactions);
    model_->parameters().initialise(seed_);
    load_features(ops, *model_, data);
  }

  size_t batches() const { return (order_.pairs.size() + batch_size_ - 1) / batch_size_; }
  Model<float>& model() { return *model_; }
  const Graph<float>& graph() const { return graph_; }

  /// Passes once over all interactions. Returns the mean losses of its batches.
  std::vector<Loss> run_epoch(size_t epoch, const TrainProgress& progress) {
    if (!next_order_.valid()) draw_order(epoch);
    order_ = next_order_.get();
    if (epoch < epochs_) draw_order(epoch + 1);
    model_->begin_epoch(seed_, epoch);
    for (size_t k = 0; k < batches(); ++k) {
      const size_t first = k * batch_size_;
      const size_t size = std::min(batch_size_, order_.pairs.size() - first);
      const int32_t* negatives = negatives_ ? order_.negatives.data() + first : nullptr;
      step(loader_.load(order_.pairs.data() + first, negatives, size));
      progress.on_batch(epoch, k + 1, batches());
    }
    std::vector<Loss> losses = model_->take_losses();
    for (Loss& loss : losses) loss.value /= static_cast<double>(batches());
    if (!std::isfinite(total(losses)))
      throw Error("the loss of epoch " + std::to_string(epoch) + " is not finite" + what_to_try);
    return losses;
  }

 private:
  /// An epoch's interactions in their order, and the negatives of those that need some.
  struct Order {
    std::vector<Interaction> pairs;
    std::vector<int32_t> negatives;
  };

  /// Draws an epoch's order from the previous one's, on a thread of its own: until it is taken,
  /// order_ is only read.
  void draw_order(size_t epoch) {
    next_order_ = std::async(std::launch::async, [this, epoch] {
      Order next{order_.pairs, {}};
      shuffle(next.pairs, seed_, epoch);
      if (negatives_)
        for (size_t k = 0; k < next.pairs.size(); ++k)
          next.negatives.push_back(negatives_->draw(next.pairs[k].user, seed_, epoch, k));
      return next;
    });
  }

  void step(const Batch& batch) {
    const uint64_t key = batch.size | batch.users.n << 21 | batch.items.n << 42;
    ops_.replay(key, [&] {
      adam_.begin_step(batch);
      model_->draw(batch, seed_, adam_.now());
      model_->forward(batch);
      model_->backward(batch);
      adam_.step(batch);
      model_->after_update();
    });
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

}  // namespace

std::vector<Setting> training_settings(const ModelKind& kind) {
  std::vector<Setting> out = {
      {"lr", positive(), "0.001", "Adam's learning rate", {}, {"learning-rate"}},
      {"batch", whole_from_to(1, 1000000), "2048", "interactions in a batch", {},
           {"train-batch-size"}},
      {"epochs", whole_from_to(1, 1000000), "1000", "epochs at most"},
      {"patience", whole_from_to(1, 1000000), "20",
       "stop after so many epochs without a better validation R@20", {}, {"stopping-step"}},
      {"seed", whole_from_to(0, std::numeric_limits<uint64_t>::max()), "999",
       "seed of every random number"}};
  for (Setting& setting : out)
    if (const auto own = kind.training.find(setting.name); own != kind.training.end())
      setting.fallback = own->second;
  return out;
}

TrainResult train(Ops<float>& ops, const Dataset& data, const ModelKind& kind,
                  const Settings& settings, const TrainProgress& progress) {
  Evaluator<float> valid = evaluator(ops, data, data.interactions.valid, "validation");
  Evaluator<float> test = evaluator(ops, data, data.interactions.test, "test");
  Training training(ops, data, kind, settings);
  Model<float>& model = training.model();
  const size_t n_users = training.graph().n_users;
  Array<int32_t> lists(ops, n_users * longest_list), best_lists(ops, lists.size());
  Array<float> best_user, best_item;
  TrainResult result;
  result.allocated = ops.allocated();
  progress.on_ready(model.parameters().values().size());

  const size_t epochs = settings.whole("epochs"), patience = settings.whole("patience");
  for (size_t epoch = 1; epoch <= epochs && epoch <= result.best_epoch + patience; ++epoch) {
    Epoch report;
    report.number = epoch;
    const auto start = Clock::now();
    report.losses = training.run_epoch(epoch, progress);
    report.train_seconds = seconds_since(start);
    const auto valid_start = Clock::now();
    const Embeddings<float> h = model.embeddings();
    const Matrix<int32_t> items = lists.matrix(n_users, longest_list);
    ops.top_k(items, h.user, h.item, {nullptr, n_users}, training.graph());  // for both splits
    report.valid = valid.metrics(items);
    report.valid_seconds = seconds_since(valid_start);
    report.best = result.best_epoch == 0 || report.valid.recall[at20] > result.valid.recall[at20];
    if (report.best) {
      result.best_epoch = epoch;
      result.valid = report.valid;
      result.test = test.metrics(items);
      result.width = h.user.cols;
      copy(ops, best_user, h.user);
      copy(ops, best_item, h.item);
      std::swap(lists, best_lists);
    }
    progress.on_epoch(report);
    result.epochs.push_back(std::move(report));
  }
  result.user = best_user.host();
  result.item = best_item.host();
  result.lists = best_lists.host();
  if (!all_finite(result.user) || !all_finite(result.item))
    throw Error("the embeddings after epoch " + std::to_string(result.best_epoch) +
                " are not finite" + what_to_try);
  result.by_popularity =
      test.metrics(rank_by_popularity(ops, data.interactions, training.graph())
                       .matrix(n_users, longest_list));
  return result;
}

}  // namespace bm3
