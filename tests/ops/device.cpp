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
TYPED_TEST_SUITE(DeviceTest, Backends, BackendName);

/// Arrays begin with zeros, keep what is uploaded and are counted while they live.
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
}

/// Chains of work on one graph: f and g, side by side, follow the gather and precede the sum.
template <class T>
class Chains {
 public:
  explicit Chains(Ops<T>& ops) : ops_(ops), graph_(make_graph<T>(ops, users, items, train())) {
    for (auto* x : {&E_, &f_, &g_, &spare_f_, &spare_g_, &sum_}) *x = Array<T>(ops, n * d);
  }
  void start(const std::vector<T>& values) { E_.upload(values); }
  /// sum = f(E') + g(E'), E' = S A S E.
  void run(bool overlap) {
    ops_.propagate(at(sum_), at(E_), at(E_), T(1), T(0), T(0), graph_);
    const auto f = [&] { lightgcn_forward(ops_, at(f_), at(spare_f_), at(sum_), graph_, 7, 1); };
    const auto g = [&] { lightgcn_forward(ops_, at(g_), at(spare_g_), at(sum_), graph_, 4, 0); };
    if (overlap) {
      ops_.both(f, g);
    } else {
      f();
      g();
    }
    ops_.gather_rows(at(sum_), at(f_), {nullptr, n});
    ops_.scatter_add_rows(at(sum_), at(g_), {nullptr, n});
  }
  std::vector<T> result() const { return sum_.host(); }
  static constexpr size_t users = 90, items = 40, n = users + items, d = 33;

 private:
  static std::vector<Interaction> train() {
    Random random(1);
    std::vector<Interaction> out(900);
    for (auto& x : out) x = {random.below(users), random.below(items)};
    return out;
  }
  Matrix<T> at(Array<T>& x) { return x.matrix(n, d); }
  Ops<T>& ops_;
  Graph<T> graph_;
  Array<T> E_, f_, g_, spare_f_, spare_g_, sum_;
};

/// `both` gives the bytes of one after the other, at once and in a record, on ever new values.
TYPED_TEST(DeviceTest, BothAndReplayChangeNoByte) {
  using T = typename TypeParam::Real;
  Random random(2);
  Chains<T> plain(*this->ops), overlapped(*this->ops), recorded(*this->ops);
  for (int time = 0; time < 4; ++time) {
    const auto values = random.numbers<T>(Chains<T>::n * Chains<T>::d);
    for (auto* chains : {&plain, &overlapped, &recorded}) chains->start(values);
    plain.run(false);
    overlapped.run(true);
    this->ops->replay(1, [&] { recorded.run(true); });
    const auto expected = plain.result();
    EXPECT_GT(largest_magnitude(expected), 0);
    EXPECT_SAME(overlapped.result(), expected) << time;
    EXPECT_SAME(recorded.result(), expected) << time;
  }
}

}  // namespace
}  // namespace bm3::test
