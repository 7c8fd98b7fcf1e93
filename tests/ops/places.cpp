// Matrices that begin anywhere in an array, as slices of a larger one do: a device that reads and
// writes several numbers at once where it may gives the same bytes where it may not. The numbers
// are small and whole: sums are exact in any order.
#include "backends.h"
#include "compare.h"
#include "layers/graph.h"
#include "random_pairs.h"

namespace bm3::test {
namespace {

template <class Backend>
class PlaceTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(PlaceTest, Backends, BackendName);

TYPED_TEST(PlaceTest, ChangesNoByte) {
  using T = typename TypeParam::Real;
  constexpr size_t users = 12, n = 20, d = 64;
  Random inputs(1);
  std::vector<Interaction> train(60);
  for (auto& x : train) x = {inputs.below(users), inputs.below(n - users)};
  const auto graph = make_graph<T>(*this->ops, users, n - users, train);
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
    on_device.edge_dot(w, z, x, on.pairs(), 0.5);
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
