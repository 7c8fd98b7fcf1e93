#include "train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <numeric>
#include <optional>

#include "checkpoint.h"
#include "error.h"
#include "layers/adam.h"
#include "layers/negatives.h"

namespace bm3 {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr double period = 240;  // seconds between checkpoints: a validation may take a minute more
constexpr const char* what_to_try = ": try a smaller --lr, or look at the features' scale";

/// Whether each vector's product with itself is finite: then so are those of two (Cauchy, Schwarz).
bool have_finite_products(const std::vector<float>& vectors, size_t width) {
  for (size_t at = 0; at < vectors.size(); at += width)
    if (const float* const x = &vectors[at];
        !std::isfinite(std::inner_product(x, x + width, x, 0.0F)))
      return false;
  return true;
}

/// Returns what evaluates a split. Throws when the training has none of its users.
Evaluator<float> evaluator(Ops<float>& ops, const Dataset& data,
                           const std::vector<Interaction>& part, const char* title) {
  Evaluator<float> out(ops, part, data.interactions);
  if (out.n_users() == 0 && !part.empty())
    throw Error("no user of ", data.name, "'s ", title,
                " split is in its training split: expected some, for the figures");
  return out;
}

/// Copies a matrix on the device.
void copy(Ops<float>& ops, Array<float>& to, Matrix<const float> from) {
  if (to.size() != from.size()) to = Array<float>(ops, from.size());
  ops.gather_rows(to.matrix(from.rows, from.cols), from, {nullptr, from.rows});
}

/// Loads features in pieces, so that they are in memory once.
void load_features(Ops<float>& ops, Model<float>& model, const Dataset& data) {
  for (size_t m = 0; m < model.features().size(); ++m) {
    const Matrix<float> e = model.features()[m].value;
    constexpr size_t piece = 256;
    std::vector<float> rows(piece * e.cols);
    for (size_t first = 0; first < e.rows; first += piece) {
      const size_t n = std::min(piece, e.rows - first);
      data.modalities[m].read_rows(first, n, rows.data());
      ops.upload(e.row(first), rows.data(), n * e.cols * sizeof(float));
    }
  }
}

/// Returns the shapes of the features that the model reads.
std::vector<ModalityShape> shapes(const Dataset& data, const ModelKind& kind) {
  std::vector<ModalityShape> out;
  for (const auto& m : data.modalities)
    if (kind.reads_features) out.push_back({m.name, m.dim});
  return out;
}

/// What one training holds on the device, its steps, and their protocol, epoch by epoch.
class Training {
 public:
  Training(Ops<float>& ops, const Dataset& data, const ModelKind& kind, const Settings& settings,
           const TrainHooks& hooks)
      : ops_(ops),
        data_(data.interactions),
        hooks_(hooks),
        about_(identity(data, kind, settings)),
        seed_(settings.whole("seed")),
        batch_size_(settings.whole("batch")),
        epochs_(settings.whole("epochs")),
        patience_(settings.whole("patience")),
        valid_(evaluator(ops, data, data_.valid, "validation")),
        test_(evaluator(ops, data, data_.test, "test")),
        order_{data_.train, {}},
        graph_(make_graph<float>(ops, data_.n_users, data_.n_items, order_.pairs)),
        loader_(ops, graph_.n_users, graph_.n_items, batch_size_, kind.draws_negatives),
        model_(make_model<float>(kind, {ops, graph_, settings, shapes(data, kind), loader_})),
        adam_(ops, model_->parameters(), model_->tuned_features(),
              {settings.real("lr"), settings.real("lr-decay"), batches()}, epochs_ * batches(),
              loader_.step()) {
    if (kind.draws_negatives) negatives_.emplace(data_);
    model_->parameters().initialise(seed_);
    load_features(ops, *model_, data);
    model_->prepare();
    lists_ = Array<int32_t>(ops, graph_.n_users * longest_list);
    best_lists_ = Array<int32_t>(ops, lists_.size());
    result().allocated = ops.allocated();
    hooks.on_ready(model_->parameters().values().size());
  }

  TrainResult run() {
    if (hooks_.resume)
      resume();
    else
      save({});
    while (result().ended.empty()) {
      if (now_.epoch > std::min(epochs_, result().best_epoch + patience_))
        result().ended = complete;
      else
        run_epoch();
    }
    if (result().ended == complete || result().ended == interrupted) save(saved());
    if (result().best_epoch > 0) finish();
    if (result().best_epoch == 0 && result().ended != interrupted) fail(result().ended);
    return std::move(result());
  }

 private:
  /// An epoch's interactions in their order, and the negatives of those that need some.
  struct Order {
    std::vector<Interaction> pairs;
    std::vector<int32_t> negatives;
  };

  TrainResult& result() { return now_.result; }
  Matrix<int32_t> items() { return lists_.matrix(graph_.n_users, longest_list); }
  size_t batches() const { return (order_.pairs.size() + batch_size_ - 1) / batch_size_; }
  size_t steps_before(size_t epoch) const { return (epoch - 1) * batches(); }

  /// Trains for an epoch, or what is left of it, and evaluates it, unless it is stopped.
  void run_epoch() {
    Epoch epoch;
    epoch.number = now_.epoch;
    const auto start = Clock::now();
    if (!run_batches()) {
      result().ended = interrupted;
      return;
    }
    epoch.losses = model_->take_losses();
    for (Loss& loss : epoch.losses) loss.value /= static_cast<double>(batches());
    if (!std::isfinite(total(epoch.losses))) {
      result().ended =
          concat("the loss of epoch ", epoch.number, " is not finite", what_to_try);
      return;
    }
    epoch.train_seconds = seconds_since(start);
    evaluate(epoch);
    epoch.allocated_mib = static_cast<double>(ops_.most_allocated()) / (1 << 20);
    epoch.process_mib = process_mib("VmHWM");
    hooks_.on_epoch(epoch);
    result().epochs.push_back(std::move(epoch));
    ++now_.epoch;
    now_.batches = 0;
  }

  /// Passes once over all interactions but those of the batches that are done; false where it is
  /// stopped.
  bool run_batches() {
    if (!next_order_.valid()) draw_order(now_.epoch);
    order_ = next_order_.get();
    const size_t done = now_.batches;
    if (done == 0) model_->begin_epoch(seed_, now_.epoch);
    for (size_t k = done; k < batches(); ++k) {
      const size_t first = k * batch_size_;
      const size_t size = std::min(batch_size_, order_.pairs.size() - first);
      const int32_t* negatives = negatives_ ? order_.negatives.data() + first : nullptr;
      const size_t t = steps_before(now_.epoch) + k + 1;
      step(loader_.load(t, order_.pairs.data() + first, negatives, size));
      if (k == done && now_.epoch < epochs_) draw_order(now_.epoch + 1);  // the device has work
      now_.batches = k + 1;
      hooks_.on_batch(now_.epoch, now_.batches, batches());
      if (seconds_since(saved_at_) >= period) save(saved());
      if (hooks_.stop()) return false;
    }
    return true;
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
      model_->draw(batch, seed_);
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

  /// Ranks for both splits, and keeps the best.
  void evaluate(Epoch& epoch) {
    const auto start = Clock::now();
    adam_.catch_up();
    const Embeddings<float> h = model_->embeddings();
    ops_.top_k(items(), h.user, h.item, {nullptr, graph_.n_users}, graph_);
    epoch.valid = valid_.metrics(items());
    epoch.valid_seconds = seconds_since(start);
    epoch.best = result().best_epoch == 0 || valid_.n_users() == 0 ||
                 epoch.valid.recall(at20) > result().valid.recall(at20);
    epoch.since_best = epoch.best ? 0 : epoch.number - result().best_epoch;
    if (!epoch.best) return;
    result().best_epoch = epoch.number;
    result().valid = epoch.valid;
    result().test = test_.metrics(items());
    result().width = h.user.cols;
    copy(ops_, best_user_, h.user);
    copy(ops_, best_item_, h.item);
    std::swap(lists_, best_lists_);
  }

  /// Brings the best epoch's vectors and lists to the host.
  void finish() {
    result().user = best_user_.host();
    result().item = best_item_.host();
    result().lists = best_lists_.host();
    for (const int32_t item : result().lists)
      if (item >= static_cast<int64_t>(graph_.n_items))
        throw Error(hooks_.file, " is damaged, item ", item, " is in its lists: expected items "
                    "below ", graph_.n_items);
    if (!have_finite_products(result().user, result().width) ||
        !have_finite_products(result().item, result().width))
      fail(concat("the scores after epoch ", result().best_epoch, " are not finite", what_to_try));
    const auto popular = rank_by_popularity(ops_, data_, graph_);
    result().by_popularity = test_.metrics(popular.matrix(graph_.n_users, longest_list));
  }

  /// Throws. A training that failed would fail again.
  [[noreturn]] void fail(const std::string& message) {
    std::error_code ignored;
    std::filesystem::remove(hooks_.file, ignored);
    throw Error(message);
  }

  /// All that a checkpoint holds from the first batch on.
  std::vector<SavedArray> saved() {
    std::vector<SavedArray> out = model_->saved();
    for (SavedArray& array : adam_.saved()) out.push_back(std::move(array));
    if (result().best_epoch == 0) return out;
    const size_t width = result().width;
    out.push_back(saved_array("best/user", best_user_.matrix(graph_.n_users, width)));
    out.push_back(saved_array("best/item", best_item_.matrix(graph_.n_items, width)));
    out.push_back(saved_array("best/lists", best_lists_.matrix(graph_.n_users, longest_list)));
    return out;
  }

  void save(const std::vector<SavedArray>& arrays) {
    saved_at_ = Clock::now();
    if (hooks_.file.empty()) return;
    Json about = about_;
    about.update(hooks_.about);
    try {
      write_checkpoint(hooks_.file, about, now_, ops_, arrays);
    } catch (const Error& e) {
      hooks_.not_saved(e.what());  // a training is worth more than its checkpoint
    }
  }

  /// Goes to the checkpoint's place in the training. The order of an epoch follows from the seed.
  void resume() {
    Checkpoint checkpoint(hooks_.file);
    if (const auto other = difference(checkpoint.about(), about_); !other.empty())
      throw Error(hooks_.file, " is of another training, ", other);
    now_ = checkpoint.position();
    result().allocated = ops_.allocated();
    const size_t epoch = now_.epoch, done = now_.batches;
    if (epoch == 0 || epoch > epochs_ + (done == 0) || done > batches() ||
        result().epochs.size() != epoch - 1 || result().best_epoch >= epoch)
      throw Error("the checkpoint is of epoch ", epoch, ", batch ", done, ": expected at most ",
                  epochs_, ", ", batches(), ", and as many epochs before it as it has, ",
                  result().epochs.size());
    if (epoch == 1 && done == 0) return;  // what the seed gives
    loader_.set_step(steps_before(epoch) + done);
    for (size_t e = 1; e < epoch; ++e) shuffle(order_.pairs, seed_, e);
    if (done > 0) {
      model_->begin_epoch(seed_, epoch);
      model_->after_update();
    }
    best_user_ = Array<float>(ops_, graph_.n_users * result().width);
    best_item_ = Array<float>(ops_, graph_.n_items * result().width);
    checkpoint.load(ops_, saved());
  }

  Ops<float>& ops_;
  const Interactions& data_;
  const TrainHooks& hooks_;
  const Json about_;
  const uint64_t seed_;
  const size_t batch_size_, epochs_, patience_;
  Evaluator<float> valid_, test_;
  Order order_;
  std::optional<Negatives> negatives_;
  Graph<float> graph_;
  BatchLoader loader_;
  std::unique_ptr<Model<float>> model_;
  Adam<float> adam_;
  Array<int32_t> lists_, best_lists_;
  Array<float> best_user_, best_item_;
  Position now_;
  Clock::time_point saved_at_;
  std::future<Order> next_order_;  // last: its thread reads the members above
};

}  // namespace

void shuffle(std::vector<Interaction>& pairs, uint64_t seed, size_t epoch) {
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

double process_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == field + ":" && status >> kib) return kib / 1024;
  return 0;
}

std::vector<Setting> training_settings(const ModelKind& kind) {
  std::vector<Setting> out = {
      {"lr", positive(), "0.001", "Adam's learning rate", {}, {"learning-rate"}},
      {"lr-decay", positive(), "1", "q: the rate of epoch e, from 0, is lr q^(e/50)"},
      {"batch", whole_from_to(1, 1000000), "2048", "interactions in a batch", {},
           {"train-batch-size"}},
      {"epochs", whole_from_to(1, 1000000), "1000", "epochs at most"},
      {"patience", whole_from_to(1, 1000000), "20",
       "stop after so many epochs without a better validation R@20", {}, {"stopping-step"}},
      {"seed", whole_from_to(0, UINT64_MAX), "999",
       "seed of every random number of the training"},
      {"split-seed", whole_from_to(0, UINT64_MAX), "999",
       "seed of the split of data that have none"}};
  for (Setting& setting : out)
    if (const auto own = kind.training.find(setting.name); own != kind.training.end())
      setting.fallback = own->second;
  return out;
}

Settings all_settings(const ModelKind& kind) {
  std::vector<Setting> all = kind.settings;
  for (Setting& setting : training_settings(kind)) all.push_back(std::move(setting));
  return Settings(std::move(all));
}

TrainResult train(Ops<float>& ops, const Dataset& data, const ModelKind& kind,
                  const Settings& settings, const TrainHooks& hooks) {
  if (data.interactions.valid.empty() && !settings.was_set("epochs"))
    throw Error(data.name, " has no validation split, which would end the training: expected "
                "--epochs to say when");
  return Training(ops, data, kind, settings, hooks).run();
}

}  // namespace bm3
