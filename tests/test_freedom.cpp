// FREEDOM's graphs: the frozen one of items, and the pruned one of an epoch.
#include <gtest/gtest.h>

#include <set>

#include "layers/knn.h"
#include "layers/pruning.h"
#include "model_case.h"

namespace bm3::test {
namespace {

using Edges = std::vector<Interaction>;

std::set<std::pair<int32_t, int32_t>> set_of(const Edges& edges) {
  std::set<std::pair<int32_t, int32_t>> out;
  for (const auto& [user, item] : edges) out.insert({user, item});
  return out;
}

/// n_users times n_items edges.
Edges all_pairs(int32_t n_users, int32_t n_items) {
  Edges out;
  for (int32_t u = 0; u < n_users; ++u)
    for (int32_t i = 0; i < n_items; ++i) out.push_back({u, i});
  return out;
}

std::vector<Features<double>> features_of(Ops<double>& ops, size_t n, size_t n_modalities) {
  Random random(5);
  std::vector<Features<double>> e;
  for (size_t m = 0; m < n_modalities; ++m) {
    e.emplace_back(ops, "m" + std::to_string(m), n, 6 + m, 0);
    upload(ops, e.back().value, random.numbers<double>(e.back().value.size()));
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

/// Row sums are 1, and each entry is 1/k times the weight of one or of both modalities.
TEST(Freedom, ItemGraphIsRowStochasticWithThreeKindsOfEntries) {
  const auto ops = make_cpu_ops<double>(1);
  const auto e = features_of(*ops, 40, 2);
  std::vector<double> sum(40);
  std::vector<size_t> count(40), kinds(3);
  for (const Entry& entry : alike(*ops, e, {0.1, 0.9}, 10)) {
    const auto row = static_cast<size_t>(entry.row);
    sum[row] += entry.weight;
    ++count[row];
    const double known[] = {0.01, 0.09, 0.1};
    const auto* kind = std::find_if(known, known + 3, [&](double x) {
      return std::abs(x - entry.weight) < 1e-15;
    });
    ASSERT_NE(kind, known + 3) << entry.weight;
    ++kinds[static_cast<size_t>(kind - known)];
  }
  for (size_t r = 0; r < 40; ++r) {
    EXPECT_NEAR(sum[r], 1, 1e-14);
    EXPECT_LE(count[r], 20u);
  }
  for (size_t n : kinds) EXPECT_GT(n, 0u);
  double of_two = 0;  // in a catalogue of fewer items than k, each is joined to all
  for (const Entry& entry : alike(*ops, features_of(*ops, 2, 1), {1}, 10)) of_two += entry.weight;
  EXPECT_EQ(of_two, 2);
}

/// The number is that of the product in floating point; edges are distinct and the training's.
TEST(Freedom, KeepsItsShareOfDistinctEdges) {
  const Edges edges = all_pairs(15, 5);
  EXPECT_EQ(Pruning(edges, 0.8).size(), 14u);  // 75 * (1. - 0.8) is below 15
  EXPECT_EQ(Pruning(edges, 0).size(), 75u);
  EXPECT_EQ(Pruning({{0, 0}}, 0.8).draw(1, 1).size(), 0u);
  for (const double rho : {0.0, 0.3, 0.8}) {
    const Pruning pruning(edges, rho);
    const Edges kept = pruning.draw(1, 1);
    EXPECT_EQ(set_of(kept).size(), pruning.size());
    for (const auto& [user, item] : kept) EXPECT_TRUE(user < 15 && item < 5);
    EXPECT_EQ(set_of(pruning.draw(1, 1)), set_of(kept));
    EXPECT_EQ(set_of(pruning.draw(1, 2)) == set_of(kept), rho == 0);
    EXPECT_EQ(set_of(pruning.draw(2, 1)) == set_of(kept), rho == 0);
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

/// D^-1/2 A D^-1/2 leaves the square roots of the degrees as they are, also of the kept edges.
TEST(Freedom, PrunedGraphsAreScaledByTheDegreesOfKeptEdges) {
  const auto ops = make_cpu_ops<double>(1);
  const Pruning pruning(all_pairs(7, 6), 0.4);
  Graph<double> graph = make_graph<double>(*ops, 7, 6, pruning.draw(1, 1));
  for (size_t epoch = 2; epoch < 12; ++epoch) {
    replace(*ops, graph, pruning.draw(1, epoch));
    EXPECT_EQ(set_of(edges_of(graph)), set_of(pruning.draw(1, epoch)));
    std::vector<double> roots;
    for (size_t r = 0; r < 13; ++r)
      roots.push_back(std::sqrt(static_cast<double>(graph.begin.data()[r + 1] -
                                                    graph.begin.data()[r])));
    const Array<double> x(*ops, roots);
    Array<double> y(*ops, 13);
    const auto from = x.matrix(13, 1);
    ops->propagate(y.matrix(13, 1), from, from, 1, 0, 0, graph);
    for (size_t r = 0; r < 13; ++r) EXPECT_NEAR(y.data()[r], roots[r], 1e-14);
  }
  EXPECT_THROW(replace(*ops, graph, {{0, 0}, {0, 0}}), std::exception);
}

/// Steps see the epoch's edges, ranking all of them.
TEST(Freedom, RanksByTheWholeGraph) {
  const auto ops = make_cpu_ops<double>(1);
  ModelCase c = random_case(model_kind("freedom"), 2, 4);
  c.settings.set("rho", "0.5");
  CaseOnDevice<double> at(*ops, c);
  const auto ranked = [&] { return host<double>(*ops, at.model->embeddings().item); };
  const std::vector<double> before = ranked();
  const double loss = at.loss();
  at.model->begin_epoch(c.seed, 2);
  EXPECT_NE(at.loss(), loss);
  EXPECT_EQ(ranked(), before);
  at.model->begin_epoch(c.seed, 1);
  EXPECT_EQ(at.loss(), loss);
}

}  // namespace
}  // namespace bm3::test
