// The graphs of users and items that models make for themselves: nearest rows, pruned edges, items
// that are alike, and users with items in common.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "layers/item_graph.h"
#include "layers/knn.h"
#include "layers/pruning.h"
#include "layers/user_graph.h"
#include "model_case.h"
#include "scratch.h"

namespace bm3::test {
namespace {

// ------------------------------------------------------------- FREEDOM: items alike, pruned edges

using Edges = std::vector<Interaction>;

std::set<std::pair<int32_t, int32_t>> set_of(const Edges& edges) {
  std::set<std::pair<int32_t, int32_t>> out;
  for (const auto& [user, item] : edges) out.insert({user, item});
  return out;
}

std::vector<Features<double>> features_of(Ops<double>& ops, size_t n, size_t n_modalities) {
  Random random(5);
  std::vector<Features<double>> e;
  for (size_t m = 0; m < n_modalities; ++m) {
    e.push_back({"m" + std::to_string(m), {ops, n, 6 + m}, {}});
    e.back().value.memory.upload(random.numbers<double>(e.back().value.size()));
  }
  return e;
}

/// Rows that are the same come by their numbers, whatever the width of the products.
TEST(NearestRows, AreThoseOfAPlainSortAndTiesGoToTheLowerNumber) {
  const auto ops = make_cpu_ops<float>(2);
  constexpr size_t n = 700, k = 10;
  for (const size_t d : {1, 3, 17, 384}) {
    Random random(d);
    std::vector<float> x = random.numbers<float>(n * d);
    for (size_t r = 0; r < n; r += 7) std::copy_n(x.begin(), d, &x[r * d]);  // 100 of one kind
    const Array<float> on_device(*ops, x);
    const auto lists = nearest_rows<float>(*ops, on_device.matrix(n, d), k);
    for (size_t r = 0; r < n; ++r) {
      std::vector<std::pair<double, int32_t>> order;
      for (size_t j = 0; j < n; ++j) {
        double xy = 0, xx = 0, yy = 0;
        for (size_t c = 0; c < d; ++c) {
          const double a = x[r * d + c], b = x[j * d + c];
          xy += a * b;
          xx += a * a;
          yy += b * b;
        }
        order.emplace_back(-std::round(1e9 * xy / std::sqrt(xx * yy)), static_cast<int32_t>(j));
      }
      std::sort(order.begin(), order.end());
      for (size_t j = 0; j < k; ++j)
        ASSERT_EQ(lists[r * k + j], order[j].second) << d << ", row " << r << ", place " << j;
    }
  }
}

TEST(NearestRows, RowsThatAreNotFiniteAreTheirOwn) {
  const auto ops = make_cpu_ops<float>(1);
  const Array<float> x(*ops, {1, 0, NAN, 1, 0, 1});
  const auto lists = nearest_rows<float>(*ops, x.matrix(3, 2), 2);
  ASSERT_EQ(lists.size(), 6U);
  EXPECT_EQ(lists[2], 1);
  EXPECT_EQ(lists[3], 1);
  for (const int32_t row : lists) EXPECT_TRUE(row >= 0 && row < 3) << row;
}

/// Row sums are 1, and each entry is 1/k times the weight of one or of both modalities.
TEST(Freedom, ItemGraphIsRowStochasticWithThreeKindsOfEntries) {
  const auto ops = make_cpu_ops<double>(1);
  std::vector<double> sums(40);
  std::set<double> kinds;
  for (const Entry& entry : alike(*ops, features_of(*ops, 40, 2), {0.1, 0.9}, 10)) {
    sums[static_cast<size_t>(entry.row)] += entry.weight;
    kinds.insert(std::round(1e15 * entry.weight) / 1e15);
  }
  for (double sum : sums) EXPECT_NEAR(sum, 1, 1e-14);
  EXPECT_EQ(kinds, (std::set<double>{0.01, 0.09, 0.1}));
  double of_two = 0;  // in a catalogue of fewer items than k, each is joined to all
  for (const Entry& entry : alike(*ops, features_of(*ops, 2, 1), {1}, 10)) of_two += entry.weight;
  EXPECT_EQ(of_two, 2);
}

/// The number is that of the product in floating point; edges are distinct and the training's. A
/// graph takes the place of another.
TEST(Freedom, KeepsItsShareOfDistinctEdges) {
  Edges edges;
  for (int32_t k = 0; k < 75; ++k) edges.push_back({k / 5, k % 5});
  EXPECT_EQ(Pruning(edges, 0.8).size(), 14u);  // 75 * (1. - 0.8) is below 15
  EXPECT_EQ(Pruning(edges, 0).size(), 75u);
  EXPECT_EQ(Pruning({{0, 0}}, 0.8).draw(1, 1).size(), 0u);
  const auto ops = make_cpu_ops<double>(1);
  for (const double rho : {0.0, 0.3, 0.8}) {
    const Pruning pruning(edges, rho);
    const Edges kept = pruning.draw(1, 1);
    auto graph = make_graph<double>(*ops, 15, 5, kept);
    EXPECT_THROW(replace(*ops, graph, {{0, 0}, {0, 0}}), std::exception);
    EXPECT_EQ(set_of(kept).size(), pruning.size());
    for (const auto& [user, item] : kept) EXPECT_TRUE(user < 15 && item < 5);
    EXPECT_EQ(set_of(pruning.draw(1, 1)), set_of(kept));
    EXPECT_EQ(set_of(pruning.draw(1, 2)) == set_of(kept), rho == 0);
    EXPECT_EQ(set_of(pruning.draw(2, 1)) == set_of(kept), rho == 0);
    replace(*ops, graph, pruning.draw(1, 2));
    EXPECT_EQ(set_of(edges_of(graph)), set_of(pruning.draw(1, 2)));
  }
}

/// One edge alone is kept with a probability in proportion to 1/sqrt(d_u d_i), and of several the
/// share of epochs falls with sqrt(d_u d_i).
TEST(Freedom, PrunesEdgesOfHighDegreesMore) {
  // User 0 has items 0 to 8, users 1 to 3 have item 0: sqrt(d_u d_i) is 6, 3 and 2.
  Edges edges;
  for (int32_t i = 0; i < 9; ++i) edges.push_back({0, i});
  for (int32_t u = 1; u < 4; ++u) edges.push_back({u, 0});
  const double inverse[] = {1.0 / 6, 1.0 / 3, 1.0 / 2}, times[] = {1, 8, 3};
  const auto kind = [](const Interaction& x) { return x.user > 0 ? 2 : x.item > 0 ? 1 : 0; };
  double all = 0;
  for (int n = 0; n < 3; ++n) all += times[n] * inverse[n];
  constexpr size_t epochs = 40000;
  double once[3] = {}, of_six[3] = {};
  for (size_t epoch = 1; epoch <= epochs; ++epoch) {
    for (const auto& x : Pruning(edges, 0.9).draw(3, epoch)) once[kind(x)] += 1.0 / epochs;
    for (const auto& x : Pruning(edges, 0.5).draw(3, epoch)) of_six[kind(x)] += 1.0 / epochs;
  }
  for (int n = 0; n < 3; ++n) {
    const double p = times[n] * inverse[n] / all;
    EXPECT_LE(std::abs(once[n] - p), 5 * std::sqrt(p * (1 - p) / epochs)) << n;
  }
  EXPECT_LT(of_six[0] + 0.1, of_six[1] / 8);
  EXPECT_LT(of_six[1] / 8 + 0.05, of_six[2] / 3);
}

// ------------------------------------------------------------- LATTICE: items alike, a learnt part

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

/// An item is the one most like itself: its own cosine is 1.
TEST(ItemGraph, JoinsEachItemToItself) {
  const auto ops = make_cpu_ops<double>(1);
  const Array<double> x(*ops, Random(1).numbers<double>(n_items * d));
  Array<double> unit(*ops, x.size());
  ops->normalise_forward(unit.matrix(n_items, d), x.matrix(n_items, d));
  const auto lists = nearest_rows<double>(*ops, x.matrix(n_items, d), k);
  Sparse<double> K = make_sparse<double>(*ops, n_items, n_items, entries_of(lists, n_items));
  weigh_by_products<double>(*ops, K, unit.matrix(n_items, d));
  for (size_t i = 0; i < n_items; ++i) {
    EXPECT_EQ(lists[i * k], static_cast<int32_t>(i));
    const int32_t *row = K.column.data(), *const last = row + K.begin.data()[i + 1];
    row = std::find(row + K.begin.data()[i], last, static_cast<int32_t>(i));
    ASSERT_NE(row, last) << i;
    EXPECT_NEAR(K.weight.data()[row - K.column.data()], 1, 1e-15);
  }
}

/// A sums to the degree in each row, (D + 1)^-1 (A + I) to 1, D^-1 A too where a node has
/// neighbours, and D^-1/2 A D^-1/2 leaves the square roots of the degrees.
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

// ---------------------------------------------------------- DualGNN: users with items in common

/// User 0 has items 0, 1, 2 and in common with users 1, 2, 3 and 4 one, two, two and three of them;
/// user 5 has item 4 alone.
const std::vector<Interaction> edges{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {2, 0}, {2, 1}, {3, 1},
                                     {3, 2}, {4, 0}, {4, 1}, {4, 2}, {5, 4}};
UserGraph graph(size_t size) { return UserGraph(6, 5, edges, size); }

/// The list of a user out of all lists of so many.
std::vector<int32_t> list(const std::vector<int32_t>& lists, size_t user, size_t size) {
  return {&lists[user * size], &lists[user * size] + size};
}

TEST(UserGraph, HasTheMostCommonUsersFirst) {
  EXPECT_EQ(list(graph(3).draw(1, 1), 0, 3), (std::vector<int32_t>{4, 2, 3}));
  EXPECT_EQ(list(graph(2).draw(1, 1), 0, 2), (std::vector<int32_t>{4, 2}));
  EXPECT_EQ(list(graph(4).draw(1, 1), 0, 4), (std::vector<int32_t>{4, 2, 3, 1}));
  EXPECT_EQ(list(graph(4).draw(1, 1), 5, 4), (std::vector<int32_t>(4, 0)));
}

/// The rest of a list are copies of its members, by (seed, epoch) alone; the current copies count,
/// so that of two members each share of a list is as likely as any other (Polya's urn).
TEST(UserGraph, FillsListsWithCopies) {
  const UserGraph of = graph(40);
  EXPECT_EQ(of.draw(1, 1), of.draw(1, 1));
  EXPECT_NE(of.draw(1, 1), of.draw(1, 2));
  EXPECT_NE(of.draw(1, 1), of.draw(2, 1));
  const UserGraph two(3, 2, {{0, 0}, {1, 0}, {2, 0}}, 40);
  std::vector<size_t> quarters(4);
  for (size_t epoch = 1; epoch <= 4000; ++epoch) {
    const auto drawn = list(two.draw(1, epoch), 0, 40);
    EXPECT_EQ(drawn[0], 1);
    EXPECT_EQ(drawn[1], 2);
    const auto ones = std::count(drawn.begin(), drawn.end(), 1);
    EXPECT_EQ(ones + std::count(drawn.begin(), drawn.end(), 2), 40);
    ++quarters[std::min<size_t>(3, static_cast<size_t>((ones - 1) * 4 / 39))];
  }
  for (size_t n : quarters) EXPECT_NEAR(static_cast<double>(n), 1000, 150);
}

/// Weights are a softmax of the counts, copies apart; without neighbours they are 0.
TEST(UserGraph, WeighsByTheSoftmaxOfCounts) {
  const UserGraph of = graph(3);
  const auto entries = of.entries(of.draw(1, 1));
  ASSERT_EQ(entries.size(), 18u);
  const double sum = std::exp(3) + 2 * std::exp(2);
  for (size_t e : {0, 1, 2})
    EXPECT_NEAR(entries[e].weight, std::exp(e == 0 ? 3 : 2) / sum, 1e-15) << e;
  for (size_t e : {15, 16, 17}) EXPECT_EQ(entries[e].weight, 0) << e;
  for (size_t user = 0; user < 5; ++user)
    EXPECT_NEAR(entries[3 * user].weight + entries[3 * user + 1].weight +
                    entries[3 * user + 2].weight, 1, 1e-15);
  EXPECT_ERROR(of.entries(std::vector<int32_t>(18, 1)),
               "user 1 is none of the neighbours of user 0: expected one of the 3 with the most "
               "items in common");
}

}  // namespace
}  // namespace bm3::test
