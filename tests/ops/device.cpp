// The order of work on a device: what is issued next sees what was issued before, also around two
// pieces of work that may overlap, and in a record that is replayed.
#include "backends.h"
#include "compare.h"
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

/// `both` gives the bytes of one after the other, at once and in a record, on ever new values: two
/// chains of work, each with a product and a sum that want working memory, follow a product and
/// precede a sum.
TYPED_TEST(DeviceTest, BothAndReplayChangeNoByte) {
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
    explicit Memory(Device& device) : norms(device, 4) {
      for (auto* all : {&sum, &f, &g, &of_f, &of_g}) *all = Array<T>(device, n * d);
    }
    Array<double> norms;
    Array<T> sum, f, g, of_f, of_g;
  };
  Memory plain(*this->ops), overlapped(*this->ops), recorded(*this->ops);
  const auto at = [](Array<T>& array) { return array.matrix(n, d); };
  const auto run = [&](Memory& m, bool overlap) {
    Ops<T>& on = *this->ops;
    on.propagate(at(m.sum), at(x), at(x), T(1), T(0), T(0), graph);
    const auto chain = [&](Array<T>& H, Array<T>& other, double* norms, size_t layers) {
      lightgcn_forward(on, at(H), at(other), at(m.sum), graph, layers, 1);
      on.linear_forward(at(other), at(H), {nullptr, n}, W.matrix(d, d), b.matrix(1, d));
      on.norm_forward(norms, norms + 1, at(other), 1.0);
    };
    const auto f = [&] { chain(m.f, m.of_f, m.norms.data(), 3); };
    const auto g = [&] { chain(m.g, m.of_g, m.norms.data() + 2, 2); };
    on.zero(m.norms.data(), 4 * sizeof(double));
    overlap ? on.both(f, g) : (f(), g());
    on.gather_rows(at(m.sum), at(m.of_f), {nullptr, n});
    on.scatter_add_rows(at(m.sum), at(m.of_g), {nullptr, n});
  };
  for (int time = 0; time < 4; ++time) {
    x.upload(random.numbers<T>(n * d));
    run(plain, false);
    run(overlapped, true);
    this->ops->replay(1, [&] { run(recorded, true); });
    const auto expected = plain.sum.host();
    EXPECT_GT(largest_magnitude(expected), 0);
    EXPECT_SAME(overlapped.sum.host(), expected) << time;
    EXPECT_SAME(recorded.sum.host(), expected) << time;
    EXPECT_SAME(overlapped.norms.host(), plain.norms.host()) << time;
    EXPECT_SAME(recorded.norms.host(), plain.norms.host()) << time;
  }
}

}  // namespace
}  // namespace bm3::test
