// Every part's backward pass alone against finite differences in double precision.
#include "backends.h"
#include "check_part.h"
#include "layers/graph.h"
#include "layers/pair_loss.h"
#include "layers/sparse.h"
#include "random_pairs.h"

namespace bm3::test {
namespace {

/// Checks a part, with random sizes.
using Check = Agreements (*)(Ops<double>& ops, Random& random);
using In = Matrix<const double>;
using Out = Matrix<double>;

/// y = x[rows] W + b + z V, with padding. [Eq. 1, 6]
Agreements check_linear(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 7, 33}), in = random.one_of({1, 3, 8});
  const size_t out = random.one_of({1, 2, 5}), height = n + 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, height));
  Array<double> memory(ops, n * in);
  const Out d_rows = memory.matrix(n, in);
  struct Layer {
    Out x, z, W, V, b;
    Layer(double* at, size_t height, size_t n, size_t in, size_t out)
        : x{at, height, in}, z{x.row(height), n, in}, W{z.row(n), in, out}, V{W.row(in), in, out},
          b{V.row(in), 1, out} {}
  };
  return check_output(
      ops, random, n, out,
      {{"linear.d_x", height * in}, {"linear.d_z", n * in}, {"linear.d_W", in * out},
       {"linear.d_V", in * out}, {"linear.d_b", out}},
      [&](Out y, double* at) {
        const Layer of(at, height, n, in, out);
        ops.linear_forward(y, of.x, rows.rows(), of.W, of.b);
        ops.linear_forward(y, of.z, {}, of.V, {});
      },
      [&](double* at, double* gradient, In d_y, Out) {
        const Layer of(at, height, n, in, out), d(gradient, height, n, in, out);
        ops.linear_backward(d_rows, d.W, d.b, d_y, of.x, rows.rows(), of.W);
        ops.scatter_add_rows(d.x, d_rows, rows.rows());
        ops.linear_backward(d.z, d.V, {}, d_y, of.z, {}, of.V);
      });
}

/// y = H[rows] with H = P E [Eq. 3, 4]; backward, scattered. The last user and the last item are
/// isolated.
Agreements check_lightgcn(Ops<double>& ops, Random& random) {
  const size_t n_layers = random.one_of({0, 1, 2, 3, 4}), d = random.one_of({2, 3, 4, 5, 6});
  const double residual = random.below(2);
  const size_t users = random.one_of({3, 4, 7}), items = random.one_of({3, 5, 8});
  const size_t nodes = users + items, n = nodes - 1;
  std::vector<Interaction> train(nodes);
  for (auto& x : train) x = {random.below(users - 1), random.below(items - 1)};
  const auto graph = make_graph<double>(ops, users, items, train);
  const Array<int32_t> rows(ops, random.distinct_rows(n, nodes));
  Array<double> memory(ops, 2 * nodes * d);
  const Out H = memory.matrix(nodes, d), other{H.row(nodes), nodes, d};
  return check_output(
      ops, random, n, d, {{"lightgcn.d_E", nodes * d}},
      [&](Out y, double* E) {
        lightgcn_forward(ops, H, other, {E, nodes, d}, graph, n_layers, residual);
        ops.gather_rows(y, H, rows.rows());
      },
      [&](double*, double* d_E, In d_y, Out) {
        ops.zero(H.at, H.size() * sizeof(double));  // the gradient of H now
        ops.scatter_add_rows(H, d_y, rows.rows());
        lightgcn_backward(ops, {d_E, nodes, d}, other, H, graph, n_layers, residual);
      });
}

/// y = x and below it x[rows].
Agreements check_rows(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({1, 3, 8});
  const size_t height = n + n / 2 + 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, height));
  const Rows all{nullptr, height};
  return check_output(
      ops, random, height + n, d, {{"rows.d_x", height * d}},
      [&](Out y, double* x) {
        ops.gather_rows(y.slice(0, height), {x, height, d}, all);
        ops.gather_rows(y.slice(height, n), {x, height, d}, rows.rows());
      },
      [&](double*, double* d_x, In d_y, Out) {
        ops.gather_rows({d_x, height, d}, d_y.slice(0, height), all);
        ops.scatter_add_rows({d_x, height, d}, d_y.slice(height, n), rows.rows());
      });
}

/// y = a (+) b
Agreements check_columns(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), of_a = random.one_of({1, 3}), of_b = of_a + 2;
  const auto a = [&](double* at) { return Out{at, n, of_a}; };
  const auto b = [&](double* at) { return Out{at + n * of_a, n, of_b}; };
  return check_output(
      ops, random, n, of_a + of_b, {{"columns.d_a", n * of_a}, {"columns.d_b", n * of_b}},
      [&](Out y, double* at) {
        ops.copy_columns(y, 0, a(at), 0, of_a);
        ops.copy_columns(y, of_a, b(at), 0, of_b);
      },
      [&](double*, double* d, In d_y, Out) {
        ops.copy_columns(a(d), 0, d_y, 0, of_a);
        ops.copy_columns(b(d), 0, d_y, of_a, of_b);
      });
}

/// y = 0.7 x_1 - 1.3 x_2
Agreements check_sum(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), d = random.one_of({1, 3, 8});
  const auto half = [&](double* at, size_t k) { return Out{at + k * n * d, n, d}; };
  return check_output(
      ops, random, n, d, {{"sum.d_x", 2 * n * d}},
      [&](Out y, double* x) {
        ops.add(y, 0, half(x, 0), 0.7);
        ops.add(y, 1, half(x, 1), -1.3);
      },
      [&](double*, double* d_x, In d_y, Out) {
        ops.add(half(d_x, 0), 0, d_y, 0.7);
        ops.add(half(d_x, 1), 0, d_y, -1.3);
      });
}

/// y = leaky ReLU of x +- 2, away from the kink.
Agreements check_leaky_relu(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), d = random.one_of({1, 3, 8});
  std::vector<double> sides;
  for (size_t k = 0; k < n * d; ++k) sides.push_back(random.below(2) ? 2 : -2);
  const Array<double> side(ops, sides);
  return check_output(
      ops, random, n, d, {{"leaky_relu.d_x", n * d}},
      [&](Out y, double* x) {
        ops.add(y, 0, {x, n, d}, 1);
        ops.add(y, 1, side.matrix(n, d), 1);
        ops.leaky_relu_forward(y, y);
      },
      [&](double*, double* d_x, In d_y, Out y) {
        ops.leaky_relu_backward({d_x, n, d}, d_y, y);
      });
}

/// y = x / |x|; in fewer than three dimensions some row would be too short for finite differences.
Agreements check_normalise(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({3, 5, 8});
  return check_output(
      ops, random, n, d, {{"normalise.d_x", n * d}},
      [&](Out y, double* x) { ops.normalise_forward(y, {x, n, d}); },
      [&](double* x, double* d_x, In d_y, Out) {
        ops.normalise_backward({d_x, n, d}, d_y, {x, n, d});
      });
}

/// S [n, m] with about half of its entries.
Sparse<double> random_sparse(Ops<double>& ops, Random& random, size_t n, size_t m) {
  std::vector<Entry> entries = {{0, 0}};
  for (int32_t k = 1; k < static_cast<int32_t>(n * m); ++k)
    if (const auto of_row = static_cast<int32_t>(m); random.below(2))
      entries.push_back({k / of_row, k % of_row});
  return make_sparse<double>(ops, n, m, std::move(entries));
}

/// y = S x; d_w by the columns' list of edges, which is the rows' in another order.
Agreements check_sparse(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 4, 9}), m = random.one_of({2, 5}), d = random.one_of({1, 3});
  const Sparse<double> S = random_sparse(ops, random, n, m);
  const auto x = [&](double* at) { return Out{at, m, d}; };
  const auto w = [&](double* at) { return Out{at + m * d, S.size(), 1}; };
  return check_output(
      ops, random, n, d, {{"sparse.d_x", m * d}, {"sparse.d_w", S.size()}},
      [&](Out y, double* at) { ops.add_weighted(y, w(at), x(at), S.rows(), 0.8); },
      [&](double* at, double* gradient, In d_y, Out) {
        ops.add_weighted(x(gradient), w(at), d_y, S.columns(), 0.8);
        ops.edge_dot(w(gradient), x(at), d_y, S.columns(), 0.8);
      });
}

/// alpha = softmax(a) over the edges of each column.
Agreements check_softmax(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({2, 4, 9}), m = random.one_of({2, 5});
  const Sparse<double> S = random_sparse(ops, random, n, m);
  return check_output(
      ops, random, S.size(), 1, {{"softmax.d_a", S.size()}},
      [&](Out y, double* a) { ops.edge_softmax_forward(y, {a, S.size(), 1}, S.columns()); },
      [&](double*, double* d_a, In d_y, Out y) {
        ops.edge_softmax_backward({d_a, S.size(), 1}, d_y, y, S.columns());
      });
}

/// w = max(0, alpha_m c_m) of two modalities, c of a column; away from kinks, where alpha is near
/// 3, c_0 near 2 or -2 and c_1 near 8 or -8.
Agreements check_edge_weights(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({2, 4, 9}), m = random.one_of({2, 5}), modalities = 2;
  const Sparse<double> S = random_sparse(ops, random, n, m);
  const size_t size = S.size(), of_alpha = modalities * size, of_c = modalities * m;
  std::vector<double> places(of_alpha, 3);
  for (size_t k = 0; k < of_c; ++k)
    places.push_back((random.below(2) ? 1 : -1) * (k % modalities == 0 ? 2 : 8));
  const Array<double> near(ops, places);
  Array<double> sum(ops, places.size());
  Array<int32_t> chosen(ops, size);
  const auto alpha = [&](double* at) { return Out{at, modalities, size}; };
  const auto c = [&](double* at) { return Out{at + of_alpha, m, modalities}; };
  return check_output(
      ops, random, size, 1, {{"edges.d_alpha", of_alpha}, {"edges.d_c", of_c}},
      [&](Out y, double* x) {
        ops.add(sum.matrix(1, sum.size()), 0, {x, 1, sum.size()}, 1);
        ops.add(sum.matrix(1, sum.size()), 1, near.matrix(1, sum.size()), 1);
        ops.edge_weights_forward(y, chosen.matrix(size, 1), alpha(sum.data()), c(sum.data()),
                                 S.columns());
      },
      [&](double*, double* d, In d_y, Out) {
        ops.edge_weights_backward(alpha(d), c(d), d_y, chosen.matrix(size, 1), alpha(sum.data()),
                                  c(sum.data()), S.columns());
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
    result.merge(check_loss(
        ops, random, 1, {{own ? "cosine.d_a, own rows" : "cosine.d_a", n * d}},
        [&](double* a) { return pass(a, unused.data()); }, pass));
  }
  return result;
}

/// |x|_F of two halves of a table, and their regulariser, each row once, in both forms. [Eq. 12]
Agreements check_norms(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({1, 3, 8});
  Array<double> norms(ops, 2);
  Agreements result;
  for (const std::string name : {"norm.d_x", "penalty.d_x", "penalty.d_x, other form"}) {
    const bool table = name == "norm.d_x";
    const RegForm form = name == "penalty.d_x" ? RegForm::norm : RegForm::squared;
    const auto half = [&](double* at, size_t k) { return Out{at + k * n * d, n, d}; };
    const auto forward = [&](double* x) {
      Array<double> sum(ops, 1);
      for (size_t k : {0, 1})
        if (double* const norm = norms.data() + k; table)
          ops.norm_forward(sum.data(), norm, half(x, k), 0.9);
        else
          ops.penalty_forward(sum.data(), norm, half(x, k), {n}, form, 0.9);
      return sum.host()[0];
    };
    result.merge(check_loss(
        ops, random, 1, {{name, 2 * n * d}}, forward, [&](double* x, double* d_x) {
          forward(x);
          for (size_t k : {0, 1})
            if (const double* const norm = norms.data() + k; table)
              ops.norm_backward(half(d_x, k), norm, half(x, k), 0.9);
            else
              ops.penalty_backward(half(d_x, k), norm, half(x, k), {n}, form, 0.9);
        }));
  }
  return result;
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
    const Rows all{nullptr, batch.nodes.n};
    const auto pass = [&](double* x) {
      Array<double> sums(ops, 2);
      ops.gather_rows(layer.f(batch).all, rows(x).all, all);
      layer.forward(sums.data(), batch);
      layer.reg_forward(sums.data() + 1, rows(x), batch);
      return sums.host()[0] + lambda * sums.host()[1];
    };
    const std::string name = other ? "triples, other form" : "triples";
    result.merge(check_loss(ops, random, 2, {{name + ".d_u", of_users}, {name + ".d_i", of_items}},
                            pass, [&](double* x, double* d_x) {
                              pass(x);
                              layer.backward(batch);
                              ops.gather_rows(rows(d_x).all, layer.d_f(batch).all, all);
                              layer.reg_backward(rows(d_x), rows(x), batch, lambda);
                            }));
  }
  return result;
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

/// d_x, d_W and d_b, with a bias and without [Eq. 1, 6]
TYPED_TEST(GradientTest, OfLinearLayers) { expect_right(*this->ops, check_linear); }

/// d_E through mean read-out, residual and L symmetric layers, L in 0 .. 4 [Eq. 3, 4]
TYPED_TEST(GradientTest, OfLightGcn) { expect_right(*this->ops, check_lightgcn); }

/// The scatter is the gather's backward and adds to what is there.
TYPED_TEST(GradientTest, OfGatheredRows) { expect_right(*this->ops, check_rows); }

/// dC/da with the target frozen [Eq. 8-11]
TYPED_TEST(GradientTest, OfCosines) { expect_right(*this->ops, check_cosine); }

TYPED_TEST(GradientTest, OfNorms) { expect_right(*this->ops, check_norms); }

/// BPR's loss with respect to users and items, and its regulariser, each in both forms
TYPED_TEST(GradientTest, OfTriples) { expect_right(*this->ops, check_triples); }

/// Concatenation, sum, leaky ReLU, rows of length 1
TYPED_TEST(GradientTest, OfColumnsAndEntries) {
  for (Check check : {check_columns, check_sum, check_leaky_relu, check_normalise})
    expect_right(*this->ops, check);
}

/// S x with respect to x and to S's weights, the softmax over a row's edges, and GRCN's weights
TYPED_TEST(GradientTest, OfEdges) {
  for (Check check : {check_sparse, check_softmax, check_edge_weights})
    expect_right(*this->ops, check);
}

}  // namespace
}  // namespace bm3::test
