// The same inputs give the same bytes: every operation, and training as a whole, for 1, 2 and 4
// threads and from run to run.
#include <map>

#include "backends.h"
#include "model/lightgcn.h"
#include "random_inputs.h"
#include "train.h"

namespace bm3::test {
namespace {

using Bytes = std::vector<unsigned char>;

template <class E>
Bytes bytes_of(const std::vector<E>& values) {
  const auto* first = reinterpret_cast<const unsigned char*>(values.data());
  return {first, first + values.size() * sizeof(E)};
}

/// Every operation once on inputs of many blocks, and the bytes of its outputs.
template <class T>
class EveryOperation {
 public:
  static std::map<std::string, Bytes> outputs(Ops<T>& ops) {
    EveryOperation run(ops);
    run.linear(2051, 300, 33);
    run.linear(700, 1030, 17);
    run.rows_and_graph();
    run.metrics();
    run.losses();
    run.adam();
    return std::move(run.out_);
  }

 private:
  explicit EveryOperation(Ops<T>& ops) : ops_(ops) {}

  Array<T> numbers(size_t n) { return Array<T>(ops_, random_.numbers<T>(n)); }
  template <class E>
  void keep(const std::string& name, const Array<E>& array) {
    const Bytes bytes = bytes_of(array.host());
    Bytes& all = out_[name];
    all.insert(all.end(), bytes.begin(), bytes.end());
  }

  void linear(size_t n, size_t in, size_t out) {
    const auto x = numbers(n * in), W = numbers(in * out), b = numbers(out), d_y = numbers(n * out);
    const Array<int32_t> rows(ops_, random_.padded_rows(n, n));
    for (const int32_t* of : {rows.data(), static_cast<const int32_t*>(nullptr)}) {
      Array<T> y(ops_, n * out), d_x(ops_, n * in), d_W(ops_, in * out), d_b(ops_, out);
      ops_.linear_forward(y.data(), x.data(), of, W.data(), b.data(), n, in, out);
      ops_.linear_backward(d_x.data(), d_W.data(), d_b.data(), d_y.data(), x.data(), of, W.data(),
                           n, in, out);
      keep("linear_forward", y);
      for (const auto* d : {&d_x, &d_W, &d_b}) keep("linear_backward", *d);
    }
  }

  void rows_and_graph() {
    constexpr size_t users = 1200, items = 700, d = 72, n = 1500, k = 50;
    std::vector<Interaction> train(9000);
    for (auto& x : train) x = {random_.below(users), random_.below(items)};
    const auto graph = make_graph<T>(ops_, users, items, train);
    const auto E = numbers((users + items) * d), x = numbers(n * d);
    Array<T> H(ops_, (users + items) * d), z(ops_, n * d);
    ops_.propagate(H.data(), E.data(), E.data(), T(0.5), T(0.5), T(1.5), graph, d);
    keep("propagate", H);
    const Array<int32_t> rows(ops_, random_.distinct_rows(n, users + items));
    ops_.gather_rows(z.data(), H.data(), rows.data(), n, d);
    keep("gather_rows", z);
    Array<uint8_t> mask(ops_, n * d);
    const Array<uint32_t> step(ops_, std::vector<uint32_t>{3});
    ops_.draw_mask(mask.data(), rows.data(), n, d, 0.4, 5, 256, step.data());
    keep("draw_mask", mask);
    ops_.scatter_add_rows(H.data(), x.data(), rows.data(), n, d);
    keep("scatter_add_rows", H);
    ops_.scatter_rows(H.data(), x.data(), rows.data(), n, d);
    keep("scatter_rows", H);

    std::vector<int32_t> list(900);
    for (int32_t& user : list) user = random_.below(users);
    const Array<int32_t> on_list(ops_, list);
    Array<int32_t> item(ops_, list.size() * k);
    Array<T> score(ops_, list.size() * k);
    ops_.top_k(item.data(), score.data(), E.data(), E.data() + users * d, on_list.data(), graph, k,
               list.size(), d);
    keep("top_k", item);
    keep("top_k", score);
  }

  void metrics() {
    constexpr size_t n = 5001, items = 90, k = 50;
    std::vector<int32_t> list, held_out, row;
    std::vector<size_t> begin = {0};
    for (size_t t = 0; t < n; ++t) {
      for (int32_t item : random_.distinct_rows(k, items)) list.push_back(item);
      const int32_t first = random_.below(3), end = first + 1 + random_.below(30);
      for (int32_t item = first; item < end; item += 7) held_out.push_back(item);
      begin.push_back(held_out.size());
      row.push_back(static_cast<int32_t>(n - 1 - t));
    }
    const Array<int32_t> on_list(ops_, list), on_held_out(ops_, held_out), on_row(ops_, row);
    const Array<size_t> on_begin(ops_, begin);
    const Array<double> ideal(ops_, random_.numbers<double>(longest_list + 1));
    Array<double> sums(ops_, n_metrics);
    const Truth truth{n, on_row.data(), on_begin.data(), on_held_out.data()};
    ops_.metrics(sums.data(), on_list.data(), truth, ideal.data(), k);
    keep("metrics", sums);
  }

  void losses() {
    constexpr size_t n = 3001, targets = 500, d = 65;
    std::vector<int32_t> begin = {0}, target;
    for (size_t r = 0; r < n; ++r) {
      for (int32_t k = random_.below(4); k > 0; --k) target.push_back(random_.below(targets));
      begin.push_back(static_cast<int32_t>(target.size()));
    }
    const Array<int32_t> on_begin(ops_, begin), on_target(ops_, target);
    const auto a = numbers(n * d), h = numbers(n * d);
    const Array<uint8_t> mask(ops_, random_.mask(n * d));
    const View<T> b{h.data(), mask.data(), T(1.5)};
    auto d_a = numbers(n * d);
    Array<double> loss(ops_, 1), norm(ops_, 1);
    const Pairs pairs{n, on_begin.data(), on_target.data()};
    for (const Pairs& p : {pairs, Pairs{n, on_begin.data(), nullptr}})
      ops_.cosine_loss(loss.data(), d_a.data(), a.data(), b, p, 0.3, d);
    keep("cosine_loss", loss);
    keep("cosine_loss", d_a);
    ops_.squared_forward(loss.data(), a.data(), pairs, 0.3, d);
    keep("squared_forward", loss);
    ops_.squared_backward(d_a.data(), a.data(), pairs, 0.3, d);
    keep("squared_backward", d_a);
    ops_.norm_forward(loss.data(), norm.data(), a.data(), 0.3, n * d);
    keep("norm_forward", loss);
    keep("norm_forward", norm);
    ops_.norm_backward(d_a.data(), norm.data(), a.data(), 0.3, n * d);
    keep("norm_backward", d_a);
  }

  void adam() {
    constexpr size_t height = 900, n = 300, d = 130;
    const AdamConstants<T> constants(0.9, 0.999, 1e-8);
    const Array<AdamStep<T>> schedule(ops_, std::vector<AdamStep<T>>(10, {T(0.01), T(1.5)}));
    auto p = numbers(height * d), m = numbers(height * d);
    Array<T> v(ops_, random_.numbers<T>(height * d, 0.0));
    const auto g = numbers(height * d);
    Array<uint32_t> step(ops_, std::vector<uint32_t>{2});
    const auto keep_all = [&](const std::string& name) {
      for (const auto* x : {&p, &m, &v}) keep(name, *x);
    };
    ops_.adam(p.data(), m.data(), v.data(), g.data(), constants, schedule.data(), step.data(),
              height * d);
    keep_all("adam");
    for (int time = 0; time < 3; ++time) ops_.advance(step.data());
    keep("advance", step);
    Array<uint32_t> last(ops_, std::vector<uint32_t>(height, 2));
    const Array<int32_t> rows(ops_, random_.distinct_rows(n, height));
    AdamRows<T> at{p.data(), m.data(), v.data(), last.data(), rows.data()};
    ops_.adam_replay(at, constants, schedule.data(), step.data(), -1, n, d);
    keep_all("adam_replay");
    ops_.adam_rows(at, g.data(), constants, schedule.data(), step.data(), n, d);
    keep_all("adam_rows");
    at.rows = nullptr;
    ops_.adam_replay(at, constants, schedule.data(), step.data(), 0, height, d);
    keep_all("adam_replay");
    keep("adam_replay", last);
  }

  Ops<T>& ops_;
  Random random_{1};
  std::map<std::string, Bytes> out_;
};

template <class Backend>
class DeterminismTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(DeterminismTest, Backends, BackendName);

/// All eighteen operations of ops.h, twice with one instance, and with 1, 2 and 4 threads.
TYPED_TEST(DeterminismTest, EveryOperationGivesTheSameBytes) {
  using T = typename TypeParam::Real;
  const auto once = EveryOperation<T>::outputs(*this->ops);
  EXPECT_EQ(once.size(), 18u);
  const auto expect_same = [&](Ops<T>& other, const std::string& words) {
    for (const auto& [name, bytes] : EveryOperation<T>::outputs(other)) {
      EXPECT_FALSE(bytes.empty()) << name;
      EXPECT_TRUE(bytes == once.at(name)) << name << ", " << words;
    }
  };
  expect_same(*this->ops, "second run");
  for (int threads : {1, 2, 4})
    expect_same(*TypeParam::make(threads), std::to_string(threads) + " threads");
}

/// All that a training run leaves, epoch by epoch.
struct Run {
  std::vector<double> losses, valid_recall;
  TrainResult result;
};

Run trained(Ops<float>& ops, bool tuned, uint64_t seed, size_t epochs = 4) {
  SyntheticSpec spec;
  spec.n_users = 150;
  spec.n_items = 80;
  spec.n_interactions = 1500;
  spec.modalities = {{"image", 70, 1.0}, {"text", 20, 0.5}};
  const Dataset data = synthetic_dataset(spec, "small");
  TrainConfig config;
  config.model.d = 24;
  config.model.tuned = tuned;
  config.batch = 200;
  config.epochs = epochs;
  config.seed = seed;
  Run run;
  const auto on_epoch = [&](const Epoch& epoch) {
    for (double x : {epoch.loss.rec, epoch.loss.align, epoch.loss.mask, epoch.loss.reg})
      run.losses.push_back(x);
    run.valid_recall.push_back(epoch.valid.recall[0]);
  };
  run.result = train(ops, data, config, {[](size_t) {}, [](size_t, size_t) {}, on_epoch});
  return run;
}

/// Embeddings, losses and figures of a whole training: the same bytes for 1, 2 and 4 threads and
/// from run to run, others for another seed.
template <class Backend>
class TrainingTest : public OnBackend<Backend> {
 protected:
  void compare_runs(bool tuned) {
    const Run once = trained(*this->ops, tuned, 999);
    EXPECT_EQ(once.losses.size(), 16u);
    EXPECT_EQ(once.result.user.size(), 150u * 24);
    EXPECT_EQ(once.result.item.size(), 80u * 24);
    EXPECT_LT(once.losses[12], once.losses[0]);
    for (int threads : {2, 1, 2, 4}) {
      const Run again = trained(*Backend::make(threads), tuned, 999);
      EXPECT_TRUE(bytes_of(again.result.user) == bytes_of(once.result.user)) << threads;
      EXPECT_TRUE(bytes_of(again.result.item) == bytes_of(once.result.item)) << threads;
      EXPECT_EQ(again.losses, once.losses) << threads;
      EXPECT_EQ(again.valid_recall, once.valid_recall) << threads;
      EXPECT_EQ(again.result.best_epoch, once.result.best_epoch) << threads;
      EXPECT_EQ(again.result.test.ndcg, once.result.test.ndcg) << threads;
    }
    const Run other = trained(*this->ops, tuned, 1000);
    EXPECT_NE(other.losses, once.losses);
    EXPECT_NE(other.result.user, once.result.user);
  }
};
TYPED_TEST_SUITE(TrainingTest, Backends32, BackendName);

TYPED_TEST(TrainingTest, SameBytesWithFrozenFeatures) { this->compare_runs(false); }
TYPED_TEST(TrainingTest, SameBytesWithTunedFeatures) { this->compare_runs(true); }

/// What a run leaves is its best epoch's, not its last's: that of a run which ends there.
TYPED_TEST(TrainingTest, TheBestEpochsResult) {
  const Run all = trained(*this->ops, false, 999, 12);
  const size_t best = all.result.best_epoch;
  EXPECT_GT(best, 1u);
  EXPECT_LT(best, 12u);
  const Run some = trained(*this->ops, false, 999, best);
  EXPECT_EQ(some.result.best_epoch, best);
  EXPECT_TRUE(bytes_of(some.result.user) == bytes_of(all.result.user));
  EXPECT_TRUE(bytes_of(some.result.item) == bytes_of(all.result.item));
  EXPECT_EQ(some.result.valid, all.result.valid);
  EXPECT_EQ(some.result.test, all.result.test);
}

}  // namespace
}  // namespace bm3::test
