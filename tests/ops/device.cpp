// The order of work on a device: what is issued next sees what was issued before, also around two
// pieces of work that may overlap, in a record that is replayed, and where calls wait for others;
// and matrices that begin anywhere.
#include "backends.h"
#include "compare.h"
#include "error.h"
#include "layers/graph.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

template <class Backend>
class DeviceTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(DeviceTest, GraphBackends, BackendName);

/// Arrays begin with zeros, keep what is uploaded and are counted while they live, their most for
/// good.
TYPED_TEST(DeviceTest, ArraysHoldWhatIsUploaded) {
  Device& device = *this->ops;
  const size_t before = device.allocated();
  for (size_t n : {0, 1, 1000, 3000001}) {
    std::vector<int32_t> values(n);
    Array<int32_t> array(device, n);
    EXPECT_SAME(array.host(), values);
    for (size_t k = 0; k < n; ++k) values[k] = static_cast<int32_t>(k * k + 1);
    const std::vector<int32_t> kept = values;
    array.upload(values);
    std::fill(values.begin(), values.end(), -1);  // the device does not read it any more
    const Array<int32_t> moved = std::move(array);
    EXPECT_SAME(moved.host(), kept);
    EXPECT_GE(device.allocated(), before + n * sizeof(int32_t));
    EXPECT_GE(device.most_allocated(), device.allocated());
    device.zero(const_cast<int32_t*>(moved.data()), n * sizeof(int32_t));
    EXPECT_SAME(moved.host(), std::vector<int32_t>(n));
  }
  EXPECT_EQ(device.allocated(), before);
  EXPECT_GE(device.most_allocated(), before + 3000001 * sizeof(int32_t));
}

/// Uploads to one place, more than staging memory holds, each between the work that reads the last
/// one and the work that reads this one; nothing waits until the end.
TYPED_TEST(DeviceTest, UploadsFollowTheOrderOfWork) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 700, times = 40;
  Array<T> x(*this->ops, n), sum(*this->ops, n);
  const auto add = [&] { this->ops->add(sum.matrix(1, n), 1, x.matrix(1, n), 1); };
  for (size_t time = 1; time <= times; ++time) {
    x.upload(std::vector<T>(n, static_cast<T>(time)));
    time % 2 ? add() : this->ops->replay(1, add);
  }
  EXPECT_SAME(sum.host(), std::vector<T>(n, T(times * (times + 1) / 2)));
}

/// A replay gives the bytes of its work done plainly, at first and from a record, on ever new
/// values: two chains of work, each with a product and a sum that want working memory, follow a
/// product and precede a sum.
TYPED_TEST(DeviceTest, ReplayChangesNoByte) {
  using T = typename TypeParam::Real;
  constexpr size_t users = 60, items = 40, n = users + items, d = 128;  // products in parts
  Random random(1);
  std::vector<Interaction> train(900);
  for (auto& x : train) x = {random.below(users), random.below(items)};
  const auto graph = make_graph<T>(*this->ops, users, items, train);
  EXPECT_EQ(this->ops->name().find("cuSPARSE") != std::string::npos,
            TypeParam::name().find("cusparse") == 0);
  const auto W = this->device(random.numbers<T>(d * d)), b = this->device(random.numbers<T>(d));
  Array<T> x(*this->ops, n * d);
  struct Memory {
    explicit Memory(Device& device)
        : norms(device, 2), losses{{device, loss_parts}, {device, loss_parts}} {
      for (auto* all : {&sum, &f, &g, &of_f, &of_g}) *all = Array<T>(device, n * d);
    }
    Array<double> norms, losses[2];
    Array<T> sum, f, g, of_f, of_g;
  };
  Memory plain(*this->ops), recorded(*this->ops);
  const auto at = [](Array<T>& array) { return array.matrix(n, d); };
  const auto run = [&](Memory& m) {
    Ops<T>& on = *this->ops;
    on.propagate(at(m.sum), at(x), at(x), T(1), T(0), T(0), graph);
    const auto chain = [&](Array<T>& H, Array<T>& other, double* norm, double* loss,
                           size_t layers) {
      lightgcn_forward(on, at(H), at(other), at(m.sum), graph, layers, 1);
      on.linear_forward(at(other), at(H), {nullptr, n}, W.matrix(d, d), b.matrix(1, d));
      on.norm_forward(loss, norm, at(other), 1.0);
    };
    chain(m.f, m.of_f, m.norms.data(), m.losses[0].data(), 3);
    chain(m.g, m.of_g, m.norms.data() + 1, m.losses[1].data(), 2);
    on.gather_rows(at(m.sum), at(m.of_f), {nullptr, n});
    on.scatter_add_rows(at(m.sum), at(m.of_g), {nullptr, n});
  };
  for (int time = 0; time < 4; ++time) {
    x.upload(random.numbers<T>(n * d));
    run(plain);
    this->ops->replay(1, [&] { run(recorded); });
    const auto expected = plain.sum.host();
    EXPECT_GT(largest_magnitude(expected), 0);
    EXPECT_SAME(recorded.sum.host(), expected) << time;
    EXPECT_SAME(recorded.norms.host(), plain.norms.host()) << time;
  }
}

// Masks and cosines one after another: a GPU lets them wait for each other, to be one launch. They
// give the bytes of calls that are done one by one, whatever depends on what and whatever follows.

/// Calls, and what they read and write.
template <class T>
class Calls {
 public:
  Calls(Ops<T>& on, uint64_t key_) : ops(on), key(key_) {
    for (auto* each : {&x, &y, &d_x, &d_y}) *each = Array<T>(ops, random_.numbers<T>(n * d));
  }
  void draw(Array<uint8_t>& to, size_t first, double p) {
    ops.draw_mask({to.data() + first * d, n - first, d}, {nullptr, n - first}, p,
                  {7, 1, step_.data()});
  }
  /// The last rows of d_a.
  void cosine(size_t loss, Array<T>& d_a, Array<T>& a, Array<T>& h, Array<uint8_t>& of,
              bool own = false, size_t rows = n) {
    const int32_t* const target = own ? nullptr : on_.target.data();
    ops.cosine_loss(losses.data() + loss * loss_parts, {d_a.data() + (n - rows) * d, rows, d},
                    {a.data(), rows, d}, View<T>{h.matrix(n, d), of.data(), T(2)},
                    {rows, on_.begin.data(), target}, 0.5, 1.5);
  }
  /// Does random calls, which depend on each other in all ways, and then() after every `pace`.
  void run(uint64_t seed, size_t pace, const std::function<void()>& then) {
    Random random(seed);
    Array<T>* const all[] = {&x, &y, &d_x, &d_y};
    for (size_t called = 1; called <= 32; ++called) {
      Array<uint8_t>& of = random.below(2) ? mask : other;
      const size_t loss = random.one_of({0, 1}), first = random.one_of({0, 7});
      const auto some = random.permutation(4);  // of them one is written, and one or two are read
      const auto at = [&](size_t k) -> Array<T>& { return *all[some[k]]; };
      const auto rows = [&](size_t k) { return Matrix<T>{at(k).data() + first * d, n - first, d}; };
      const size_t kind = random.below(8);
      if (called < 20 && kind < 4)
        draw(of, first, 0.1 * random.below(9));
      else if (kind == 7)
        ops.add(rows(0), random.below(2), at(1).matrix(n - first, d), 0.5);
      else
        cosine(loss, at(0), at(1), at(random.one_of({1, 2})), of, random.below(2), n - first);
      if (called % pace == 0) then();
    }
  }
  auto result() const {
    return std::tuple(x.host(), y.host(), d_x.host(), d_y.host(), mask.host(), other.host());
  }
  /// Returns the k-th loss: other calls in one launch, other parts, other rounding.
  double loss(size_t k) const {
    const std::vector<double> parts = losses.host();
    const auto first = parts.begin() + static_cast<int>(k * loss_parts);
    return std::accumulate(first, first + loss_parts, 0.0);
  }
  static constexpr size_t n = 60, d = 18;
  Ops<T>& ops;
  const uint64_t key;  // of records
  Array<T> x, y, d_x, d_y;
  Array<uint8_t> mask{ops, n * d}, other{ops, n * d};
  Array<double> losses{ops, 2 * loss_parts};
  int failures = 0;  // of works that shall fail now and then

 private:
  Random random_{6};
  const RandomPairs pairs_{random_, n, n};
  const PairsOnDevice on_{ops, pairs_};
  const Array<uint32_t> step_{ops, 1};
};

template <class T>
void expect_same(const Calls<T>& got, const Calls<T>& expected) {
  EXPECT_TRUE(got.result() == expected.result()) << expected.key;
  for (size_t k : {0, 1})
    EXPECT_NEAR(got.loss(k), expected.loss(k), 1e-12 * std::abs(expected.loss(k))) << expected.key;
}

/// What may follow calls that wait, and changes or shows what they do.
template <class T>
std::vector<std::function<void(Calls<T>&)>> events() {
  using C = Calls<T>;
  const auto loss = [](C& c) { c.cosine(0, c.d_x, c.x, c.y, c.mask); };
  const auto other = [](C& c) { c.cosine(1, c.d_y, c.y, c.y, c.other, true); };
  const auto fail_if = [](bool now) {
    if (now) throw Error("on purpose");
  };
  return {
      [](C&) {},
      [](C& c) { c.ops.zero(c.d_x.data(), C::n * sizeof(T)); },
      [](C& c) { c.losses.upload(std::vector<double>(2 * loss_parts, 1)); },
      [](C& c) {
        c.losses.upload(std::vector<double>(2 * loss_parts, c.loss(0) / loss_parts));
      },
      [](C& c) { c.ops.add(c.d_y.matrix(1, 500), 1, c.d_x.matrix(1, 500), 1); },
      [](C& c) {  // a library's work
        c.ops.linear_forward(c.y.matrix(C::n, 1), c.d_x.matrix(C::n, C::d), {nullptr, C::n},
                             c.x.matrix(C::d, 1), {});
      },
      [=](C& c) { c.ops.seconds_of([&] { loss(c); }); },
      [=](C& c) { c.ops.replay(c.key, [&] { loss(c), other(c); }); },
      [=](C& c) {  // the first call fails, and the record of the next one
        try {
          c.ops.replay(c.key, [&] {
            loss(c), other(c);
            fail_if(++c.failures == 1 || c.failures == 3);
          });
        } catch (const Error&) {
        }
      },
      [](C& c) {  // memory goes that the last call reads
        Array<T> gone(c.ops, std::vector<T>(C::n * C::d, T(0.5)));
        c.cosine(0, c.d_x, c.x, gone, c.mask);
      }};
}

template <class Backend>
class WaitingTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(WaitingTest, Backends, BackendName);

TYPED_TEST(WaitingTest, ChangesNoByteOfAMatrix) {
  using T = typename TypeParam::Real;
  const auto all = events<T>();
  for (size_t event = 0; event < all.size(); ++event)
    for (size_t pace : {2, 5}) {
      SCOPED_TRACE(testing::Message() << "event " << event << ", pace " << pace);
      Calls<T> waiting(*this->ops, 1), alone(*this->ops, 2);
      waiting.run(7, pace, [&] { all[event](waiting); });
      size_t called = 0;
      alone.run(7, 1, [&] {
        this->ops->synchronize();
        if (++called % pace == 0) all[event](alone);
        this->ops->synchronize();
      });
      expect_same(waiting, alone);
    }
}

/// What runs side by side in a replay touches nothing that another writes.
TYPED_TEST(WaitingTest, NorDoesReplay) {
  using T = typename TypeParam::Real;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Calls<T> replayed(*this->ops, seed), alone(*this->ops, seed);
    for (int time = 0; time < 4; ++time) {
      this->ops->replay(seed, [&] { replayed.run(seed, 32, [] {}); });
      alone.run(seed, 1, [&] { this->ops->synchronize(); });
      SCOPED_TRACE(time);
      expect_same(replayed, alone);
    }
  }
}

template <class Backend>
class PlaceTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(PlaceTest, Backends, BackendName);

/// A device that reads several numbers at once where it may gives the same bytes where it may not.
/// The numbers are small and whole: sums are exact in any order.
TYPED_TEST(PlaceTest, ChangesNoByte) {
  using T = typename TypeParam::Real;
  constexpr size_t users = 12, n = 20, d = 64;
  Random inputs(1);
  std::vector<Interaction> train(60);
  for (auto& x : train) x = {inputs.below(users), inputs.below(n - users)};
  auto graph = make_graph<T>(*this->ops, users, n - users, train);
  graph.scale.upload(std::vector<T>(n, 1));
  const RandomPairs pairs(inputs, n, n);
  const PairsOnDevice on(*this->ops, pairs);
  const auto rows = this->device(inputs.distinct_rows(n, n));
  Array<double> sums(*this->ops, 2);

  /// Returns every matrix afterwards, where one of them begins `offset` numbers later in its array.
  const auto results = [&](size_t moved, size_t offset) {
    Random random(2);
    std::vector<Array<T>> memory;
    const auto matrix = [&](size_t height, size_t width) {
      const size_t first = memory.size() == moved ? offset : 0;
      std::vector<T> values(first + height * width);
      for (size_t k = first; k < values.size(); ++k)
        values[k] = static_cast<T>(random.below(9)) - 4;
      memory.push_back(this->device(values));
      return Matrix<T>{memory.back().data() + first, height, width};
    };
    Ops<T>& on_device = *this->ops;
    const Matrix<T> x = matrix(n, d), z = matrix(n, d), W = matrix(d, d);
    const Matrix<T> w = matrix(pairs.target.size(), 1), scattered = matrix(n, d);
    on_device.gather_rows(matrix(n, d), x, rows.rows());
    on_device.scatter_add_rows(scattered, x, rows.rows());
    on_device.linear_forward(matrix(n, d), x, rows.rows(), W, matrix(1, d));
    on_device.linear_backward(matrix(n, d), matrix(d, d), matrix(1, d), z, x, rows.rows(), W);
    on_device.propagate(matrix(n, d), x, z, T(0.5), T(2), T(3), graph);
    on_device.add_weighted(matrix(n, d), w, x, on.pairs(), 0.5);
    on_device.edge_dot(w, z, x, on.pairs());
    on_device.norm_forward(sums.data(), sums.data() + 1, x, 1);
    on_device.penalty_backward(matrix(n, d), sums.data() + 1, x, {n}, RegForm::norm, 0.5);
    std::vector<std::vector<T>> out;
    for (size_t k = 0; k < memory.size(); ++k) {
      out.push_back(memory[k].host());
      if (k == moved) out[k].erase(out[k].begin(), out[k].begin() + static_cast<int>(offset));
    }
    return out;
  };
  const auto expected = results(0, 0);
  for (size_t moved = 0; moved < expected.size(); ++moved)
    for (size_t offset : {1, 2}) {
      const auto got = results(moved, offset);
      for (size_t k = 0; k < got.size(); ++k)
        EXPECT_SAME(got[k], expected[k]) << k << ", " << moved;
    }
}

}  // namespace
}  // namespace bm3::test
