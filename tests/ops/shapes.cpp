// A debug build refuses operands whose shapes do not fit.
#include <stdexcept>

#include "backends.h"
#include "layers/graph.h"
#include "ops/shapes.h"

namespace bm3::test {
namespace {

/// Operands of every operation, in shapes that fit: 5 rows of d = 3, tables of 7 rows, 4 x 3 nodes.
template <class T>
struct Operands {
  explicit Operands(Ops<T>& device)
      : ops(device),
        memory(ops, 4000),
        ints(ops, 1000),
        sums(ops, 2),
        graph(make_graph<T>(ops, 4, 3, {{0, 0}, {1, 2}})) {}
  /// A matrix of these rows and columns, the k-th of several that do not overlap.
  Matrix<T> m(size_t rows, size_t cols, size_t k = 0) {
    return {memory.data() + 400 * k, rows, cols};
  }
  Rows rows(size_t n) { return {ints.data(), n}; }
  Pairs pairs(size_t n) { return {n, ints.data(), ints.data(), ints.data()}; }
  View<T> view(size_t n, size_t d) { return {m(n, d, 9), bytes(), T(1)}; }
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(ints.data() + 500); }
  AdamTime<T> time() { return {{0.9, 0.999, 1e-8}, nullptr, nullptr}; }

  Ops<T>& ops;
  Array<T> memory;
  Array<int32_t> ints;  // zeros: rows without pairs, row numbers 0
  Array<double> sums;
  Graph<T> graph;
};

template <class T>
struct WrongCall {
  const char* words;
  void (*call)(Operands<T>&);
};

template <class T>
const WrongCall<T> wrong_calls[] = {
    {"linear_forward: y's rows", [](Operands<T>& o) {
       o.ops.linear_forward(o.m(5, 2), o.m(7, 3, 1), o.rows(4), o.m(3, 2, 2), o.m(1, 2, 3));
     }},
    {"linear_forward: W's rows", [](Operands<T>& o) {
       o.ops.linear_forward(o.m(5, 2), o.m(7, 3, 1), o.rows(5), o.m(4, 2, 2), o.m(1, 2, 3));
     }},
    {"linear_forward: b's columns", [](Operands<T>& o) {
       o.ops.linear_forward(o.m(5, 2), o.m(7, 3, 1), o.rows(5), o.m(3, 2, 2), o.m(1, 3, 3));
     }},
    {"linear_forward: x's rows without numbers", [](Operands<T>& o) {
       o.ops.linear_forward(o.m(5, 2), o.m(7, 3, 1), {}, o.m(3, 2, 2), o.m(1, 2, 3));
     }},
    {"linear_backward: d_x's columns", [](Operands<T>& o) {
       o.ops.linear_backward(o.m(5, 2), o.m(3, 2, 1), o.m(1, 2, 2), o.m(5, 2, 3), o.m(7, 3, 4),
                             o.rows(5), o.m(3, 2, 5));
     }},
    {"linear_backward: d_W's shape", [](Operands<T>& o) {
       o.ops.linear_backward({}, o.m(2, 3, 1), o.m(1, 2, 2), o.m(5, 2, 3), o.m(7, 3, 4), o.rows(5),
                             o.m(3, 2, 5));
     }},
    {"linear_backward: d_b's columns", [](Operands<T>& o) {
       o.ops.linear_backward({}, o.m(3, 2, 1), o.m(2, 1, 2), o.m(5, 2, 3), o.m(7, 3, 4), o.rows(5),
                             o.m(3, 2, 5));
     }},
    {"propagate: rows for every node", [](Operands<T>& o) {
       o.ops.propagate(o.m(6, 3), o.m(6, 3, 1), o.m(6, 3, 2), 1, 1, 1, o.graph);
     }},
    {"propagate: z's columns", [](Operands<T>& o) {
       o.ops.propagate(o.m(7, 3), o.m(7, 3, 1), o.m(7, 2, 2), 1, 1, 1, o.graph);
     }},
    {"propagate: in place", [](Operands<T>& o) {
       o.ops.propagate(o.m(7, 3), o.m(7, 3), o.m(7, 3, 2), 1, 1, 1, o.graph);
     }},
    {"gather_rows: columns", [](Operands<T>& o) {
       o.ops.gather_rows(o.m(5, 3), o.m(7, 2, 1), o.rows(5));
     }},
    {"gather_rows: row numbers", [](Operands<T>& o) {
       o.ops.gather_rows(o.m(5, 3), o.m(7, 3, 1), o.rows(6));
     }},
    {"scatter_add_rows: row numbers", [](Operands<T>& o) {
       o.ops.scatter_add_rows(o.m(7, 3), o.m(5, 3, 1), o.rows(4));
     }},
    {"draw_mask: row numbers", [](Operands<T>& o) {
       o.ops.draw_mask({o.bytes(), 5, 3}, o.rows(4), 0.5, {1, 1, nullptr});
     }},
    {"cosine_loss: pairs of every row", [](Operands<T>& o) {
       o.ops.cosine_loss(o.sums.data(), o.m(5, 3), o.m(5, 3, 1), o.view(7, 3), o.pairs(4), 1, 1);
     }},
    {"cosine_loss: the view's columns", [](Operands<T>& o) {
       o.ops.cosine_loss(o.sums.data(), o.m(5, 3), o.m(5, 3, 1), o.view(7, 2), o.pairs(5), 1, 1);
     }},
    {"cosine_loss: own rows of a shorter view", [](Operands<T>& o) {
       o.ops.cosine_loss(o.sums.data(), o.m(5, 3), o.m(5, 3, 1), o.view(4, 3),
                         {5, o.ints.data()}, 1, 1);
     }},
    {"pair_loss: c's columns", [](Operands<T>& o) {
       o.ops.pair_loss(o.sums.data(), o.m(6, 2), o.m(6, 2, 1), o.m(5, 3, 2), o.m(5, 3, 3),
                       o.m(7, 3, 4), {o.pairs(5), o.ints.data()}, PairForm::plain, 1);
     }},
    {"pair_loss: without negatives", [](Operands<T>& o) {
       o.ops.pair_loss(o.sums.data(), o.m(6, 1), o.m(6, 1, 1), o.m(5, 3, 2), o.m(5, 3, 3),
                       o.m(7, 3, 4), {o.pairs(5), nullptr}, PairForm::plain, 1);
     }},
    {"add_weighted: without edges", [](Operands<T>& o) {
       o.ops.add_weighted(o.m(5, 3), o.m(6, 1, 1), o.m(7, 3, 2), {5, o.ints.data(), o.ints.data()},
                          1);
     }},
    {"add_weighted: x's columns", [](Operands<T>& o) {
       o.ops.add_weighted(o.m(5, 3), o.m(6, 1, 1), o.m(7, 2, 2), o.pairs(5), 1);
     }},
    {"penalty_forward: pairs of every row", [](Operands<T>& o) {
       o.ops.penalty_forward(o.sums.data(), o.sums.data() + 1, o.m(5, 3), o.pairs(6),
                             RegForm::norm, 1);
     }},
    {"penalty_backward: pairs of every row", [](Operands<T>& o) {
       o.ops.penalty_backward(o.m(5, 3), o.sums.data(), o.m(5, 3, 1), o.pairs(4), RegForm::norm, 1);
     }},
    {"penalty_backward: d_x's shape", [](Operands<T>& o) {
       o.ops.penalty_backward(o.m(5, 2), o.sums.data(), o.m(5, 3, 1), o.pairs(5), RegForm::norm, 1);
     }},
    {"norm_backward: d_x's shape", [](Operands<T>& o) {
       o.ops.norm_backward(o.m(5, 2), o.sums.data(), o.m(5, 3, 1), 1);
     }},
    {"adam: g's size", [](Operands<T>& o) {
       o.ops.adam(o.m(1, 5), o.m(1, 5, 1), o.m(1, 5, 2), o.m(1, 4, 3), o.time());
     }},
    {"adam_replay: v's rows", [](Operands<T>& o) {
       o.ops.adam_replay({o.m(7, 3), o.m(7, 3, 1), o.m(6, 3, 2), nullptr, o.rows(0)}, o.time(), 0);
     }},
    {"adam_rows: g's rows", [](Operands<T>& o) {
       o.ops.adam_rows({o.m(7, 3), o.m(7, 3, 1), o.m(7, 3, 2), nullptr, o.rows(5)}, o.m(4, 3, 3),
                       o.time());
     }},
    {"top_k: users", [](Operands<T>& o) {
       o.ops.top_k({o.ints.data() + 500, 5, 2}, o.m(4, 3), o.m(3, 3, 1), o.rows(6), o.graph);
     }},
    {"top_k: h_i's rows", [](Operands<T>& o) {
       o.ops.top_k({o.ints.data() + 500, 5, 2}, o.m(4, 3), o.m(4, 3, 1), o.rows(5), o.graph);
     }}};

template <class Backend>
class ShapesTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(ShapesTest, Backends, BackendName);

TYPED_TEST(ShapesTest, ADebugBuildRefusesWrongOnes) {
  using T = typename TypeParam::Real;
  if (!shapes::checked) GTEST_SKIP() << "a release build does not check shapes";
  Operands<T> operands(*this->ops);
  for (const auto& [words, call] : wrong_calls<T>)
    EXPECT_THROW(call(operands), std::logic_error) << words;
}

}  // namespace
}  // namespace bm3::test
