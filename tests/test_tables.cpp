// Tables of features in the host's memory: a batch's rows fetched ahead, and the same bytes as with
// tables on the device. The order of the work is proved without a GPU, by devices that do the work
// beside a step as early and as late as they may.
#include "backends.h"
#include "model_check.h"
#include "ops/cpu/cpu_ops.h"
#include "train.h"

namespace bm3::test {
namespace {

/// The CPU's operations as if its tables lay far away. What is done beside waits for `join`, or is
/// done at once.
class FarOps : public CpuOps<float> {
 public:
  explicit FarOps(bool late) : CpuOps<float>(1), late_(late) {}
  bool copies_rows() const override { return true; }
  bool fetches_ahead() const override { return true; }
  void beside(size_t slot, const std::function<void()>& work) override {
    EXPECT_FALSE(in_replay_);
    EXPECT_FALSE(waiting_[slot]);
    ++fetches_;
    if (late_)
      waiting_[slot] = work;
    else
      work();
  }
  void join(size_t slot) override {
    EXPECT_FALSE(in_replay_);  // a recorded step cannot wait for what is not in the record
    ++joins_;
    others_ += waiting_[1 - slot] ? 1u : 0u;
    if (waiting_[slot]) waiting_[slot]();
    waiting_[slot] = nullptr;
  }
  void replay(uint64_t, const std::function<void()>& work) override {
    in_replay_ = true;
    work();
    in_replay_ = false;
  }
  size_t fetches() const { return fetches_; }
  size_t joins() const { return joins_; }
  /// Joins while the other slot was under way.
  size_t others() const { return others_; }

 private:
  bool late_, in_replay_ = false;
  std::function<void()> waiting_[2];
  size_t fetches_ = 0, joins_ = 0, others_ = 0;
};

struct Run {
  std::vector<double> losses;
  TrainResult result;
  bool operator==(const Run& o) const {
    return losses == o.losses && result.user == o.result.user && result.item == o.result.item;
  }
};

constexpr size_t n_epochs = 3;

/// `n_train` counts the interactions that were trained on.
Run trained(Ops<float>& ops, bool tuned, size_t batch, size_t* n_train = nullptr) {
  SyntheticSpec spec;
  spec.n_users = 120;
  spec.n_items = 70;
  spec.n_interactions = 1200;
  spec.modalities = {{"image", 68, 1.0}, {"text", 21, 0.5}};
  const Dataset data = synthetic_dataset(spec, "small");
  TrainConfig config;
  config.model.d = 16;
  config.model.tuned = tuned;
  config.batch = batch;
  config.epochs = n_epochs;
  Run run;
  run.result = train(ops, data, config, {[](size_t) {}, [](size_t, size_t) {}, [&](const Epoch& e) {
                                           run.losses.push_back(e.loss.total());
                                         }});
  EXPECT_EQ(run.losses.size(), n_epochs);
  if (n_train) *n_train = data.interactions.train.size();
  return run;
}

/// An even and an odd number of batches in an epoch, and one alone.
TEST(FetchedAhead, ChangesNothing) {
  const auto plain = make_cpu_ops<float>(1);
  for (bool tuned : {false, true})
    for (size_t batch : {100, 130, 170, 5000})
      for (bool late : {false, true}) {
        SCOPED_TRACE(testing::Message() << tuned << " " << batch << " " << late);
        FarOps far(late);
        size_t n_train = 0;
        EXPECT_TRUE(trained(far, tuned, batch, &n_train) == trained(*plain, tuned, batch));
        const size_t batches = (n_train + batch - 1) / batch;
        EXPECT_EQ(far.fetches(), tuned ? 0 : n_epochs * batches);  // tuned rows come in order
        EXPECT_EQ(far.joins(), far.fetches());
        // Each fetch but an epoch's first is under way when the step before begins.
        EXPECT_EQ(far.others(), tuned || !late ? 0 : n_epochs * (batches - 1));
      }
}

#ifdef BM3_CUDA

constexpr size_t everything = ~size_t{0};  // what tables leave to the rest: none lies on the GPU

template <class Backend>
class TableTest : public OnBackend<Backend> {};
using CudaBackends = ::testing::Types<CudaBackend<double>, CudaBackend<float>>;
TYPED_TEST_SUITE(TableTest, CudaBackends, BackendName);

TYPED_TEST(TableTest, OnTheHostHasTheSameBytes) {
  using T = typename TypeParam::Real;
  const auto far = make_cuda_ops<T>(false, false, everything);
  EXPECT_EQ(far->name(), this->ops->name());
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const ModelCase c = random_case(1, 1 + seed % 3, seed);
    CaseOnDevice<T> a(*this->ops, c), b(*far, c);
    EXPECT_FALSE(this->ops->fetches_ahead());
    EXPECT_TRUE(far->fetches_ahead());
    EXPECT_NE(far->name(), this->ops->name());  // it says so
    EXPECT_LT(far->allocated(), this->ops->allocated());
    EXPECT_EQ(a.step().total(), b.step().total()) << seed;
    EXPECT_EQ(a.model.gradients().host(), b.model.gradients().host()) << seed;
    for (size_t m = 0; m < c.modalities.size(); ++m) {
      EXPECT_EQ(a.model.modalities()[m].features.host(), b.model.modalities()[m].features.host());
      EXPECT_EQ(a.feature_gradient(m), b.feature_gradient(m)) << seed;
    }
  }
  EXPECT_FALSE(far->fetches_ahead());  // its tables have been released
}

TYPED_TEST(TableTest, StayOnTheGpuWhileTheyLeaveTheReserve) {
  using T = typename TypeParam::Real;
  const size_t reserve = size_t{64} << 20, n = size_t{1} << 20;
  const auto reserving = make_cuda_ops<T>(false, false, reserve);
  const size_t before = reserving->allocated();
  const auto table = Array<T>::table(*reserving, n);
  EXPECT_EQ(reserving->allocated(), before + n * sizeof(T));
  EXPECT_FALSE(reserving->fetches_ahead());
  EXPECT_EQ(table.host(), std::vector<T>(n, T(0)));
}

class CudaTraining : public OnBackend<CudaBackend<float>> {};

TEST_F(CudaTraining, HasTheSameBytesWithTablesOnTheHost) {
  for (bool tuned : {false, true})
    for (size_t batch : {100, 170, 5000}) {
      const auto far = make_cuda_ops<float>(false, false, everything);
      EXPECT_TRUE(trained(*far, tuned, batch) == trained(*ops, tuned, batch)) << tuned << batch;
    }
}

#else

TEST(TableTest, NeedsABuildWithCuda) { GTEST_SKIP() << "nvcc was not found when this was built"; }

#endif

}  // namespace
}  // namespace bm3::test
