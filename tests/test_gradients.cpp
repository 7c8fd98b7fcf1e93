// Every part's backward pass alone against finite differences in double precision.
#include "backends.h"
#include "layers/graph.h"
#include "layers/pair_loss.h"
#include "layers/sparse.h"
#include "model_case.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

using In = Matrix<const double>;
using Out = Matrix<double>;
using Outs = std::vector<Out>;
using Size = std::pair<size_t, size_t>;  // rows and columns
using Sizes = std::vector<Size>;

template <class Backend>
class GradientTest : public OnBackend<Backend, 1> {
 protected:
  /// Calls check(ops, random) with different seeds.
  template <class Check>
  void for_each_seed(const Check& check) {
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      Random random(seed);
      check(*this->ops, random);
    }
  }
};
TYPED_TEST_SUITE(GradientTest, Backends64, BackendName);

/// At random variables x of these sizes, of numbers up to `scale`: what backward(d_x, x) adds to
/// zeros, against the central differences of forward(x).
template <class Forward, class Backward>
void expect_loss(Ops<double>& ops, Random& random, double scale, const Sizes& sizes,
                 const Forward& forward, const Backward& backward) {
  std::vector<Table<double>> memory;
  Outs x, d_x;
  for (const auto& [rows, cols] : sizes)
    for (Outs* to : {&x, &d_x}) to->push_back(memory.emplace_back(ops, rows, cols));
  for (const Out& each : x) upload(ops, each, random.numbers<double>(each.size(), scale));
  backward(d_x, x);
  for (size_t k = 0; k < x.size(); ++k) {
    const auto values = host<double>(ops, x[k]), gradient = host<double>(ops, d_x[k]);
    const auto differences = central_differences(values, [&](const std::vector<double>& moved) {
      upload(ops, x[k], moved);
      return forward(x);
    });
    upload(ops, x[k], values);
    EXPECT_WITHIN(compare(gradient, differences, gradient_floor), gradient_bound) << "x_" << k;
  }
}

/// The same for a part with an output y, zero before forward(y, x): the loss is sum g . y with
/// random numbers g, which are what backward(d_x, x, g, y) has as d_y.
template <class Forward, class Backward>
void expect_output(Ops<double>& ops, Random& random, Size of_y, const Sizes& of_x,
                   const Forward& forward, const Backward& backward) {
  const Table<double> y(ops, of_y.first, of_y.second), d_y(ops, of_y.first, of_y.second);
  const auto g = random.numbers<double>(y.size());
  upload<double>(ops, d_y, g);
  const auto loss = [&](const Outs& x) {
    ops.zero<double>(y);
    forward(y, x);
    const auto out = y.memory.host();
    return std::inner_product(g.begin(), g.end(), out.begin(), 0.0);
  };
  expect_loss(ops, random, 1, of_x, loss, [&](const Outs& d_x, const Outs& x) {
    loss(x);
    backward(d_x, x, d_y, y);
  });
}

/// y = x[rows] W + b + z V, with padding. [Eq. 1, 6]
TYPED_TEST(GradientTest, OfLinearLayers) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n = random.one_of({1, 2, 7, 33}), in = random.one_of({1, 3, 8});
    const size_t out = random.one_of({1, 2, 5}), height = n + 1;
    const Array<int32_t> rows(on, random.distinct_rows(n, height));
    const Table<double> d_rows(on, n, in);
    expect_output(
        on, random, {n, out}, {{height, in}, {n, in}, {in, out}, {in, out}, {1, out}},
        [&](Out y, const Outs& x) {
          on.linear_forward(y, x[0], rows.rows(), x[2], x[4]);
          on.linear_forward(y, x[1], {}, x[3], {});
        },
        [&](const Outs& d, const Outs& x, In d_y, Out) {
          on.linear_backward(d_rows, d[2], d[4], d_y, x[0], rows.rows(), x[2]);
          on.scatter_add_rows(d[0], d_rows, rows.rows());
          on.linear_backward(d[1], d[3], {}, d_y, x[1], {}, x[3]);
        });
  });
}

/// y = H[rows] with H = P E, through mean read-out, residual and L symmetric layers [Eq. 3, 4];
/// backward, scattered. The last user and the last item are isolated.
TYPED_TEST(GradientTest, OfLightGcn) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n_layers = random.one_of({0, 1, 2, 3, 4}), d = random.one_of({2, 3, 4, 5, 6});
    const double residual = random.below(2);
    const size_t users = random.one_of({3, 4, 7}), items = random.one_of({3, 5, 8});
    const size_t nodes = users + items, n = nodes - 1;
    std::vector<Interaction> train(nodes);
    for (auto& x : train) x = {random.below(users - 1), random.below(items - 1)};
    const auto graph = make_graph<double>(on, users, items, train);
    const Array<int32_t> rows(on, random.distinct_rows(n, nodes));
    const Table<double> H(on, nodes, d), other(on, nodes, d);
    expect_output(
        on, random, {n, d}, {{nodes, d}},
        [&](Out y, const Outs& E) {
          lightgcn_forward<double>(on, H, other, E[0], graph, n_layers, residual);
          on.gather_rows(y, H, rows.rows());
        },
        [&](const Outs& d_E, const Outs&, In d_y, Out) {
          scatter_rows<double>(on, H, d_y, rows.rows());  // the gradient of H now
          lightgcn_backward<double>(on, d_E[0], other, H, graph, n_layers, residual);
        });
  });
}

/// y = u / |u| with u = 0.7 LR(a (+) b) - 1.3 c, away from the kink of the leaky ReLU.
TYPED_TEST(GradientTest, OfColumnsAndEntries) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n = random.one_of({1, 2, 9, 20}), a = random.one_of({1, 3}), d = a + 3;
    std::vector<double> places;
    for (size_t k = 0; k < n * d; ++k) places.push_back(random.below(2) ? 2 : -2);
    const Array<double> near(on, places);
    const Table<double> t(on, n, d), u(on, n, d), d_u(on, n, d), d_t(on, n, d);
    expect_output(
        on, random, {n, d}, {{n, a}, {n, d - a}, {n, d}},
        [&](Out y, const Outs& x) {
          on.copy_columns(t, 0, x[0], 0, a);
          on.copy_columns(t, a, x[1], 0, d - a);
          on.add(t, 1, near.matrix(n, d), 1);
          on.leaky_relu_forward(t, t);
          on.add(u, 0, t, 0.7);
          on.add(u, 1, x[2], -1.3);
          on.normalise_forward(y, u);
        },
        [&](const Outs& d_x, const Outs&, In d_y, Out) {
          on.normalise_backward(d_u, d_y, u);
          on.add(d_x[2], 0, d_u, -1.3);
          on.add(d_t, 0, d_u, 0.7);
          on.leaky_relu_backward(d_t, d_t, t);
          on.copy_columns(d_x[0], 0, d_t, 0, a);
          on.copy_columns(d_x[1], 0, d_t, a, d - a);
        });
  });
}

/// y = S x with respect to x and to S's weights, by the columns' list of edges, which is the rows'
/// in another order; alpha = softmax(a) over the edges of each column; and GRCN's weights
/// w = max(0, alpha_m c_m) of two modalities, c of a column, away from kinks, where alpha is near
/// 3, c_0 near 2 or -2 and c_1 near 8 or -8.
TYPED_TEST(GradientTest, OfEdges) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n = random.one_of({2, 4, 9}), m = random.one_of({2, 5}), d = random.one_of({1, 3});
    std::vector<Entry> entries = {{0, 0}};  // about half of all
    for (int32_t k = 1; k < static_cast<int32_t>(n * m); ++k)
      if (const auto of_row = static_cast<int32_t>(m); random.below(2))
        entries.push_back({k / of_row, k % of_row});
    const Sparse<double> S = make_sparse<double>(on, n, m, std::move(entries));
    const size_t size = S.size();
    expect_output(
        on, random, {n, d}, {{m, d}, {size, 1}},
        [&](Out y, const Outs& x) { on.add_weighted(y, x[1], x[0], S.rows(), 0.8); },
        [&](const Outs& d_x, const Outs& x, In d_y, Out y) {
          on.add_weighted(d_x[0], x[1], d_y, S.columns(), 0.8);
          on.add(y, 0, d_y, 0.8);
          on.edge_dot(d_x[1], x[0], y, S.columns());
        });
    expect_output(
        on, random, {size, 1}, {{size, 1}},
        [&](Out y, const Outs& a) { on.edge_softmax_forward(y, a[0], S.columns()); },
        [&](const Outs& d_a, const Outs&, In d_y, Out y) {
          on.edge_softmax_backward(d_a[0], d_y, y, S.columns());
        });
    std::vector<double> places;
    for (size_t k = 0; k < 2 * m; ++k)
      places.push_back((random.below(2) ? 1 : -1) * (k % 2 == 0 ? 2 : 8));
    const Array<double> near(on, places), three(on, std::vector<double>(2 * size, 3));
    const Table<double> alpha(on, 2, size), c(on, m, 2);
    Table<int32_t> chosen(on, size, 1);
    expect_output(
        on, random, {size, 1}, {{2, size}, {m, 2}},
        [&](Out y, const Outs& x) {
          on.add(alpha, 0, x[0], 1);
          on.add(alpha, 1, three.matrix(2, size), 1);
          on.add(c, 0, x[1], 1);
          on.add(c, 1, near.matrix(m, 2), 1);
          on.edge_weights_forward(y, chosen, alpha, c, S.columns());
        },
        [&](const Outs& d_x, const Outs&, In d_y, Out) {
          on.edge_weights_backward(d_x[0], d_x[1], d_y, chosen, alpha, c, S.columns());
        });
  });
}

/// The cosine loss with respect to a; b, a view and the target, is frozen. In fewer than three
/// dimensions some row would be too short for the step of finite differences. [Eq. 5, 8-11]
TYPED_TEST(GradientTest, OfCosines) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n = random.one_of({1, 2, 9, 20}), targets = random.one_of({1, 4, 30});
    const size_t d = random.one_of({3, 5, 8}), height = std::max(n, targets);
    const PairsOnDevice pairs(on, RandomPairs(random, n, targets));
    const Array<double> h(on, random.numbers<double>(height * d));
    const Array<uint8_t> mask(on, random.mask(h.size()));
    const View<double> b{h.matrix(height, d), mask.data(), 1.6};
    const Table<double> unused(on, n, d);
    for (bool own : {false, true}) {
      const auto pass = [&](const Outs& d_a, const Outs& a) {
        Array<double> sum(on, loss_parts);
        on.cosine_loss(sum.data(), d_a[0], a[0], b, own ? pairs.own() : pairs.pairs(), 0.7, 1.3);
        return 1.3 * total(sum)[0];
      };
      expect_loss(on, random, 1, {{n, d}}, [&](const Outs& a) { return pass({unused}, a); }, pass);
    }
  });
}

/// |x|_F of two halves of a table. [Eq. 12]
TYPED_TEST(GradientTest, OfNorms) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({1, 3, 8});
    Array<double> norms(on, 2);
    const auto forward = [&](const Outs& x) {
      Array<double> sum(on, loss_parts);
      for (size_t k : {0, 1}) on.norm_forward(sum.data(), norms.data() + k, x[k], 0.9);
      return total(sum)[0];
    };
    expect_loss(on, random, 1, {{n, d}, {n, d}}, forward, [&](const Outs& d_x, const Outs& x) {
      forward(x);
      for (size_t k : {0, 1}) on.norm_backward(d_x[k], norms.data() + k, x[k], 0.9);
    });
  });
}

/// BPR's loss and its regulariser, in both forms, on a batch in which a user, an item and a whole
/// pair occur twice, and an item is positive and negative, in two triples and in one.
TYPED_TEST(GradientTest, OfTriples) {
  this->for_each_seed([](Ops<double>& on, Random& random) {
    const size_t users = random.one_of({2, 7}), items = random.one_of({3, 12});
    const size_t d = random.one_of({1, 4, 9});
    std::vector<Interaction> pairs = {{0, 0}, {0, 1}, {1, 0}, {0, 0}};
    std::vector<int32_t> negatives = {1, 0, 2, 0};
    for (int32_t k = random.below(6); k > 0; --k) {
      const std::vector<int32_t> two = random.permutation(items);
      pairs.push_back({random.below(users), two[0]});
      negatives.push_back(two[1]);
    }
    BatchLoader loader(on, users, items, pairs.size(), true);
    const Batch batch = loader.load(1, pairs.data(), negatives.data(), pairs.size());
    const Table<double> memory(on, batch.nodes.n, d);
    const Blocks<Out> e{memory, batch.users.n, batch.items.n};
    const auto copy = [&](Out to, In from) { on.gather_rows(to, from, {nullptr, to.rows}); };
    const double lambda = 0.9;
    for (bool other : {false, true}) {
      PairLoss<double> layer(on, loader, d,
                             {other ? PairForm::epsilon : PairForm::plain,
                              other ? RegForm::squared : RegForm::norm});
      const auto pass = [&](const Outs& x) {
        Array<double> of_pairs(on, loss_parts), of_reg(on, loss_parts);
        for (const Blocks<Out>& rows : {e, layer.f(batch)}) {
          copy(rows.user(), x[0]);
          copy(rows.item(), x[1]);
        }
        layer.forward(of_pairs.data(), batch);
        layer.reg_forward(of_reg.data(), e, batch);
        return total(of_pairs)[0] + lambda * total(of_reg)[0];
      };
      expect_loss(on, random, 2, {{e.n_users, d}, {e.n_items, d}}, pass,
                  [&](const Outs& d_x, const Outs& x) {
                    pass(x);
                    layer.backward(batch);
                    layer.reg_backward(layer.d_f(batch), e, batch, lambda);
                    copy(d_x[0], layer.d_f(batch).user());
                    copy(d_x[1], layer.d_f(batch).item());
                  });
    }
  });
}

}  // namespace
}  // namespace bm3::test
