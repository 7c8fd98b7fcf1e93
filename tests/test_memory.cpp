// The table of --memory against what is allocated: each part, the peak of a whole training, and
// sizes that no test could train on.
#include "memory.h"

#include "backends.h"
#include "data/synthetic.h"
#include "ops/cpu/cpu_ops.h"

namespace bm3::test {
namespace {

/// The CPU's operations with a GPU's padding and copies of rows, which remember the most memory
/// that was taken at once.
class CountingOps : public CpuOps<float> {
 public:
  explicit CountingOps(const DeviceFacts& facts) : CpuOps<float>(facts.threads), facts_(facts) {}
  size_t row_padding() const override { return facts_.row_padding; }
  bool copies_rows() const override { return facts_.copies_rows; }
  bool fetches_ahead() const override { return facts_.fetches_ahead; }
  void* allocate(size_t bytes) override {
    void* memory = CpuOps<float>::allocate(bytes);
    peak_ = std::max(peak_, taken_ += bytes);
    sizes_[memory] = bytes;
    return memory;
  }
  void release(void* memory) noexcept override {
    taken_ -= sizes_[memory];
    CpuOps<float>::release(memory);
  }
  size_t taken() const { return taken_; }
  size_t peak() const { return peak_; }

 private:
  DeviceFacts facts_;
  std::unordered_map<void*, size_t> sizes_;
  size_t taken_ = 0, peak_ = 0;
};

const DeviceFacts devices[] = {
    {1, false, false, 1}, {128, true, false, 1}, {128, true, true, 1}};  // CPU, GPU, GPU too small

struct Case {
  Dataset data;
  TrainConfig config;
};
Case make_case(size_t modalities, size_t n_layers, bool tuned) {
  SyntheticSpec spec;
  spec.n_users = 310;
  spec.n_items = 170;
  spec.n_interactions = 3000;
  const SyntheticModality all[] = {{"image", 700, 1.0}, {"text", 33, 1.0}, {"audio", 5, 1.0}};
  spec.modalities.assign(all, all + modalities);
  Case c{synthetic_dataset(spec, "small"), {}};
  c.config.model.d = 24;
  c.config.model.n_layers = n_layers;
  c.config.model.tuned = tuned;
  c.config.batch = 200;
  c.config.epochs = 2;
  return c;
}

template <class Check>
void for_cases(const Check& check) {
  for (size_t modalities = 0; modalities <= 3; ++modalities)
    for (size_t n_layers = 0; n_layers <= 3; ++n_layers)
      for (bool tuned : {false, true}) {
        SCOPED_TRACE(testing::Message() << modalities << " modalities, L = " << n_layers
                                        << (tuned ? ", tuned" : ", frozen"));
        check(make_case(modalities, n_layers, tuned));
      }
}

/// Of the part with this name; and where a test asks for a name that is not there, a failure.
size_t bytes_of(const std::vector<MemoryPart>& parts, const std::string& name) {
  for (const auto& part : parts)
    if (part.name == name) return part.bytes;
  ADD_FAILURE() << "no part " << name;
  return 0;
}

const char* const working = "working memory of the operations";
size_t total_but_working(const std::vector<MemoryPart>& parts) {
  return total(parts) - bytes_of(parts, working);
}

void train(Ops<float>& ops, const Case& c, const std::function<void()>& on_epoch = [] {}) {
  size_t epochs = 0;
  bm3::train(ops, c.data, c.config, {[](size_t) {}, [](size_t, size_t) {}, [&](const Epoch&) {
                                       ++epochs;
                                       on_epoch();
                                     }});
  EXPECT_EQ(epochs, c.config.epochs);
}

/// The parts of a table, compared one by one with what was allocated.
class Parts {
 public:
  Parts(const CountingOps& ops, std::vector<MemoryPart> parts)
      : ops_(ops), parts_(std::move(parts)) {}
  void expect(const char* name, size_t bytes) {
    EXPECT_EQ(bytes_of(parts_, name), bytes) << name;
    known_ += bytes;
  }
  /// The parts so far are all that is allocated.
  void expect_no_more() { EXPECT_EQ(ops_.taken(), known_); }
  /// The parts so far are all of the table but the working memory.
  void expect_complete() { EXPECT_EQ(known_, total_but_working(parts_)); }

 private:
  const CountingOps& ops_;
  std::vector<MemoryPart> parts_;
  size_t known_ = 0;
};

struct FeatureBytes {
  size_t features = 0, copies = 0, gradients = 0;
};
FeatureBytes feature_bytes(Bm3<float>& model) {
  FeatureBytes sum;
  for (const auto& e : model.modalities()) {
    sum.features += e.features.size() * sizeof(float);
    sum.copies += (e.copy[0].size() + e.copy[1].size()) * sizeof(float);
    sum.gradients += e.d_features.size() * sizeof(float);
  }
  return sum;
}

void expect_model(Parts& parts, Bm3<float>& model, const TrainConfig& config) {
  const FeatureBytes of = feature_bytes(model);
  parts.expect("features", of.features);
  parts.expect("features: copies of batches' rows", of.copies);
  parts.expect("features: gradients of a batch's rows", of.gradients);
  parts.expect("parameters", model.values().size() * sizeof(float));
  parts.expect("parameters: gradients", model.gradients().size() * sizeof(float));
  const size_t H = model.H().size() * sizeof(float);
  parts.expect("H, layers and predictions of all nodes", (config.model.n_layers > 1 ? 3 : 2) * H);
  parts.expect("a batch's matrices, and sums of losses",
               4 * model.z().size() * sizeof(float) + model.masks().size() + 6 * sizeof(double));
}

void expect_adam(Parts& parts, Bm3<float>& model, bool tuned, bool fetches_ahead, size_t steps) {
  const FeatureBytes of = feature_bytes(model);
  parts.expect("parameters: Adam's m and v", 2 * model.values().size() * sizeof(float));
  parts.expect("Adam's schedule and step", (steps + 1) * 8 + 4);
  parts.expect("features: Adam's m and v", tuned ? 2 * of.features : 0);
  parts.expect("features: copies of these rows' m and v",
               tuned && fetches_ahead ? 2 * of.copies : 0);
  parts.expect("features: steps of their last updates",
               tuned ? model.modalities().size() * model.n_items() * 4 : 0);
}

void expect_evaluation(Parts& parts, CountingOps& ops, const Interactions& data,
                       const Graph<float>& graph, const DataSizes& sizes) {
  const HeldOut valid = held_out(data.valid, data), test = held_out(data.test, data);
  const Ranker<float> ranker(ops, graph, users_of(valid, test), longest_list);
  const Evaluator<float> of_valid(ops, valid, ranker.users()), of_test(ops, test, ranker.users());
  parts.expect("ranking: users, items and scores", sizes.n_ranked * (4 + 50 * 8));
  parts.expect("held-out items and metrics", sizes.n_evaluated * 12 + sizes.n_held_out * 4 +
                                                 2 * 8 + 2 * 8 * (51 + 16));
  parts.expect_no_more();
}

/// What the operations allocate while the objects of a training are made, one after the other.
TEST(Memory, EachPartIsWhatItsArraysTake) {
  for (const DeviceFacts& facts : devices)
    for_cases([&](const Case& c) {
      CountingOps ops(facts);
      const DataSizes sizes = sizes_of(c.data);
      Parts parts(ops, training_memory(sizes, c.config, facts));
      const auto graph = make_graph<float>(ops, c.data.interactions.n_users,
                                           c.data.interactions.n_items, c.data.interactions.train);
      parts.expect("graph", ops.taken());
      const size_t before = ops.taken();
      BatchLoader loader(ops, graph.n_users, graph.n_items, c.config.batch);
      parts.expect("row lists of two batches", ops.taken() - before);

      Bm3<float> model(ops, graph, c.config.model, sizes.modalities, loader);
      if (facts.fetches_ahead || (facts.copies_rows && !c.config.model.tuned)) model.fetch_ahead();
      expect_model(parts, model, c.config);
      parts.expect_no_more();

      const size_t steps =
          c.config.epochs * ((sizes.n_train + c.config.batch - 1) / c.config.batch);
      Adam<float> adam(ops, model, c.config.adam, steps);
      if (facts.fetches_ahead) adam.fetch_ahead();
      expect_adam(parts, model, c.config.model.tuned, facts.fetches_ahead, steps);
      parts.expect_no_more();
      expect_evaluation(parts, ops, c.data.interactions, graph, sizes);
      parts.expect("predictions of the best epoch", model.H().size() * sizeof(float));
      parts.expect_complete();
    });
}

/// The most that a whole training takes at once, and the operations' working memory at its end.
TEST(Memory, PeakOfATraining) {
  for (const DeviceFacts& facts : devices)
    for_cases([&](const Case& c) {
      CountingOps ops(facts);
      const auto parts = training_memory(sizes_of(c.data), c.config, facts);
      train(ops, c);
      EXPECT_EQ(ops.peak(), total_but_working(parts));
      EXPECT_EQ(ops.taken(), 0u);
      const size_t left = ops.allocated();  // all the rest is released
      EXPECT_LE(left, bytes_of(parts, working));
      EXPECT_GE(2 * left, bytes_of(parts, working));  // batches have fewer rows than they might
    });
}

/// A device's own count of what it has allocated, between two epochs.
template <class Backend>
class MemoryTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(MemoryTest, Backends32, BackendName);

TYPED_TEST(MemoryTest, TheDeviceCountsTheSame) {
  constexpr bool gpu = !TypeParam::threaded;
  const DeviceFacts facts = gpu ? facts_of_gpu() : facts_of_cpu(1);
  for_cases([&](const Case& c) {
    const auto device = TypeParam::make(1);
    const size_t at_start = device->allocated();  // of a GPU, cuBLAS's workspace
    const auto parts = training_memory(sizes_of(c.data), c.config, facts);
    size_t held = 0;
    train(*device, c, [&] { held = device->allocated(); });
    const size_t left = device->allocated();
    EXPECT_EQ(held - left, total_but_working(parts));
    EXPECT_LE(left, bytes_of(parts, working));
    EXPECT_LE(at_start, left);
    EXPECT_FALSE(device->fetches_ahead());  // a GPU has room for these features
  });
}

/// The largest of the paper's data sets fits on a card of 12 GB, with room for CUDA itself.
TEST(Memory, ElectronicsOnA12GbCard) {
  const DataSizes sizes{192403, 63001, 1689188, 192403, 2 * 192403, 2 * 221880,
                        {{"image", 4096}, {"text", 384}}};
  TrainConfig config;
  config.model.n_layers = 2;
  const size_t features = size_t{63001} * 4480 * 4;  // more than 32 bits count
  const auto frozen = training_memory(sizes, config, facts_of_gpu());
  EXPECT_GT(total(frozen), features);
  EXPECT_LT(total(frozen), size_t{2} << 30);
  EXPECT_EQ(total(frozen) - total_beside_tables(frozen), features);
  config.model.tuned = true;
  const auto tuned = training_memory(sizes, config, facts_of_gpu());
  EXPECT_EQ(total(tuned) - total_beside_tables(tuned), 3 * features);
  EXPECT_LT(total(tuned), size_t{11} << 30);
}

}  // namespace
}  // namespace bm3::test
