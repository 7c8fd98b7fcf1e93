// Every part's backward pass alone against finite differences in double precision.
#include "backends.h"
#include "check_rows.h"
#include "layers/graph.h"
#include "layers/pair_loss.h"
#include "random_pairs.h"

namespace bm3::test {
namespace {

/// y = x[rows] W + b, with padding. [Eq. 1, 6]
Agreements check_linear(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 7, 33}), in = random.one_of({1, 3, 8});
  const size_t out = random.one_of({1, 2, 5}), height = n + 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, height));
  const Vector g = random.numbers<double>(n * out);
  Array<double> y(ops, n * out), d_rows(ops, n * in);
  const Array<double> d_y(ops, g);
  struct Layer {
    Matrix<double> x, W, b;
  };
  const auto layer = [&](double* at) {
    return Layer{{at, height, in}, {at + height * in, in, out}, {at + (height + out) * in, 1, out}};
  };
  return check_part(
      ops, random, 1,
      {{"linear.d_x", height * in}, {"linear.d_W", in * out}, {"linear.d_b", out}},
      [&](double* at) {
        const Layer of = layer(at);
        ops.linear_forward(y.matrix(n, out), of.x, rows.rows(), of.W, of.b);
        return dot(g, y.host());
      },
      [&](double* at, double* gradient) {
        const Layer of = layer(at), d = layer(gradient);
        ops.linear_backward(d_rows.matrix(n, in), d.W, d.b, d_y.matrix(n, out), of.x, rows.rows(),
                            of.W);
        ops.scatter_add_rows(d.x, d_rows.matrix(n, in), rows.rows());
      });
}

/// H = P E [Eq. 3, 4], of which a batch's rows are gathered; backward, scattered. The last user and
/// the last item are isolated.
Agreements check_lightgcn(Ops<double>& ops, Random& random) {
  const size_t n_layers = random.one_of({0, 1, 2, 3, 4}), d = random.one_of({2, 3, 4, 5, 6});
  const double residual = random.below(2);
  const size_t users = random.one_of({3, 4, 7}), items = random.one_of({3, 5, 8});
  const size_t nodes = users + items, n = nodes - 1;
  std::vector<Interaction> train(nodes);
  for (auto& x : train) x = {random.below(users - 1), random.below(items - 1)};
  const auto graph = make_graph<double>(ops, users, items, train);
  const Array<int32_t> rows(ops, random.distinct_rows(n, nodes));
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_z(ops, g);
  Array<double> memory(ops, 3 * nodes * d), z(ops, n * d);
  const Matrix<double> H = memory.matrix(nodes, d), other{H.row(nodes), nodes, d};
  const Matrix<double> d_H{other.row(nodes), nodes, d};
  return check_part(
      ops, random, 1, {{"lightgcn.d_E", nodes * d}},
      [&](double* E) {
        lightgcn_forward(ops, H, other, {E, nodes, d}, graph, n_layers, residual);
        ops.gather_rows(z.matrix(n, d), H, rows.rows());
        return dot(g, z.host());
      },
      [&](double*, double* d_E) {
        ops.scatter_add_rows(d_H, d_z.matrix(n, d), rows.rows());
        lightgcn_backward(ops, {d_E, nodes, d}, other, d_H, graph, n_layers, residual);
      });
}

/// z = x[rows], on top of a gradient that x has already: L = g . z + |x|^2 / 2.
Agreements check_rows(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({1, 3, 8});
  const size_t height = n + n / 2 + 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, height));
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_z(ops, g);
  Array<double> z(ops, n * d);
  return check_part(
      ops, random, 1, {{"rows.d_x", height * d}},
      [&](double* at) {
        ops.gather_rows(z.matrix(n, d), {at, height, d}, rows.rows());
        const Vector x = host<double>(ops, {at, height, d});
        return dot(g, z.host()) + dot(x, x) / 2;
      },
      [&](double* at, double* gradient) {
        const Matrix<double> d_x{gradient, height, d};
        ops.gather_rows(d_x, {at, height, d}, {nullptr, height});
        ops.scatter_add_rows(d_x, d_z.matrix(n, d), rows.rows());
      });
}

/// The cosine loss with respect to a; b, a view and the target, is frozen. In fewer than three
/// dimensions some row would be too short for the step of finite differences. [Eq. 5, 8]
Agreements check_cosine(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), targets = random.one_of({1, 4, 30});
  const size_t d = random.one_of({3, 5, 8}), height = std::max(n, targets);
  const PairsOnDevice pairs(ops, RandomPairs(random, n, targets));
  const Array<double> h(ops, random.numbers<double>(height * d));
  const Array<uint8_t> mask(ops, random.mask(h.size()));
  const View<double> b{h.matrix(height, d), mask.data(), 1.6};
  const double mean = 0.7, weight = 1.3;
  Array<double> unused(ops, n * d);
  Agreements result;
  for (bool own : {false, true}) {
    const auto pass = [&](double* a, double* d_a) {
      const Array<double> sum(ops, 1);
      ops.cosine_loss(const_cast<double*>(sum.data()), {d_a, n, d}, {a, n, d}, b,
                      own ? pairs.own() : pairs.pairs(), mean, weight);
      return weight * sum.host()[0];
    };
    result.merge(check_part(
        ops, random, 1, {{own ? "cosine.d_a, own rows" : "cosine.d_a", n * d}},
        [&](double* a) { return pass(a, unused.data()); }, pass));
  }
  return result;
}

/// |x|_F of the two halves of a table. [Eq. 12]
Agreements check_norm(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({1, 3, 8});
  Array<double> norms(ops, 2);
  const auto half = [&](double* at, size_t k) { return Matrix<double>{at + k * n * d, n, d}; };
  const auto forward = [&](double* x) {
    Array<double> sum(ops, 1);
    for (size_t k : {0, 1}) ops.norm_forward(sum.data(), norms.data() + k, half(x, k), 0.9);
    return sum.host()[0];
  };
  return check_part(ops, random, 1, {{"norm.d_x", 2 * n * d}}, forward,
                    [&](double* x, double* d_x) {
                      forward(x);
                      for (size_t k : {0, 1})
                        ops.norm_backward(half(d_x, k), norms.data() + k, half(x, k), 0.9);
                    });
}

/// BPR's loss and its regulariser, in both forms, on a batch in which a user, an item and a whole
/// pair occur twice, and an item is positive and negative, in two triples and in one.
Agreements check_triples(Ops<double>& ops, Random& random) {
  const size_t users = random.one_of({2, 7}), items = random.one_of({3, 12});
  const size_t d = random.one_of({1, 4, 9});
  std::vector<Interaction> pairs = {{0, 0}, {0, 1}, {1, 0}, {0, 0}};
  std::vector<int32_t> negatives = {1, 0, 2, 0};
  for (int32_t k = random.below(6); k > 0; --k) {
    const std::vector<int32_t> two = random.permutation(items);
    pairs.push_back({random.below(users), two[0]});
    negatives.push_back(two[1]);
  }
  BatchLoader loader(ops, users, items, pairs.size(), true);
  const Batch batch = loader.load(pairs.data(), negatives.data(), pairs.size());
  const size_t of_users = batch.users.n * d, of_items = batch.items.n * d;
  const auto rows = [&](double* at) {
    return Blocks<Matrix<double>>{{at, batch.nodes.n, d}, batch.users.n, batch.items.n};
  };
  const double lambda = 0.9;
  Agreements result;
  for (bool other : {false, true}) {
    PairLoss<double> layer(ops, loader, d,
                           {other ? PairForm::epsilon : PairForm::plain,
                            other ? RegForm::squared : RegForm::norm});
    const std::string u = ".d_u" + std::string(other ? ", other form" : "");
    const std::string i = ".d_i" + std::string(other ? ", other form" : "");
    const Rows all{nullptr, batch.nodes.n};
    const auto bpr = [&](double* f) {
      Array<double> sum(ops, 1);
      ops.gather_rows(layer.f(batch).all, rows(f).all, all);
      layer.forward(sum.data(), batch);
      return sum.host()[0];
    };
    const auto reg = [&](double* e) {
      Array<double> sum(ops, 1);
      layer.reg_forward(sum.data(), rows(e), batch);
      return lambda * sum.host()[0];
    };
    result.merge(check_part(ops, random, 2, {{"pair" + u, of_users}, {"pair" + i, of_items}},
                            bpr, [&](double* f, double* d_f) {
                              bpr(f);
                              layer.backward(batch);
                              ops.gather_rows(rows(d_f).all, layer.d_f(batch).all, all);
                            }));
    result.merge(check_part(ops, random, 2, {{"penalty" + u, of_users}, {"penalty" + i, of_items}},
                            reg, [&](double* e, double* d_e) {
                              reg(e);
                              layer.reg_backward(rows(d_e), rows(e), batch, lambda);
                            }));
  }
  return result;
}

/// z = x + S x with the weights w of GRCN's edges, which softmaxes of the neighbours' products and
/// c give, for two modalities. Edges lead both ways between random nodes, the last of which has
/// none.
Agreements check_edges(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({4, 7, 12}), d = random.one_of({2, 3, 5}), modalities = 2;
  std::vector<Entry> entries;
  for (int32_t r = 0; r + 2 < static_cast<int32_t>(n); ++r)
    for (int32_t c = r + 1; c + 1 < static_cast<int32_t>(n); ++c)
      if (c == r + 1 || random.below(3) == 0) {
        entries.push_back({r, c});
        entries.push_back({c, r});
      }
  const auto S = make_sparse<double>(ops, n, n, entries);
  const size_t size = modalities * n * d;  // of the x of all modalities
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_z(ops, g);
  Array<double> alpha(ops, modalities * S.size()), d_alpha(ops, alpha.size()), z(ops, n * d);
  Array<double> w(ops, S.size()), d_w(ops, S.size());
  Array<int32_t> chosen(ops, S.size());
  const auto x = [&](double* at, size_t m) { return Matrix<double>{at + m * n * d, n, d}; };
  const auto c = [&](double* at) { return Matrix<double>{at + size, n, modalities}; };
  const auto all = [&](Array<double>& shares) { return shares.matrix(modalities, S.size()); };
  const auto of = [&](Array<double>& shares, size_t m) {
    return Matrix<double>{shares.data() + m * S.size(), S.size(), 1};
  };
  const auto weights = [&](Array<double>& memory) { return memory.matrix(S.size(), 1); };
  const auto forward = [&](double* at) {
    ops.zero(alpha.data(), alpha.size() * sizeof(double));
    for (size_t m = 0; m < modalities; ++m) {
      ops.edge_dot(of(alpha, m), x(at, m), x(at, m), S.rows(), 1);
      ops.edge_softmax_forward(of(alpha, m), of(alpha, m), S.rows());
    }
    ops.edge_weights_forward(weights(w), chosen.matrix(S.size(), 1), all(alpha), c(at),
                             S.columns());
    ops.gather_rows(z.matrix(n, d), x(at, 0), {nullptr, n});
    ops.add_weighted(z.matrix(n, d), weights(w), x(at, 0), S.rows(), 1);
    return dot(g, z.host());
  };
  return check_part(
      ops, random, 1, {{"edges.d_x", size}, {"edges.d_c", n * modalities}}, forward,
      [&](double* at, double* gradient) {
        forward(at);
        const Matrix<const double> g_z = d_z.matrix(n, d);
        ops.zero(d_w.data(), d_w.size() * sizeof(double));
        ops.gather_rows(x(gradient, 0), g_z, {nullptr, n});
        ops.add_weighted(x(gradient, 0), weights(w), g_z, S.columns(), 1);
        ops.edge_dot(weights(d_w), g_z, x(at, 0), S.rows(), 1);
        ops.edge_weights_backward(all(d_alpha), c(gradient), weights(d_w),
                                  chosen.matrix(S.size(), 1), all(alpha), c(at), S.columns());
        for (size_t m = 0; m < modalities; ++m) {
          const Matrix<double> d_a = of(d_alpha, m);
          ops.edge_softmax_backward(d_a, d_a, of(alpha, m), S.rows());
          ops.add_weighted(x(gradient, m), d_a, x(at, m), S.rows(), 1);
          ops.add_weighted(x(gradient, m), d_a, x(at, m), S.columns(), 1);
        }
      });
}

constexpr uint64_t n_seeds = 40;

void expect_right(Ops<double>& ops, Check check) {
  for (uint64_t seed = 1; seed <= n_seeds; ++seed) {
    Random random(seed);
    for (const auto& [name, agreement] : check(ops, random))
      EXPECT_WITHIN(agreement, gradient_bound) << name << ", seed " << seed;
  }
}

template <class Backend>
class GradientTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(GradientTest, Backends64, BackendName);

/// d_x, d_W and d_b [Eq. 1, 6]
TYPED_TEST(GradientTest, OfLinearLayers) { expect_right(*this->ops, check_linear); }

/// d_E through mean read-out, residual and L symmetric layers, L in 0 .. 4 [Eq. 3, 4]
TYPED_TEST(GradientTest, OfLightGcn) { expect_right(*this->ops, check_lightgcn); }

/// The scatter is the gather's backward and adds to what is there.
TYPED_TEST(GradientTest, OfGatheredRows) { expect_right(*this->ops, check_rows); }

/// dC/da with the target frozen [Eq. 8-11]
TYPED_TEST(GradientTest, OfCosines) { expect_right(*this->ops, check_cosine); }

/// d|x|/dx of a table's halves [Eq. 12]
TYPED_TEST(GradientTest, OfNorms) { expect_right(*this->ops, check_norm); }

/// BPR's loss with respect to users and items, and its regulariser, each in both forms
TYPED_TEST(GradientTest, OfTriples) { expect_right(*this->ops, check_triples); }

/// y += x W
TYPED_TEST(GradientTest, OfLinearLayersWithoutABias) {
  expect_right(*this->ops, check_sum_of_layers);
}

/// Concatenation, sum, leaky ReLU, rows of length 1, and the regulariser with each row once
TYPED_TEST(GradientTest, OfColumnsAndEntries) {
  for (Check check : {check_columns, check_sum, check_leaky_relu, check_normalise, check_penalty})
    expect_right(*this->ops, check);
}

/// S x with respect to x and to S's weights, and the softmax over a row's edges
TYPED_TEST(GradientTest, OfEdges) {
  for (Check check : {check_sparse, check_softmax}) expect_right(*this->ops, check);
}

/// GRCN's weights of edges, with respect to what attention reads and to the confidence
TYPED_TEST(GradientTest, OfWeightedEdges) { expect_right(*this->ops, check_edges); }

}  // namespace
}  // namespace bm3::test
