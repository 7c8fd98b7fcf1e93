// The protocol of training and evaluation (4.3, 4.4), seen by a model that records its batches and
// ranks as a script says.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "layers/negatives.h"
#include "ops/cpu/cpu_ops.h"
#include "scratch.h"
#include "train.h"

namespace bm3::test {
namespace {

constexpr size_t n_users = 5, n_items = 60;
using Pair = std::pair<int32_t, int32_t>;

/// What an epoch's vectors give user u: the ranks, from 0, of the items held out for validation and
/// for test. The user's training item would be the very first.
struct Ranks {
  std::vector<size_t> valid, test;  // [n_users]
};

struct Script {
  std::vector<Ranks> epochs;             // the last one stands for all later ones
  std::vector<std::vector<Pair>> batches;
  std::vector<int32_t> negatives;
  std::vector<uint32_t> steps;           // that masks were drawn for
  std::vector<uint64_t> seeds;
  std::vector<uint64_t> keys;                  // of replays
  std::vector<std::array<size_t, 3>> sizes;    // of batches: interactions, users, items
  size_t last_finite = SIZE_MAX;         // batch
};
Script script;

/// User u's items: 3 u to 3 u + 9 in training, 40 + u for validation, 50 + u for test.
Dataset data() {
  Dataset out;
  out.name = "scripted";
  out.interactions.n_users = n_users;
  out.interactions.n_items = n_items;
  for (int32_t u = 0; u < int32_t{n_users}; ++u) {
    for (int32_t i = 3 * u; i < 3 * u + 9; ++i) out.interactions.train.push_back({u, i});
    out.interactions.valid.push_back({u, 40 + u});
    out.interactions.test.push_back({u, 50 + u});
  }
  return out;
}

class RecordingOps final : public CpuOps<float> {
 public:
  RecordingOps() : CpuOps<float>(1) {}
  void replay(uint64_t key, const std::function<void()>& work) override {
    script.keys.push_back(key);
    work();
  }
};

/// Scores are looked up: a user's vector is a unit vector, an item's has a score for each user.
class Scripted final : public Model<float> {
 public:
  explicit Scripted(const Setup<float>& s)
      : Model<float>(s, embedding_tables(s, xavier_uniform), {{"one", 2.0}}),
        user_(ops, n_users * n_users),
        item_(ops, n_items * n_users),
        epoch_(ops, 1) {}
  void draw(const Batch& batch, uint64_t seed) override {
    script.steps.push_back(*batch.step);
    script.seeds.push_back(seed);
  }
  void forward(const Batch& batch) override {
    std::vector<Pair> pairs;
    for (size_t r = 0; r < batch.users.n; ++r)
      for (int32_t e = batch.by_user.begin[r]; e < batch.by_user.begin[r + 1]; ++e) {
        pairs.push_back({batch.users.at[r], batch.items.at[batch.by_user.target[e]]});
        if (batch.triples.negative)
          script.negatives.push_back(batch.items.at[batch.triples.negative[e]]);
      }
    script.batches.push_back(pairs);
    script.sizes.push_back({batch.size, batch.users.n, batch.items.n});
    *loss(0) += static_cast<double>(script.batches.size());
    if (script.batches.size() > script.last_finite) *loss(0) = NAN;
  }
  void backward(const Batch&) override {}
  Embeddings<float> embeddings() override {
    const size_t last = script.epochs.size() - 1;
    const Ranks& now = script.epochs[std::min<size_t>(epoch_.data()[0]++, last)];
    for (size_t u = 0; u < n_users; ++u) {
      user_.data()[u * n_users + u] = 1;
      for (size_t i = 0, rank = 0; i < n_items; ++i) {  // others fill the ranks that are left
        while (rank == now.valid[u] || rank == now.test[u]) ++rank;
        const bool trained = i >= 3 * u && i < 3 * u + 9;
        const size_t place = i == 40 + u   ? now.valid[u]
                             : i == 50 + u ? now.test[u]
                             : trained     ? 0
                                           : rank++;
        item_.data()[i * n_users + u] = (trained ? 200.0F : 100.0F) - static_cast<float>(place);
      }
    }
    return {user_.matrix(n_users, n_users), item_.matrix(n_items, n_users)};
  }

  std::vector<SavedArray> state() override {
    return {saved_array("place in the script", epoch_.matrix(1, 1))};
  }

 private:
  Array<float> user_, item_;
  Array<uint32_t> epoch_;
};

struct Outcome {
  TrainResult result;
  std::vector<Epoch> epochs;
};

Outcome run(const std::vector<Ranks>& epochs, const std::map<std::string, std::string>& words,
            bool negatives = false, const Dataset& of = data(), TrainHooks hooks = {},
            size_t last_finite = SIZE_MAX) {
  script = {epochs, {}, {}, {}, {}, {}, {}, last_finite};
  const ModelKind kind{"scripted", "", {dim_setting()}, {}, negatives, false,
                       [](const Setup<float>& s) -> std::unique_ptr<Model<float>> {
                         auto model = std::make_unique<Scripted>(s);
                         model->allocate();
                         return model;
                       }, nullptr};
  Settings settings = all_settings(kind);
  for (const auto& [name, value] : words) settings.set(name, value);
  RecordingOps ops;
  Outcome out;
  hooks.on_epoch = [&](const Epoch& epoch) { out.epochs.push_back(epoch); };
  out.result = train(ops, of, kind, settings, hooks);
  return out;
}

/// Ranks in which `hits` users have their validation item at this rank and their test item at that
/// one, and the others have both beyond 50.
Ranks ranks(size_t hits, size_t valid, size_t test) {
  Ranks out;
  for (size_t u = 0; u < n_users; ++u) {
    out.valid.push_back(u < hits ? valid : 45);
    out.test.push_back(u < hits ? test : 46);
  }
  return out;
}

TEST(Protocol, DrawsAreKeyedByTheSeedAndByStepsFromOne) {
  run({ranks(1, 0, 1)}, {{"batch", "20"}, {"epochs", "2"}, {"seed", "7"}});
  EXPECT_EQ(script.steps, (std::vector<uint32_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(script.seeds, std::vector<uint64_t>(6, 7));
}

/// A device may record a step and replay the record for another one with its key.
TEST(Protocol, StepsHaveOneKeyWhereTheirSizesAreEqual) {
  for (const char* size : {"7", "15"}) {
    run({ranks(1, 0, 1)}, {{"batch", size}, {"epochs", "20"}});
    ASSERT_EQ(script.keys.size(), script.sizes.size());
    for (size_t a = 0; a < script.keys.size(); ++a)
      for (size_t b = 0; b < a; ++b)
        EXPECT_EQ(script.keys[a] == script.keys[b], script.sizes[a] == script.sizes[b]);
  }
}

/// An epoch is a shuffle of all training pairs, in the previous epoch's order, by (seed, epoch); so
/// are its negatives. The last batch is partial.
TEST(Protocol, EpochsAreTheShufflesAndNegativesOfTheirKeys) {
  const Negatives negatives(data().interactions);
  for (const auto& [size, seed] : {std::pair<size_t, uint64_t>{1, 3}, {8, 3}, {8, 4}, {45, 5}}) {
    SCOPED_TRACE(testing::Message() << "batch " << size << ", seed " << seed);
    run({ranks(1, 0, 1)}, {{"batch", std::to_string(size)}, {"epochs", "3"},
                           {"seed", std::to_string(seed)}}, true);
    std::vector<Interaction> order = data().interactions.train;
    size_t step = 0, at = 0;  // of the first pair, of its negative
    for (uint32_t epoch = 1; epoch <= 3; ++epoch) {
      shuffle(order, seed, epoch);  // which test_training.cpp proves
      for (size_t first = 0; first < order.size(); first += size, ++step) {
        std::multiset<Pair> expected;  // a batch has its pairs by user
        std::multiset<int32_t> drawn, found;
        for (size_t k = first; k < std::min(first + size, order.size()); ++k, ++at) {
          expected.insert({order[k].user, order[k].item});
          drawn.insert(negatives.draw(order[k].user, seed, epoch, k));
          found.insert(script.negatives.at(at));
        }
        const auto& batch = script.batches.at(step);
        EXPECT_EQ(std::multiset<Pair>(batch.begin(), batch.end()), expected) << "step " << step;
        EXPECT_EQ(found, drawn) << "step " << step;
      }
    }
    EXPECT_EQ(script.batches.size(), step);
  }
}

TEST(Protocol, LossesAreMeansOfTheBatches) {
  const Outcome out = run({ranks(1, 0, 1)}, {{"batch", "8"}, {"epochs", "2"}});
  EXPECT_EQ(out.epochs[0].losses[0].value, 21.0 / 6);  // 1 + ... + 6
  EXPECT_EQ(out.epochs[1].losses[0].value, 57.0 / 6);  // 7 + ... + 12
  EXPECT_EQ(total(out.epochs[0].losses), 7.0);
}

/// Epoch 3 is the first with the largest R@20, though epoch 2 has the larger N@20, epoch 4 the same
/// R@20 and a larger N@20, and epoch 5 better test figures.
const std::vector<Ranks> story = {ranks(1, 0, 30), ranks(3, 0, 30), ranks(4, 19, 9),
                                  ranks(4, 1, 30), ranks(2, 0, 1)};

/// Test figures and vectors are that epoch's.
TEST(Protocol, TheBestEpochIsTheFirstWithTheLargestValidationRecallAt20) {
  const Outcome out = run(story, {{"epochs", "5"}});
  EXPECT_EQ(out.result.best_epoch, 3u);
  const bool best[] = {true, true, true, false, false};
  for (size_t k = 0; k < 5; ++k) EXPECT_EQ(out.epochs[k].best, best[k]) << k + 1;
  EXPECT_EQ(out.result.valid.recall(at20), 0.8);
  EXPECT_EQ(out.result.valid.recall(at10), 0);
  EXPECT_GT(out.epochs[1].valid.ndcg(at20), out.result.valid.ndcg(at20));
  EXPECT_EQ(out.result.test.recall(at10), 0.8);  // rank 10 among the items not of the training
  EXPECT_EQ(out.result.test.n_users, n_users);
  EXPECT_EQ(out.result.item[40 * n_users], 100.0F - 19);
}

TEST(Protocol, StopsWhenSoManyEpochsBroughtNothingBetter) {
  for (size_t patience : {1, 2, 5}) {
    const Outcome out = run(story, {{"patience", std::to_string(patience)}});
    EXPECT_EQ(out.epochs.size(), 3 + patience);
    EXPECT_EQ(out.result.best_epoch, 3u);
  }
}

TEST(Protocol, WithoutValidationTheLastEpochCounts) {
  Dataset no_valid = data();
  no_valid.interactions.valid.clear();
  const Outcome out = run(story, {{"epochs", "4"}, {"patience", "1"}}, false, no_valid);
  EXPECT_EQ(out.epochs.size(), 4u);
  EXPECT_EQ(out.result.best_epoch, 4u);
  EXPECT_EQ(out.result.valid.n_users, 0u);
  EXPECT_EQ(out.result.test.recall(3), 1.0);
  EXPECT_EQ(out.result.test.recall(at20), 0);
  EXPECT_EQ(out.result.item[50 * n_users], 100.0F - 30);
}

/// In the first epoch there is none; an epoch has six batches.
TEST(Protocol, StoppedItLeavesTheBestEpochSoFar) {
  for (const auto& [batches, best, recall] : {std::tuple<size_t, size_t, double>{1, 0, 0},
                                              {13, 2, 0.6}}) {
    size_t left = batches;
    TrainHooks hooks;
    hooks.stop = [&] { return --left == 0; };
    const Outcome out = run(story, {{"batch", "8"}}, false, data(), hooks);
    EXPECT_EQ(out.result.ended, interrupted);
    EXPECT_EQ(out.result.best_epoch, best);
    EXPECT_EQ(out.result.valid.recall(at20), recall);
    EXPECT_EQ(out.result.lists.size(), best > 0 ? n_users * longest_list : 0);
    EXPECT_EQ(script.batches.size(), batches);
  }
}

TEST(Protocol, ALossThatIsNotFiniteLeavesTheBestEpochSoFar) {
  const ScratchFolder scratch;
  const std::string message = " is not finite: try a smaller --lr, or look at the features' scale";
  TrainHooks hooks;
  hooks.file = scratch / "run.checkpoint";
  const Outcome out = run(story, {{"batch", "8"}}, false, data(), hooks, 20);
  EXPECT_EQ(out.result.ended, "the loss of epoch 4" + message);
  EXPECT_EQ(out.result.best_epoch, 3u);
  EXPECT_EQ(out.result.item[40 * n_users], 100.0F - 19);
  EXPECT_ERROR(run(story, {{"batch", "8"}}, false, data(), hooks, 5),
               "the loss of epoch 1" + message);
  EXPECT_FALSE(std::filesystem::exists(hooks.file));
}

TEST(Protocol, GoesOnWithoutACheckpointThatCannotBeWritten) {
  const ScratchFolder scratch;
  std::vector<std::string> why;
  TrainHooks hooks;
  hooks.file = scratch / "none/run.checkpoint";
  hooks.not_saved = [&](const std::string& message) { why.push_back(message); };
  EXPECT_EQ(run(story, {{"epochs", "5"}}, false, data(), hooks).result.best_epoch, 3u);
  EXPECT_EQ(why, std::vector<std::string>(2, "cannot write " + hooks.file.string() +
                                                 " (No such file or directory): expected room for "
                                                 "it"));
}

}  // namespace
}  // namespace bm3::test
