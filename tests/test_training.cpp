// Whole trainings of every model: the same bytes for any number of threads, the best epoch's
// result, and a planted pattern that is learnt.
#include "backends.h"
#include "random_inputs.h"
#include "scratch.h"
#include "train.h"

namespace bm3::test {
namespace {

/// All that a training run leaves, epoch by epoch.
struct Run {
  std::vector<double> losses, valid_recall;
  TrainResult result;
};

using Words = std::vector<std::pair<const char*, const char*>>;

Run trained(Ops<float>& ops, const ModelKind& kind, const Words& words, const Dataset& data,
            TrainHooks hooks = {}) {
  Settings settings = all_settings(kind);
  for (const auto& [name, value] : Words{{"dim", "24"}, {"batch", "200"}, {"epochs", "4"}})
    settings.set(name, value);
  for (const auto& [name, value] : words) settings.set(name, value);
  Run run;
  hooks.on_epoch = [&](const Epoch& epoch) {
    for (const Loss& loss : epoch.losses) run.losses.push_back(loss.value);
    run.valid_recall.push_back(epoch.valid.recall(0));
  };
  run.result = train(ops, data, kind, settings, hooks);
  return run;
}

/// Equal to the last bit.
void expect_same(const TrainResult& a, const TrainResult& b, const std::string& words) {
  EXPECT_TRUE(a.user == b.user) << words;
  EXPECT_TRUE(a.item == b.item) << words;
  EXPECT_TRUE(a.lists == b.lists) << words;
  EXPECT_EQ(a.best_epoch, b.best_epoch) << words;
  EXPECT_EQ(a.valid.values, b.valid.values) << words;
  EXPECT_EQ(a.test.values, b.test.values) << words;
}

Dataset small_data() {
  return synthetic_dataset({150, 80, 1500, {{"image", 70, 1.0}, {"text", 20, 0.5}}}, "small");
}

/// Five groups of 24 users and 20 items: a user has 12 random items of the own group, 8 of them for
/// training, and items look like their group.
Dataset planted_data() {
  constexpr size_t groups = 5, group_users = 24, group_items = 20;
  Random random(1);
  Dataset data;
  data.name = "planted";
  data.interactions.n_users = groups * group_users;
  data.interactions.n_items = groups * group_items;
  for (size_t user = 0; user < groups * group_users; ++user) {
    size_t k = 0;
    for (int32_t item : random.distinct_rows(group_items, group_items)) {
      if (item < 0 || k == 12) continue;
      auto& part = k < 8 ? data.interactions.train
                   : k < 10 ? data.interactions.valid : data.interactions.test;
      part.push_back({static_cast<int32_t>(user),
                      item + static_cast<int32_t>(user / group_users * group_items)});
      ++k;
    }
  }
  data.modalities.push_back({"image", groups, [](size_t first, size_t count, float* out) {
    for (size_t i = first; i < first + count; ++i)
      for (size_t c = 0; c < groups; ++c)
        *out++ = (i / group_items == c ? 1.0F : 0.0F) + 0.1F * static_cast<float>(i % 3);
  }});
  return data;
}

/// Fisher and Yates' shuffle with the words of (seed, epoch, place), at any length.
TEST(Shuffle, IsFisherAndYatesAtAnyLength) {
  for (size_t length : {0, 1, 2, 256, 257, 258, 1000}) {
    std::vector<Interaction> order(length);
    for (size_t k = 0; k < length; ++k) order[k].user = static_cast<int32_t>(k);
    auto expected = order;
    shuffle(order, 3, 7);
    for (size_t n = length; n > 1; --n) {
      const Random4 random = philox(3, Stream::shuffle, 7, n);
      std::swap(expected[n - 1], expected[(uint64_t{random.x[0]} << 32 | random.x[1]) % n]);
    }
    for (size_t k = 0; k < length; ++k) ASSERT_EQ(order[k].user, expected[k].user) << length;
  }
}

template <class Backend>
class TrainingTest : public OnBackend<Backend> {
 protected:
  /// A GPU's threads one by one: a training takes minutes.
  static constexpr bool slow = Backend::most_rows < 1000000;

  /// Calls check(kind, settings, words) for every model, and once more with tuned features; where
  /// it is slow, for `models` models without.
  template <class Check>
  static void for_each_model(size_t models, const Check& check) {
    for (const ModelKind& kind : all_models()) {
      if (slow && models-- == 0) return;
      check(kind, Words{}, kind.name);
      if (!slow && Settings(kind.settings).knows("features"))
        check(kind, Words{{"features", "tuned"}}, kind.name + ", tuned");
    }
  }
};
TYPED_TEST_SUITE(TrainingTest, Backends32, BackendName);

/// Vectors, losses and figures, from run to run and for 1, 2 and 4 threads; the seed changes them.
TYPED_TEST(TrainingTest, GivesTheSameBytesForAnyNumberOfThreads) {
  const Dataset data = small_data();
  this->for_each_model(10, [&](const ModelKind& kind, Words settings, const std::string& words) {
    const Run once = trained(*this->ops, kind, settings, data);
    EXPECT_EQ(once.valid_recall.size(), 4u) << words;
    EXPECT_EQ(once.result.user.size(), 150 * once.result.width) << words;
    EXPECT_EQ(once.result.item.size(), 80 * once.result.width) << words;
    EXPECT_LT(once.losses[once.losses.size() / 4 * 3], once.losses[0]) << words;
    for (int threads : this->slow ? std::vector{2} : std::vector{2, 1, 2, 4}) {
      const Run again = trained(*TypeParam::make(threads), kind, settings, data);
      expect_same(again.result, once.result, words + ", " + std::to_string(threads) + " threads");
      EXPECT_TRUE(again.losses == once.losses) << words;
      EXPECT_EQ(again.valid_recall, once.valid_recall) << words;
    }
    settings.push_back({"seed", "1000"});
    const Run other = trained(*this->ops, kind, settings, data);
    EXPECT_NE(other.losses, once.losses) << words;
    EXPECT_NE(other.result.user, once.result.user) << words;
  });
}

/// Stopped after the first batch and every fourth, in an epoch or at its end; resumed each time. At
/// its end nothing is left to train.
TYPED_TEST(TrainingTest, GoesOnFromACheckpointToTheSameBytes) {
  const Dataset data = small_data();
  const ScratchFolder scratch;
  const auto check = [&](const ModelKind& kind, const Words& settings, const std::string& words) {
    const Run whole = trained(*TypeParam::make(2), kind, settings, data);
    EXPECT_EQ(whole.result.ended, complete);
    TrainHooks hooks;
    hooks.file = scratch / words;
    Run run;
    size_t runs = 0;
    do {
      size_t batches = 0;
      hooks.stop = [&] { return ++batches == (runs == 0 ? 1 : runs == 1 ? 3 : 4); };
      const Run next = trained(*TypeParam::make(2), kind, settings, data, hooks);
      run.losses.insert(run.losses.end(), next.losses.begin(), next.losses.end());
      run.result = next.result;
      hooks.resume = true;
      ++runs;
    } while (run.result.ended == interrupted && runs < 9);
    EXPECT_EQ(run.result.ended, complete) << words;
    EXPECT_GE(runs, 6u) << words;
    expect_same(run.result, whole.result, words);
    EXPECT_EQ(run.losses, whole.losses) << words;
    const Run again = trained(*TypeParam::make(2), kind, settings, data, hooks);
    expect_same(again.result, whole.result, words);
    EXPECT_TRUE(again.losses.empty()) << words;
    EXPECT_EQ(run.result.allocated, whole.result.allocated) << words;
    ASSERT_EQ(run.result.epochs.size(), 4u) << words;
    for (size_t e = 0; e < 4; ++e) {
      const Epoch &there = run.result.epochs[e], &here = whole.result.epochs[e];
      EXPECT_EQ(there.number, e + 1);
      EXPECT_EQ(there.best, here.best) << words;
      EXPECT_EQ(total(there.losses), total(here.losses)) << words;
      EXPECT_EQ(there.valid.values, here.valid.values) << words;
    }
  };
  this->for_each_model(1, check);
}

/// Within 20 epochs test R@20 is far above that of ranking by popularity. What a run leaves is its
/// best epoch's, not its last's, ten later, where patience ends: that of a run which ends there.
TYPED_TEST(TrainingTest, LearnsAPlantedPatternAndLeavesTheBestEpoch) {
  const Dataset data = planted_data();
  this->for_each_model(1, [&](const ModelKind& kind, Words settings, const std::string& words) {
    for (const auto& more :
         Words{{"dim", "16"}, {"epochs", "200"}, {"patience", "10"}, {"lr", "0.02"}})
      settings.push_back(more);
    const Run all = trained(*this->ops, kind, settings, data);
    const double learnt = all.result.test.recall(at20),
                 by_popularity = all.result.by_popularity.recall(at20);
    std::cout << words << ": test R@20 " << learnt << ", popularity " << by_popularity
              << ", best epoch " << all.result.best_epoch << "\n";
    EXPECT_GT(learnt, 2 * by_popularity) << words;

    if (all.result.best_epoch > 20) {
      Words fewer = settings;
      fewer.push_back({"epochs", "20"});
      const Run early = trained(*this->ops, kind, fewer, data);
      EXPECT_GT(early.result.test.recall(at20), 2 * by_popularity) << words;
    }

    EXPECT_EQ(all.result.best_epoch + 10, all.result.epochs.size()) << words;
    const std::string best = std::to_string(all.result.best_epoch);
    settings.push_back({"epochs", best.c_str()});
    const Run some = trained(*this->ops, kind, settings, data);
    expect_same(some.result, all.result, words);
  });
}

#ifdef BM3_CUDA
using CudaTraining = TrainingTest<CudaBackend<float>>;

/// Both round to 2^-24, in different orders of summation, and what comes of it does not grow: an
/// epoch's mean losses differ by at most 2^-22 of their sum, and no figure by a user's share.
TEST_F(CudaTraining, IsTheCpusUpToRounding) {
  const Dataset data = small_data();
  const auto cpu = make_cpu_ops<float>(2);
  for_each_model(10, [&](const ModelKind& kind, const Words& settings, const std::string& words) {
    const auto there = trained(*ops, kind, settings, data);
    const auto here = trained(*cpu, kind, settings, data);
    const size_t parts = here.losses.size() / here.valid_recall.size();
    for (size_t k = 0; k < here.losses.size(); ++k) {
      double sum = 0;
      for (size_t part = 0; part < parts; ++part) sum += here.losses[k / parts * parts + part];
      EXPECT_NEAR(there.losses[k], here.losses[k], std::ldexp(sum, -22)) << words << ", " << k;
    }
    for (size_t e = 0; e < here.valid_recall.size(); ++e)
      EXPECT_NEAR(there.valid_recall[e], here.valid_recall[e], 1.0 / 150) << words << ", " << e;
  });
}
#endif

}  // namespace
}  // namespace bm3::test
