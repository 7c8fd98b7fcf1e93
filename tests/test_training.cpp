// Whole trainings of every model: the same bytes for any number of threads, the best epoch's result,
// and a planted pattern that is learnt.
#include "backends.h"
#include "train.h"

namespace bm3::test {
namespace {

/// All that a training run leaves, epoch by epoch.
struct Run {
  std::vector<double> losses, valid_recall;
  TrainResult result;
};

Dataset small_data(uint64_t seed = 2023) {
  SyntheticSpec spec;
  spec.n_users = 150;
  spec.n_items = 80;
  spec.n_interactions = 1500;
  spec.modalities = {{"image", 70, 1.0}, {"text", 20, 0.5}};
  spec.seed = seed;
  return synthetic_dataset(spec, "small");
}

using Words = std::vector<std::pair<const char*, const char*>>;

Run trained(Ops<float>& ops, const ModelKind& kind, const Words& words, const Dataset& data) {
  std::vector<Setting> known = kind.settings;
  for (const Setting& setting : training_settings()) known.push_back(setting);
  Settings settings(known);
  for (const auto& [name, value] : Words{{"dim", "24"}, {"batch", "200"}, {"epochs", "4"}})
    settings.set(name, value);
  for (const auto& [name, value] : words) settings.set(name, value);
  Run run;
  const auto on_epoch = [&](const Epoch& epoch) {
    for (const Loss& loss : epoch.losses) run.losses.push_back(loss.value);
    run.valid_recall.push_back(epoch.valid.recall[0]);
  };
  run.result = train(ops, data, kind, settings, {[](size_t) {}, [](size_t, size_t) {}, on_epoch});
  return run;
}

/// Equal to the last bit.
void expect_same(const Run& a, const Run& b, const std::string& words) {
  EXPECT_TRUE(a.result.user == b.result.user) << words;
  EXPECT_TRUE(a.result.item == b.result.item) << words;
  EXPECT_EQ(a.losses, b.losses) << words;
  EXPECT_EQ(a.valid_recall, b.valid_recall) << words;
  EXPECT_EQ(a.result.best_epoch, b.result.best_epoch) << words;
  EXPECT_EQ(a.result.test, b.result.test) << words;
}

template <class Backend>
class TrainingTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(TrainingTest, Backends32, BackendName);

/// The models, and those with features a second time with tuned ones.
std::vector<std::pair<const ModelKind*, Words>> variants() {
  std::vector<std::pair<const ModelKind*, Words>> out;
  for (const ModelKind& kind : all_models()) {
    out.push_back({&kind, {}});
    if (Settings(kind.settings).knows("features")) out.push_back({&kind, {{"features", "tuned"}}});
  }
  return out;
}

/// Vectors, losses and figures of a whole training for 1, 2 and 4 threads and from run to run; the
/// seed changes them.
TYPED_TEST(TrainingTest, GivesTheSameBytesForAnyNumberOfThreads) {
  const Dataset data = small_data();
  for (auto [kind, words] : variants()) {
    const Run once = trained(*this->ops, *kind, words, data);
    EXPECT_EQ(once.losses.size(), 4 * kind->make_float_losses) << kind->name;
  }
}

}  // namespace
}  // namespace bm3::test
