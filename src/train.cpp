#include "train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "checkpoint.h"
#include "error.h"
#include "process_memory.h"
#include "training.h"

namespace bm3 {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr const char* what_to_try = ": try a smaller --lr, or look at the features' scale";

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

/// Returns what evaluates a split. Throws when the training has none of its users.
Evaluator<float> evaluator(Ops<float>& ops, const Dataset& data,
                           const std::vector<Interaction>& part, const char* title) {
  Evaluator<float> out(ops, part, data.interactions);
  if (out.n_users() == 0 && !part.empty())
    throw Error("no user of " + data.name + "'s " + title +
                " split is in its training split: expected some, for the figures");
  return out;
}

/// Copies a matrix on the device.
void copy(Ops<float>& ops, Array<float>& to, Matrix<const float> from) {
  if (to.size() != from.size()) to = Array<float>(ops, from.size());
  ops.gather_rows(to.matrix(from.rows, from.cols), from, {nullptr, from.rows});
}

/// The protocol of a training, epoch by epoch.
class Protocol {
 public:
  Protocol(Ops<float>& ops, const Dataset& data, const ModelKind& kind, const Settings& settings,
           const TrainHooks& hooks)
      : ops_(ops),
        data_(data),
        hooks_(hooks),
        about_(identity(data, kind, settings)),
        epochs_(settings.whole("epochs")),
        patience_(settings.whole("patience")),
        valid_(evaluator(ops, data, data.interactions.valid, "validation")),
        test_(evaluator(ops, data, data.interactions.test, "test")),
        training_(ops, data, kind, settings),
        lists_(ops, training_.graph().n_users * longest_list),
        best_lists_(ops, lists_.size()) {
    result().allocated = ops.allocated();
    hooks.on_ready(training_.model().parameters().values().size());
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
  TrainResult& result() { return now_.result; }
  Matrix<int32_t> items() { return lists_.matrix(training_.graph().n_users, longest_list); }

  /// Trains for an epoch, or what is left of it, and evaluates it, unless it is stopped.
  void run_epoch() {
    Epoch epoch;
    epoch.number = now_.epoch;
    const auto start = Clock::now();
    const auto goes_on = [&](size_t done) {
      now_.batches = done;
      hooks_.on_batch(now_.epoch, done, training_.batches());
      if (seconds_since(saved_at_) >= hooks_.period) save(saved());
      return !hooks_.stop();
    };
    if (!training_.run_epoch(now_.epoch, now_.batches, goes_on)) {
      result().ended = interrupted;
      return;
    }
    epoch.losses = training_.take_losses();
    if (!std::isfinite(total(epoch.losses))) {
      result().ended = "the loss of epoch " + std::to_string(epoch.number) + " is not finite" +
                       what_to_try;
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

  /// Ranks for both splits, and keeps the best.
  void evaluate(Epoch& epoch) {
    const auto start = Clock::now();
    const Embeddings<float> h = training_.embeddings();
    ops_.top_k(items(), h.user, h.item, {nullptr, items().rows}, training_.graph());
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
    if (!all_finite(result().user) || !all_finite(result().item))
      fail("the embeddings after epoch " + std::to_string(result().best_epoch) +
           " are not finite" + what_to_try);
    const Graph<float>& graph = training_.graph();
    const auto popular = rank_by_popularity(ops_, data_.interactions, graph);
    result().by_popularity = test_.metrics(popular.matrix(graph.n_users, longest_list));
  }

  /// Throws. A training that failed would fail again.
  [[noreturn]] void fail(const std::string& message) {
    std::error_code ignored;
    std::filesystem::remove(hooks_.file, ignored);
    throw Error(message);
  }

  /// All that a checkpoint holds from the first batch on.
  std::vector<SavedArray> saved() {
    std::vector<SavedArray> out = training_.saved();
    if (result().best_epoch == 0) return out;
    const Graph<float>& graph = training_.graph();
    const size_t width = result().width;
    out.push_back(saved_array("best/user", best_user_.matrix(graph.n_users, width)));
    out.push_back(saved_array("best/item", best_item_.matrix(graph.n_items, width)));
    out.push_back(saved_array("best/lists", best_lists_.matrix(graph.n_users, longest_list)));
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

  void resume() {
    Checkpoint checkpoint(hooks_.file);
    if (const auto other = difference(checkpoint.about(), about_); !other.empty())
      throw Error(hooks_.file.string() + " is of another training, " + other);
    const size_t allocated = result().allocated;
    now_ = checkpoint.position();
    result().allocated = allocated;
    if (now_.epoch == 1 && now_.batches == 0) return;  // what the seed gives
    training_.go_to(now_.epoch, now_.batches);
    best_user_ = Array<float>(ops_, training_.graph().n_users * result().width);
    best_item_ = Array<float>(ops_, training_.graph().n_items * result().width);
    checkpoint.load(ops_, saved());
  }

  Ops<float>& ops_;
  const Dataset& data_;
  const TrainHooks& hooks_;
  const Json about_;
  const size_t epochs_, patience_;
  Evaluator<float> valid_, test_;
  Training training_;
  Array<int32_t> lists_, best_lists_;
  Array<float> best_user_, best_item_;
  Position now_;
  Clock::time_point saved_at_;
};

}  // namespace

std::vector<Setting> training_settings(const ModelKind& kind) {
  std::vector<Setting> out = {
      {"lr", positive(), "0.001", "Adam's learning rate", {}, {"learning-rate"}},
      {"lr-decay", positive(), "1", "q: the rate of epoch e, from 0, is lr q^(e/50)"},
      {"batch", whole_from_to(1, 1000000), "2048", "interactions in a batch", {},
           {"train-batch-size"}},
      {"epochs", whole_from_to(1, 1000000), "1000", "epochs at most"},
      {"patience", whole_from_to(1, 1000000), "20",
       "stop after so many epochs without a better validation R@20", {}, {"stopping-step"}},
      {"seed", whole_from_to(0, std::numeric_limits<uint64_t>::max()), "999",
       "seed of every random number of the training"},
      {"split-seed", whole_from_to(0, std::numeric_limits<uint64_t>::max()), "999",
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
    throw Error(data.name + " has no validation split, which would end the training: expected "
                "--epochs to say when");
  return Protocol(ops, data, kind, settings, hooks).run();
}

}  // namespace bm3
