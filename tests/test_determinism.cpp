// The same inputs give the same bytes: every operation for 1, 2 and 4 threads and from run to run.
#include <map>

#include "backends.h"
#include "compare.h"
#include "layers/graph.h"
#include "random_pairs.h"

namespace bm3::test {
namespace {

using Bytes = std::vector<unsigned char>;

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
  template <class... E>
  void keep(const std::string& name, const Array<E>&... arrays) {
    const auto append = [&](const auto& values) {
      const auto* first = reinterpret_cast<const unsigned char*>(values.data());
      Bytes& all = out_[name];
      all.insert(all.end(), first, first + values.size() * sizeof values[0]);
    };
    (append(arrays.host()), ...);
  }

  void linear(size_t n, size_t in, size_t out) {
    const auto x = numbers(n * in), W = numbers(in * out), b = numbers(out), d_y = numbers(n * out);
    const Array<int32_t> numbered(ops_, random_.padded_rows(n, n));
    for (const Rows rows : {numbered.rows(), Rows{}}) {
      Array<T> y(ops_, n * out), d_x(ops_, n * in), d_W(ops_, in * out), d_b(ops_, out);
      ops_.linear_forward(y.matrix(n, out), x.matrix(n, in), rows, W.matrix(in, out),
                          b.matrix(1, out));
      ops_.linear_backward(d_x.matrix(n, in), d_W.matrix(in, out), d_b.matrix(1, out),
                           d_y.matrix(n, out), x.matrix(n, in), rows, W.matrix(in, out));
      keep("linear_forward", y);
      keep("linear_backward", d_x, d_W, d_b);
    }
  }

  void rows_and_graph() {
    constexpr size_t users = 1200, items = 700, nodes = users + items, d = 72, n = 1500, k = 50;
    std::vector<Interaction> train(9000);
    for (auto& x : train) x = {random_.below(users), random_.below(items)};
    const auto graph = make_graph<T>(ops_, users, items, train);
    const auto on_E = numbers(nodes * d), x = numbers(n * d);
    const Matrix<const T> E = on_E.matrix(nodes, d);
    Array<T> H(ops_, nodes * d), z(ops_, n * d);
    ops_.propagate(H.matrix(nodes, d), E, E, T(0.5), T(0.5), T(1.5), graph);
    keep("propagate", H);
    const Array<int32_t> rows(ops_, random_.distinct_rows(n, nodes));
    ops_.gather_rows(z.matrix(n, d), H.matrix(nodes, d), rows.rows());
    keep("gather_rows", z);
    Array<uint8_t> mask(ops_, n * d);
    const Array<uint32_t> step(ops_, std::vector<uint32_t>{3});
    ops_.draw_mask(mask.matrix(n, d), rows.rows(), 0.4, {5, 256, step.data()});
    keep("draw_mask", mask);
    ops_.scatter_add_rows(H.matrix(nodes, d), x.matrix(n, d), rows.rows());
    keep("scatter_add_rows", H);

    const Array<int32_t> list(ops_, random_.indices(900, users));
    Array<int32_t> item(ops_, list.size() * k);
    ops_.top_k(item.matrix(list.size(), k), E.slice(0, users), E.slice(users, items), list.rows(),
               graph);
    keep("top_k", item);
  }

  void metrics() {
    constexpr size_t n = 5001, items = 90, k = 50;
    std::vector<size_t> begin(n + 1);
    for (size_t t = 0; t <= n; ++t) begin[t] = 3 * t;
    const Array<int32_t> list(ops_, random_.indices(n * k, items));
    const Array<int32_t> held_out(ops_, random_.indices(3 * n, items));
    const Array<int32_t> row(ops_, random_.permutation(n));
    const Array<size_t> on_begin(ops_, begin);
    const Array<double> ideal(ops_, random_.numbers<double>(longest_list + 1));
    Array<double> sums(ops_, n_metrics);
    const Truth truth{n, row.data(), on_begin.data(), held_out.data()};
    ops_.metrics(sums.data(), list.matrix(n, k), truth, ideal.data());
    keep("metrics", sums);
  }

  void losses() {
    constexpr size_t n = 3001, targets = 500, d = 65;
    const RandomPairs pairs(ops_, random_, n, targets);
    const size_t triples = pairs.size();
    const Array<int32_t> negative(ops_, random_.indices(triples, targets));
    const auto on_a = numbers(n * d), h = numbers(n * d);
    const Array<uint8_t> mask(ops_, random_.mask(n * d));
    const View<T> b{h.matrix(n, d), mask.data(), T(1.5)};
    auto on_d_a = numbers(n * d);
    Array<T> x(ops_, triples), c(ops_, triples);
    Array<double> loss(ops_, 1), norm(ops_, 1);
    const Matrix<T> d_a = on_d_a.matrix(n, d);
    const Matrix<const T> a = on_a.matrix(n, d);
    for (const Pairs& p : {pairs.pairs(), pairs.own()})
      ops_.cosine_loss(loss.data(), d_a, a, b, p, 0.3, 2);
    keep("cosine_loss", loss, on_d_a);
    ops_.pair_loss(loss.data(), x.matrix(triples, 1), c.matrix(triples, 1), d_a, a, b.h,
                   {pairs.pairs(), negative.data()}, PairForm::epsilon, 0.3);
    keep("pair_loss", loss, x, c, on_d_a);
    ops_.add_weighted(d_a, c.matrix(triples, 1), b.h, pairs.pairs(), -1);
    keep("add_weighted", on_d_a);
    for (RegForm form : {RegForm::norm, RegForm::squared}) {
      ops_.penalty_forward(loss.data(), norm.data(), a, pairs.pairs(), form, 0.3);
      keep("penalty_forward", loss, norm);
      ops_.penalty_backward(d_a, norm.data(), a, pairs.pairs(), form, 0.3);
      keep("penalty_backward", on_d_a);
    }
    ops_.norm_forward(loss.data(), norm.data(), a, 0.3);
    keep("norm_forward", loss, norm);
    ops_.norm_backward(d_a, norm.data(), a, 0.3);
    keep("norm_backward", on_d_a);
  }

  void adam() {
    constexpr size_t height = 900, n = 300, d = 130, size = height * d;
    const Array<AdamStep<T>> schedule(ops_, std::vector<AdamStep<T>>(10, {T(0.01), T(1.5)}));
    auto p = numbers(size), m = numbers(size);
    Array<T> v(ops_, size);
    const auto g = numbers(size);
    Array<uint32_t> step(ops_, std::vector<uint32_t>{2});
    const AdamTime<T> time{{0.9, 0.999, 1e-8}, schedule.data(), step.data()};
    ops_.adam(p.matrix(1, size), m.matrix(1, size), v.matrix(1, size), g.matrix(1, size), time);
    keep("adam", p, m, v);
    for (int k = 0; k < 3; ++k) ops_.advance(step.data());
    keep("advance", step);
    Array<uint32_t> last(ops_, std::vector<uint32_t>(height, 2));
    const Array<int32_t> rows(ops_, random_.distinct_rows(n, height));
    AdamRows<T> at{p.matrix(height, d), m.matrix(height, d), v.matrix(height, d), last.data(),
                   rows.rows()};
    ops_.adam_replay(at, time, -1);
    keep("adam_replay", p, m, v);
    ops_.adam_rows(at, g.matrix(n, d), time);
    keep("adam_rows", p, m, v);
    at.rows = {nullptr, height};
    ops_.adam_replay(at, time, 0);
    keep("adam_replay", p, m, v, last);
  }

  Ops<T>& ops_;
  Random random_{1};
  std::map<std::string, Bytes> out_;
};

template <class Backend>
class DeterminismTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(DeterminismTest, Backends, BackendName);

/// All nineteen operations of ops.h, twice with one instance, and with 1, 2 and 4 threads.
TYPED_TEST(DeterminismTest, EveryOperationGivesTheSameBytes) {
  using T = typename TypeParam::Real;
  const auto once = EveryOperation<T>::outputs(*this->ops);
  EXPECT_EQ(once.size(), 19u);
  const auto expect_same = [&](Ops<T>& other, const std::string& words) {
    for (const auto& [name, bytes] : EveryOperation<T>::outputs(other)) {
      EXPECT_FALSE(bytes.empty()) << name;
      EXPECT_SAME(bytes, once.at(name)) << name << ", " << words;
    }
  };
  expect_same(*this->ops, "second run");
  for (int threads : {1, 2, 4})
    expect_same(*TypeParam::make(threads), std::to_string(threads) + " threads");
}

}  // namespace
}  // namespace bm3::test
