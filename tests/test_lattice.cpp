// LATTICE's graph of items, and when it is learnt.
#include <gtest/gtest.h>

#include "layers/adam.h"
#include "layers/item_graph.h"
#include "model_case.h"

namespace bm3::test {
namespace {

constexpr size_t n_items = 30, d = 4, k = 5;

/// A graph of items of random features, for a permutation of the items.
struct Built {
  Built(Ops<double>& ops, const std::vector<int32_t>& item, double lambda)
      : graph(ops, n_items, d, 2, k, lambda) {
    Random random(3);
    for (size_t m = 0; m < 2; ++m) {
      const auto put = [&](Matrix<double> to) {
        const auto rows = random.numbers<double>(to.size());
        std::vector<double> moved(rows.size());
        for (size_t i = 0; i < to.size(); ++i)
          moved[i] = rows[static_cast<size_t>(item[i / d]) * d + i % d];
        upload(ops, to, moved);
      };
      Array<double> raw(ops, n_items * d);
      put(raw.matrix(n_items, d));
      graph.set_raw(m, raw.matrix(n_items, d));
      put(graph.z(m));
    }
    const Array<double> mu(ops, std::vector<double>{0.3, -0.4});
    graph.build(mu.matrix(1, 2));
    std::vector<double> unit(n_items * n_items);  // A = A I
    for (size_t i = 0; i < n_items; ++i) unit[i * n_items + i] = 1;
    const Array<double> I(ops, unit);
    Array<double> out(ops, unit.size());
    graph.forward(out.matrix(n_items, n_items), I.matrix(n_items, n_items));
    A = out.host();
  }
  ItemGraph<double> graph;
  std::vector<double> A;
};

std::vector<int32_t> in_order() {
  std::vector<int32_t> out(n_items);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(ItemGraph, PermutingTheItemsPermutesIt) {
  const auto ops = make_cpu_ops<double>(1);
  const auto item = Random(9).permutation(n_items);
  const Built plain(*ops, in_order(), 0.9), moved(*ops, item, 0.9);
  for (size_t i = 0; i < n_items; ++i)
    for (size_t j = 0; j < n_items; ++j)
      EXPECT_NEAR(moved.A[i * n_items + j],
                  plain.A[static_cast<size_t>(item[i]) * n_items + static_cast<size_t>(item[j])],
                  1e-14);
}

/// Without a weight the other part is all, and the two parts add up.
TEST(ItemGraph, MixesTheLearntAndTheRawPart) {
  const auto ops = make_cpu_ops<double>(1);
  const Built learnt(*ops, in_order(), 0), raw(*ops, in_order(), 1), mixed(*ops, in_order(), 0.9);
  for (size_t e = 0; e < mixed.A.size(); ++e)
    EXPECT_NEAR(mixed.A[e], 0.1 * learnt.A[e] + 0.9 * raw.A[e], 1e-15);
  EXPECT_NE(learnt.A, raw.A);
}

/// An item is the one most like itself: its own cosine is 1. Rows of L have at most 2 k entries.
TEST(ItemGraph, JoinsEachItemToItself) {
  const auto ops = make_cpu_ops<double>(1);
  Random random(1);
  const Array<double> x(*ops, random.numbers<double>(n_items * d));
  Array<double> unit(*ops, x.size());
  ops->normalise_forward(unit.matrix(n_items, d), x.matrix(n_items, d));
  const auto lists = nearest_rows<double>(*ops, x.matrix(n_items, d), k);
  Sparse<double> K = make_sparse<double>(*ops, n_items, n_items, entries_of(lists, n_items));
  weigh_by_products<double>(*ops, K, unit.matrix(n_items, d));
  size_t own = 0;
  for (size_t i = 0; i < n_items; ++i) {
    EXPECT_EQ(lists[i * k], static_cast<int32_t>(i));
    for (int32_t e = K.begin.data()[i]; e < K.begin.data()[i + 1]; ++e) {
      const bool same = K.column.data()[e] == static_cast<int32_t>(i);
      own += same;
      EXPECT_NEAR(same ? K.weight.data()[e] : 1, 1, 1e-15);
    }
  }
  EXPECT_EQ(own, n_items);
  const Built built(*ops, in_order(), 0);
  for (size_t i = 0; i < n_items; ++i) {
    const auto row = built.A.begin() + static_cast<std::ptrdiff_t>(i * n_items);
    EXPECT_NE(row[static_cast<std::ptrdiff_t>(i)], 0);
    EXPECT_GE(n_items - static_cast<size_t>(std::count(row, row + n_items, 0.0)), k);
    EXPECT_LE(n_items - static_cast<size_t>(std::count(row, row + n_items, 0.0)), 2 * k);
  }
}

/// A sums to the degree in each row, (D + 1)^-1 (A + I) to 1, D^-1 A too where a node has
/// neighbours, and
/// D^-1/2 A D^-1/2 leaves the square roots of the degrees.
TEST(Adjacency, RowsSumToOne) {
  const auto ops = make_cpu_ops<double>(1);
  const auto graph = make_graph<double>(*ops, 4, 4, {{0, 0}, {0, 1}, {1, 1}, {1, 1}, {2, 3}});
  const double degree[] = {2, 1, 1, 0, 1, 2, 0, 1};  // of 4 users and 4 items
  for (const auto scaling :
       {Scaling::none, Scaling::symmetric, Scaling::mean, Scaling::with_loops}) {
    std::vector<double> x(8, 1);
    for (size_t r = 0; r < 8 && scaling == Scaling::symmetric; ++r) x[r] = std::sqrt(degree[r]);
    const Array<double> on_device(*ops, x);
    Array<double> sum(*ops, 8);
    multiply<double>(*ops, sum.matrix(8, 1), adjacency(*ops, graph, scaling),
                     on_device.matrix(8, 1));
    for (size_t r = 0; r < 8; ++r)
      EXPECT_NEAR(sum.data()[r], scaling == Scaling::with_loops  ? 1
                                 : degree[r] == 0                ? 0
                                 : scaling == Scaling::none      ? degree[r]
                                 : scaling == Scaling::mean      ? 1
                                                                 : std::sqrt(degree[r]),
                  1e-15);
  }
}

/// Whether a gradient is zero, of modal_weight, of the features and the weights of the first
/// modality, and of the items' embeddings.
std::vector<bool> are_zero(CaseOnDevice<double>& at) {
  at.step();
  auto all = at.gradients();
  std::vector<bool> out;
  for (const char* name : {"modal_weight", "feature.m0", "m0.weight", "item_embedding"})
    out.push_back(largest_magnitude(all.at(name)) == 0);
  return out;
}

ModelCase case_of(const char* raw_weight, const char* build) {
  ModelCase c = random_case(model_kind("lattice"), 2, 6);
  c.settings.set("raw-weight", raw_weight);
  c.settings.set("build", build);
  return c;
}

/// The batch that builds the graph has all gradients; the others of its epoch take the graph as it
/// is, whatever becomes of the parameters that it was made of.
TEST(Lattice, LearnsItsGraphInTheFirstBatchOfAnEpoch) {
  const auto ops = make_cpu_ops<double>(1);
  CaseOnDevice<double> at(*ops, case_of("0.5", "epoch"));
  EXPECT_EQ(are_zero(at), (std::vector<bool>{false, false, false, false}));
  EXPECT_FALSE(at.model->repeats());
  at.model->after_update();
  EXPECT_TRUE(at.model->repeats());
  EXPECT_EQ(are_zero(at), (std::vector<bool>{true, true, true, false}));
  const double loss = at.loss();
  const auto& W = at.model->parameters().at("m0.weight").value;
  upload(*ops, W, Random(8).numbers<double>(W.size()));
  EXPECT_EQ(at.loss(), loss);
  at.model->begin_epoch(1, 2);
  EXPECT_NE(at.loss(), loss);

  CaseOnDevice<double> each(*ops, case_of("0.5", "batch"));
  each.model->after_update();
  EXPECT_EQ(are_zero(each), (std::vector<bool>{false, false, false, false}));
}

/// With the raw features' graph alone, only how modalities are mixed is learnt.
TEST(Lattice, LearnsNoProjectionFromTheRawGraphAlone) {
  const auto ops = make_cpu_ops<double>(1);
  CaseOnDevice<double> at(*ops, case_of("1", "epoch"));
  EXPECT_EQ(are_zero(at), (std::vector<bool>{false, true, true, false}));
}

/// The rate of epoch e, from 0, is lr q^(e/50): Adam's first steps with a constant gradient are
/// nearly as long as the rate.
TEST(Lattice, LearningRateFallsFromEpochToEpoch) {
  const auto ops = make_cpu_ops<double>(1);
  Parameters<double> x(*ops);
  x.add({"x", 1, 1, {}});
  x.allocate();
  AdamConfig config;
  config.lr = 0.1;
  config.decay = 0.96;
  config.epoch_steps = 3;
  Adam<double> adam(*ops, x, {}, config, 9);
  const std::vector<double> one = {1};
  double before = 0;
  for (size_t t = 0; t < 9; ++t) {
    upload(*ops, x.gradients(), one);
    adam.begin_step({});
    adam.step({});
    const double now = x.values().at[0];
    EXPECT_NEAR((before - now) / (0.1 * std::pow(0.96, static_cast<double>(t / 3) / 50)), 1, 1e-6);
    before = now;
  }
}

}  // namespace
}  // namespace bm3::test
