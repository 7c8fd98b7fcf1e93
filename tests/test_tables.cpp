// What is done beside: the loading of batches, parts of a step and, for features in the host's
// memory, the fetching of a batch's rows, with the same bytes as with tables on the device. The
// order is proved without a GPU, by devices that do the work beside as early and as late as they
// may.
#include "backends.h"
#include "measured_ops.h"
#include "model_check.h"
#include "ops/cpu/cpu_ops.h"
#include "train.h"

namespace bm3::test {
namespace {

/// The CPU's operations with copies of rows, as if tables lay far away when `far`. What is done
/// beside is done at once or, when `late`, as late as it may: a part of a step when it is joined,
/// and before a batch's slot is joined all that the batches' slots have been asked for until its
/// last work.
class BesideOps : public CpuOps<float> {
 public:
  BesideOps(bool far, bool late) : CpuOps<float>(1), far_(far), late_(late) {}
  bool copies_rows() const override { return true; }
  bool fetches_ahead() const override { return far_; }
  void beside(size_t slot, const std::function<void()>& work) override {
    EXPECT_EQ(in_replay_, slot == part_of_step);  // a record cannot wait for what is not in it
    ++asked_[slot];
    if (!late_) return work();
    waiting_.push_back({slot, work});
  }
  void join(size_t slot) override {
    EXPECT_EQ(in_replay_, slot == part_of_step);
    const auto is_of_slot = [&](const Waiting& w) { return w.slot == slot; };
    const auto last = std::find_if(waiting_.rbegin(), waiting_.rend(), is_of_slot).base();
    const auto is_due = [&](const Waiting& w) {
      return (w.slot == part_of_step) == (slot == part_of_step);
    };
    std::vector<Waiting> due, rest;
    for (auto w = waiting_.begin(); w != waiting_.end(); ++w)
      (w < last && is_due(*w) ? due : rest).push_back(*w);
    waiting_ = rest;
    for (const auto& w : due) w.work();
    overtaken_ += waiting_.empty() ? 0u : 1u;
  }
  void replay(uint64_t, const std::function<void()>& work) override {
    in_replay_ = true;
    work();
    in_replay_ = false;
    for (const auto& w : waiting_) EXPECT_NE(w.slot, part_of_step);
  }
  /// How often work was asked for in a slot.
  size_t asked(size_t slot) const { return asked_[slot]; }
  /// Joins after which other work still waited.
  size_t overtaken() const { return overtaken_; }

 private:
  struct Waiting {
    size_t slot;
    std::function<void()> work;
  };
  bool far_, late_, in_replay_ = false;
  std::vector<Waiting> waiting_;
  size_t asked_[n_slots] = {}, overtaken_ = 0;
};

struct Run {
  std::vector<double> losses;
  TrainResult result;
  bool operator==(const Run& o) const {
    return losses == o.losses && result.user == o.result.user && result.item == o.result.item;
  }
};

Dataset small_data(int64_t users, int64_t items, int64_t interactions) {
  const SyntheticSpec spec{users, items, interactions, {{"image", 68, 1.0}, {"text", 21, 0.5}}};
  return synthetic_dataset(spec, "small");
}

Run trained(Ops<float>& ops, const Dataset& data, const TrainConfig& config) {
  Run run;
  run.result = train(ops, data, config, {[](size_t) {}, [](size_t, size_t) {}, [&](const Epoch& e) {
                                           run.losses.push_back(e.loss.total());
                                         }});
  EXPECT_EQ(run.losses.size(), config.epochs);
  return run;
}

constexpr size_t n_epochs = 3;

/// `n_train` counts the interactions that were trained on.
Run trained(Ops<float>& ops, bool tuned, size_t batch, size_t* n_train = nullptr) {
  const Dataset data = small_data(120, 70, 1200);
  TrainConfig config;
  config.model.d = 16;
  config.model.tuned = tuned;
  config.batch = batch;
  config.epochs = n_epochs;
  if (n_train) *n_train = data.interactions.train.size();
  return trained(ops, data, config);
}

/// An even and an odd number of batches in an epoch, and one alone; features near and far.
TEST(WorkBeside, ChangesNothing) {
  const auto plain = make_cpu_ops<float>(1);
  for (bool tuned : {false, true})
    for (size_t batch : {100, 130, 170, 5000}) {
      size_t n_train = 0;
      const auto expected = trained(*plain, tuned, batch, &n_train);
      const size_t steps = n_epochs * ((n_train + batch - 1) / batch);
      for (bool far : {false, true})
        for (bool late : {false, true}) {
          SCOPED_TRACE(testing::Message() << tuned << " " << batch << " " << far << " " << late);
          BesideOps ops(far, late);
          EXPECT_TRUE(trained(ops, tuned, batch) == expected);
          // A batch is loaded and, when its tuned rows lie far away, written back.
          EXPECT_EQ(ops.asked(0) + ops.asked(1), far && tuned ? 2 * steps : steps);
          EXPECT_EQ(ops.asked(part_of_step), (tuned ? 4 : 3) * steps);
          EXPECT_EQ(ops.overtaken() > steps, late && steps > n_epochs);
        }
    }
}

/// The benchmark's counted epochs are the ones that it times: one operation after the other, with no
/// record and nothing beside, a training has the same bytes.
template <class Backend>
class OneByOne : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(OneByOne, Backends32, BackendName);

TYPED_TEST(OneByOne, ChangesNothing) {
  for (bool tuned : {false, true}) {
    MeasuredOps counted(TypeParam::make(1));
    EXPECT_TRUE(trained(counted, tuned, 100) == trained(*this->ops, tuned, 100)) << tuned;
    EXPECT_GT(counted.take().size(), 5u);
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

/// Both round to 2^-24, in different orders of summation, and what comes of it does not grow: with
/// the kernels run on a CPU an epoch's mean loss differed by up to 2^-25; eight times that is the
/// bound. Of the 600 users' some 230 hits among 20 none moved; 0.5 % is one.
TEST_F(CudaTraining, IsTheCpusUpToRounding) {
  const Dataset data = small_data(600, 150, 6000);
  TrainConfig config;
  config.model.d = 16;
  config.model.tuned = true;
  config.adam.lr = 0.01;
  config.batch = 600;
  config.epochs = 5;
  const auto cpu = make_cpu_ops<float>(2);
  const auto there = trained(*ops, data, config), here = trained(*cpu, data, config);
  for (size_t e = 0; e < config.epochs; ++e)
    EXPECT_NEAR(there.losses[e], here.losses[e], std::ldexp(here.losses[e], -22)) << e + 1;
  EXPECT_LT(here.losses.back(), here.losses.front() / 2);  // it learns
  for (auto part : {&TrainResult::valid, &TrainResult::test}) {
    const double expected = (here.result.*part).recall[at20];
    EXPECT_GT(expected, 0.3);
    EXPECT_NEAR((there.result.*part).recall[at20], expected, 0.005 * expected);
  }
}

#else

TEST(TableTest, NeedsABuildWithCuda) { GTEST_SKIP() << "nvcc was not found when this was built"; }

#endif

}  // namespace
}  // namespace bm3::test
