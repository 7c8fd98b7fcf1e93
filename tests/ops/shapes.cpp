// A debug build refuses operands whose shapes do not fit.
#include <stdexcept>

#include "backends.h"
#include "layers/graph.h"
#include "ops/shapes.h"

namespace bm3::test {
namespace {

template <class Backend>
class ShapesTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(ShapesTest, Backends, BackendName);

/// One operand of each call is wrong: batches have 5 rows of d = 3, tables and the graph 7 rows.
TYPED_TEST(ShapesTest, ADebugBuildRefusesWrongOnes) {
  using T = typename TypeParam::Real;
  using Wrong = std::logic_error;
  if (!shapes::checked) GTEST_SKIP() << "a release build does not check shapes";
  Ops<T>& on = *this->ops;
  const Graph<T> graph = make_graph<T>(on, 4, 3, {{0, 0}, {1, 2}});
  Array<T> memory(on, 200);
  Array<double> sums(on, 2);
  Array<int32_t> zeros(on, 100);  // row numbers, or rows without pairs
  double* const sum = sums.data();
  int32_t* const zero = zeros.data();
  const auto m = [&](size_t rows, size_t cols) { return Matrix<T>{memory.data(), rows, cols}; };
  const auto other = [&](size_t rows, size_t cols) {
    return Matrix<T>{memory.data() + 100, rows, cols};
  };
  const auto view = [&](size_t rows, size_t cols) {
    return View<T>{m(rows, cols), reinterpret_cast<const uint8_t*>(zero), T(1)};
  };
  const auto rows = [&](size_t n) { return Rows{zero, n}; };
  const auto pairs = [&](size_t n) { return Pairs{n, zero, zero, zero}; };
  const AdamTime<T> time{{0.9, 0.999, 1e-8}, nullptr, nullptr};
  const Matrix<int32_t> lists{zero, 5, 2};
  const Matrix<uint8_t> mask{reinterpret_cast<uint8_t*>(zero), 5, 3};
  const RegForm norm = RegForm::norm;
  const PairForm plain = PairForm::plain;

  EXPECT_THROW(on.linear_forward(m(5, 2), m(7, 3), rows(4), m(3, 2), m(1, 2)), Wrong);
  EXPECT_THROW(on.linear_forward(m(5, 2), m(7, 3), {}, m(3, 2), m(1, 2)), Wrong);
  EXPECT_THROW(on.linear_forward(m(5, 2), m(7, 3), rows(5), m(4, 2), m(1, 2)), Wrong);
  EXPECT_THROW(on.linear_forward(m(5, 2), m(7, 3), rows(5), m(3, 2), m(1, 3)), Wrong);
  EXPECT_THROW(on.linear_backward(m(5, 2), m(3, 2), m(1, 2), m(5, 2), m(7, 3), rows(5), m(3, 2)),
               Wrong);
  EXPECT_THROW(on.linear_backward({}, m(2, 3), m(1, 2), m(5, 2), m(7, 3), rows(5), m(3, 2)), Wrong);
  EXPECT_THROW(on.linear_backward({}, m(3, 2), m(2, 1), m(5, 2), m(7, 3), rows(5), m(3, 2)), Wrong);
  EXPECT_THROW(on.propagate(m(6, 3), other(6, 3), other(6, 3), 1, 1, 1, graph), Wrong);
  EXPECT_THROW(on.propagate(m(7, 3), other(7, 3), other(7, 2), 1, 1, 1, graph), Wrong);
  EXPECT_THROW(on.propagate(m(7, 3), m(7, 3), other(7, 3), 1, 1, 1, graph), Wrong);
  EXPECT_THROW(on.gather_rows(m(5, 3), m(7, 2), rows(5)), Wrong);
  EXPECT_THROW(on.gather_rows(m(5, 3), m(7, 3), rows(6)), Wrong);
  EXPECT_THROW(on.scatter_add_rows(m(7, 3), m(5, 3), rows(4)), Wrong);
  EXPECT_THROW(on.copy_columns(m(5, 3), 1, m(5, 4), 0, 3), Wrong);
  EXPECT_THROW(on.copy_columns(m(5, 3), 0, m(5, 4), 2, 3), Wrong);
  EXPECT_THROW(on.copy_columns(m(5, 3), 0, m(4, 3), 0, 3), Wrong);
  EXPECT_THROW(on.add(m(5, 3), 1, m(5, 2), 1), Wrong);
  EXPECT_THROW(on.leaky_relu_forward(m(5, 3), m(5, 2)), Wrong);
  EXPECT_THROW(on.leaky_relu_backward(m(5, 3), m(5, 3), m(5, 2)), Wrong);
  EXPECT_THROW(on.normalise_forward(m(5, 3), m(4, 3)), Wrong);
  EXPECT_THROW(on.normalise_backward(m(5, 3), m(4, 3), m(5, 3)), Wrong);
  EXPECT_THROW(on.edge_dot(m(6, 1), m(5, 3), m(7, 3), {5, zero}), Wrong);
  EXPECT_THROW(on.edge_softmax_forward(m(6, 1), m(5, 1), pairs(5)), Wrong);
  EXPECT_THROW(on.edge_softmax_backward(m(6, 2), m(6, 2), m(6, 2), pairs(5)), Wrong);
  EXPECT_THROW(on.drop_edges(m(6, 1), m(6, 1), mask, sum), Wrong);
  EXPECT_THROW(on.draw_edges(mask, sum, 0.5, {1, 1, nullptr}), Wrong);
  EXPECT_THROW(on.draw_mask(mask, rows(4), 0.5, {1, 1, nullptr}), Wrong);
  EXPECT_THROW(on.cosine_loss(sum, m(5, 3), m(5, 3), view(7, 3), pairs(4), 1, 1), Wrong);
  EXPECT_THROW(on.cosine_loss(sum, m(5, 3), m(5, 3), view(7, 2), pairs(5), 1, 1), Wrong);
  EXPECT_THROW(on.cosine_loss(sum, m(5, 3), m(5, 3), view(4, 3), {5, zero}, 1, 1), Wrong);
  EXPECT_THROW(on.pair_loss(sum, m(6, 2), m(6, 2), m(5, 3), m(5, 3), m(7, 3), {pairs(5), zero},
                            plain, 1, 1), Wrong);
  EXPECT_THROW(on.pair_loss(sum, m(6, 1), m(6, 1), m(5, 3), m(5, 3), m(7, 3), {pairs(5)}, plain,
                            1, 1), Wrong);
  EXPECT_THROW(on.add_weighted(m(5, 3), m(6, 1), m(7, 3), {5, zero}, 1), Wrong);
  EXPECT_THROW(on.add_weighted(m(5, 3), m(6, 1), m(7, 2), pairs(5), 1), Wrong);
  EXPECT_THROW(on.add_weighted(m(5, 3), 1, m(4, 3), m(6, 1), other(7, 3), pairs(5), 1), Wrong);
  EXPECT_THROW(on.add_weighted(m(5, 3), 0, {}, m(6, 1), m(7, 3), pairs(5), 1), Wrong);
  EXPECT_THROW(on.penalty_forward(sum, sum + 1, m(5, 3), pairs(6), norm, 1), Wrong);
  EXPECT_THROW(on.penalty_backward(m(5, 3), sum, m(5, 3), pairs(4), norm, 1), Wrong);
  EXPECT_THROW(on.penalty_backward(m(5, 2), sum, m(5, 3), pairs(5), norm, 1), Wrong);
  EXPECT_THROW(on.norm_backward(m(5, 2), sum, m(5, 3), 1), Wrong);
  EXPECT_THROW(on.adam(m(1, 5), m(1, 5), m(1, 5), m(1, 4), time), Wrong);
  EXPECT_THROW(on.adam_replay({m(7, 3), m(7, 3), m(6, 3), nullptr, rows(0)}, time, 0), Wrong);
  EXPECT_THROW(on.adam_rows({m(7, 3), m(7, 3), m(7, 3), nullptr, rows(5)}, m(4, 3), time), Wrong);
  EXPECT_THROW(on.top_k(lists, m(4, 3), m(3, 3), rows(6), graph), Wrong);
  EXPECT_THROW(on.top_k(lists, m(4, 3), m(4, 3), rows(5), graph), Wrong);
}

}  // namespace
}  // namespace bm3::test
