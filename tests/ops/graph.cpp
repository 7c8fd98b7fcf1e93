// The sparse product [Eq. 3] with the read-out's terms [Eq. 4], by the kernels and by cuSPARSE;
// products of edges, their softmax, their weights and dropped edges: each against a plain loop.
// Outputs that are added to hold numbers before the call, those that are overwritten hold NaN.
#include "backends.h"
#include "compare.h"
#include "error.h"
#include "layers/graph.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

/// Adds a S A S x to y, edge by edge. Returns the largest degree.
template <class T>
size_t add_product(std::vector<Sum>& y, const std::vector<Interaction>& train, size_t users,
                   double epsilon, T a, const std::vector<T>& x, size_t d) {
  std::vector<std::pair<size_t, size_t>> edges;  // of nodes
  for (const auto& [user, item] : train)
    edges.push_back({static_cast<size_t>(user), users + static_cast<size_t>(item)});
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<double> degree(y.size() / d + 1);
  for (const auto& [u, i] : edges) ++degree[u], ++degree[i];
  for (const auto& [u, i] : edges) {
    const double s = a / std::sqrt((degree[u] + epsilon) * (degree[i] + epsilon));
    for (size_t c = 0; c < d; ++c) {
      y[u * d + c] += s * x[i * d + c];
      y[i * d + c] += s * x[u * d + c];
    }
  }
  return static_cast<size_t>(*std::max_element(degree.begin(), degree.end()));
}

/// Interactions that leave some nodes isolated; some items have many.
std::vector<Interaction> random_train(Random& random, size_t users, size_t items, size_t n) {
  std::vector<Interaction> train(n);
  for (auto& x : train)
    x = {random.below((users + 1) / 2),
         random.below((items + 1) / 2) % (1 + random.below((items + 1) / 2))};
  return train;
}

template <class Backend>
class PropagateTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(PropagateTest, GraphBackends, BackendName);

/// y = a S A S x + b z; a = 0 leaves x unread. [Eq. 3, 4]
TYPED_TEST(PropagateTest, IsASumOverEdges) {
  using T = typename TypeParam::Real;
  Random random(3);
  constexpr std::array<size_t, 4> cases[] = {  // users, items, edges, d
      {0, 0, 0, 3}, {1, 1, 1, 1}, {1, 1, 0, 3}, {3, 2, 4, 2}, {20, 30, 100, 17},
      {70, 50, 900, 64}, {40, 90, 800, 72}, {30, 20, 200, 300}, {300, 200, 3000, 100},
      {1500, 3, 3000, 20},  // with items of some 900 neighbours
      {700003, 300001, 1000000, 3}};
  this->for_each(cases, [&](size_t users, size_t items, size_t edges, size_t d) {
    for (double epsilon : {0.0, 1e-7}) {
      const size_t n = users + items;
      const auto train = random_train(random, users, items, edges);
      const auto x = random.numbers<T>(n * d), z = random.numbers<T>(n * d);
      const auto number = random.numbers<T>(3);  // a, b_user, b_item
      std::vector<Sum> only_z(n * d);
      for (size_t k = 0; k < n * d; ++k)
        only_z[k] += double{number[k / d < users ? 1 : 2]} * z[k];
      std::vector<Sum> y = only_z;
      const size_t most = add_product(y, train, users, epsilon, number[0], x, d);
      const auto [got, got_z] = this->same_bytes([&] {
        const auto graph = make_graph<T>(*this->ops, users, items, train, epsilon);
        const auto on_x = this->device(x), on_z = this->device(z), unread = this->garbage(n * d);
        auto to = this->garbage(n * d), to_z = this->garbage(n * d);
        this->ops->propagate(to.matrix(n, d), on_x.matrix(n, d), on_z.matrix(n, d), number[0],
                             number[1], number[2], graph);
        this->ops->propagate(to_z.matrix(n, d), unread.matrix(n, d), on_z.matrix(n, d), T(0),
                             number[1], number[2], graph);
        return std::tuple(to.host(), to_z.host());
      });
      EXPECT_SUMS(got, y, most + 4);
      EXPECT_SUMS(got_z, only_z, 1);
    }
  });
}

/// Only nodes of the graph have edges. [Eq. 3]
TYPED_TEST(PropagateTest, GraphRejectsNumbersOutOfRange) {
  using T = typename TypeParam::Real;
  for (const Interaction bad : {Interaction{2, 0}, {0, 3}, {-1, 0}, {0, -1}})
    EXPECT_THROW(make_graph<T>(*this->ops, 2, 3, {bad}), Error);
}

constexpr std::array<size_t, 3> shapes[] = {  // n, targets, d
    {0, 1, 3},    {1, 1, 1},       {1, 3, 64},    {2, 2, 2},     {5, 4, 17},  {64, 64, 64},
    {63, 5, 100}, {130, 200, 3},   {257, 33, 31}, {900, 300, 64}, {70, 11, 300}, {60000, 900, 2}};

template <class Backend>
class EdgeTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(EdgeTest, Backends, BackendName);

/// w_edge += y_r . x_target
TYPED_TEST(EdgeTest, ProductsArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    const RandomPairs pairs(random, n, targets);
    const auto y = random.numbers<T>(n * d), x = random.numbers<T>(targets * d);
    const auto w = random.numbers<T>(pairs.target.size());
    std::vector<Sum> sums = sums_from(w);
    pairs.for_each([&](size_t r, size_t target, size_t edge) {
      for (size_t k = 0; k < d; ++k) sums[edge] += double{y[r * d + k]} * x[target * d + k];
    });
    const auto got = this->output(w.size(), 1, w, [&](Matrix<T> to) {
      const PairsOnDevice on(*this->ops, pairs);
      this->ops->edge_dot(to, this->device(y).matrix(n, d), this->device(x).matrix(targets, d),
                          on.pairs());
    });
    EXPECT_SUMS(got, sums, d + 4);
  });
}

/// alpha = exp(a - max) / (sum + 1e-16) over each row's edges, and d_a = alpha (d_alpha - sum of
/// alpha d_alpha), both in place, too; arguments up to 600, where exp(a) alone has no value.
TYPED_TEST(EdgeTest, SoftmaxAndItsGradientArePlainLoops) {
  using T = typename TypeParam::Real;
  Random random(2);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t) {
    const RandomPairs pairs(random, n, targets);
    const size_t size = pairs.target.size();
    auto a = random.numbers<T>(size, 3);
    for (size_t k = 0; k < size; k += 7) a[k] *= T(200);
    const auto d_alpha = random.numbers<T>(size);
    const auto [alpha, again, d_a, d_again] = this->same_bytes([&] {
      const PairsOnDevice on(*this->ops, pairs);
      auto in = this->device(a), to = this->garbage(size), d_in = this->device(d_alpha),
           d_to = this->garbage(size);
      const auto column = [&](auto& memory) { return memory.matrix(size, 1); };
      this->ops->edge_softmax_forward(column(to), column(in), on.pairs());
      this->ops->edge_softmax_forward(column(in), column(in), on.pairs());
      this->ops->edge_softmax_backward(column(d_to), column(d_in), column(to), on.pairs());
      this->ops->edge_softmax_backward(column(d_in), column(d_in), column(to), on.pairs());
      return std::tuple(to.host(), in.host(), d_to.host(), d_in.host());
    });
    EXPECT_SAME(again, alpha);
    EXPECT_SAME(d_again, d_a);
    std::vector<Sum> shares(size), gradient(size);
    std::vector<double> most(n, -1e300), sum(n), mean(n), about(n);
    pairs.for_each([&](size_t r, size_t, size_t e) { most[r] = std::max(most[r], double{a[e]}); });
    pairs.for_each([&](size_t r, size_t, size_t e) { sum[r] += std::exp(a[e] - most[r]); });
    pairs.for_each([&](size_t r, size_t, size_t e) {
      const double share = std::exp(a[e] - most[r]) / (sum[r] + 1e-16);
      shares[e].add(share, share * (1 + std::abs(a[e] - most[r])) + 1e-30);
      const double part = double{alpha[e]} * d_alpha[e];
      mean[r] += part;
      about[r] += std::abs(part);
    });
    pairs.for_each([&](size_t r, size_t, size_t e) {
      const double share = alpha[e], d = d_alpha[e];
      gradient[e].add(share * (d - mean[r]), share * (std::abs(d) + about[r]) + 1e-30);
    });
    EXPECT_SUMS(alpha, shares, pairs.most());
    EXPECT_SUMS(d_a, gradient, pairs.most());
  });
}

/// w = max(0, max over m of alpha_m c_m), the choice of m, the first of equal ones, and what both
/// leave of d_w: for alpha, and for c, whose sum is over a row's edges.
TYPED_TEST(EdgeTest, WeightsAndTheirGradientsArePlainLoops) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    const RandomPairs pairs(random, n, targets);
    const size_t size = pairs.target.size(), modalities = 1 + d % 4;
    const auto alpha = random.numbers<T>(modalities * size), d_w = random.numbers<T>(size);
    auto c = random.numbers<T>(n * modalities);
    for (size_t k = 0; k < c.size(); k += 5) c[k] = T(0);  // equal shares, of 0
    const auto [w, chosen, d_alpha, d_c] = this->same_bytes([&] {
      const PairsOnDevice on(*this->ops, pairs);
      auto to = this->garbage(size), d_shares = this->garbage(modalities * size),
           d_to = this->garbage(n * modalities);
      Array<int32_t> choice = this->device(std::vector<int32_t>(size, -7));
      const auto shares = this->device(alpha), on_c = this->device(c), on_d = this->device(d_w);
      const auto by_edge = shares.matrix(modalities, size);
      const auto of_row = on_c.matrix(n, modalities);
      const auto picked = choice.matrix(size, 1);
      this->ops->edge_weights_forward(to.matrix(size, 1), picked, by_edge, of_row, on.pairs());
      this->ops->edge_weights_backward(d_shares.matrix(modalities, size),
                                       d_to.matrix(n, modalities), on_d.matrix(size, 1), picked,
                                       by_edge, of_row, on.pairs());
      return std::tuple(to.host(), choice.host(), d_shares.host(), d_to.host());
    });
    std::vector<T> want_w(size), want_d(modalities * size);
    std::vector<int32_t> want_choice(size, -1);
    std::vector<Sum> sums(n * modalities);
    pairs.for_each([&](size_t r, size_t, size_t e) {
      for (size_t m = 0; m < modalities; ++m)
        if (const T share = alpha[m * size + e] * c[r * modalities + m]; share > want_w[e]) {
          want_w[e] = share;
          want_choice[e] = static_cast<int32_t>(m);
        }
      if (want_choice[e] < 0) return;
      const auto m = static_cast<size_t>(want_choice[e]);
      want_d[m * size + e] = c[r * modalities + m] * d_w[e];
      sums[r * modalities + m] += double{alpha[m * size + e]} * d_w[e];
    });
    EXPECT_SAME(w, want_w);
    EXPECT_SAME(chosen, want_choice);
    EXPECT_EQ(d_alpha, want_d);  // 0 of either sign
    EXPECT_SUMS(d_c, sums, pairs.most());
  });
}

/// y = w mask / (1 - rate)
TYPED_TEST(EdgeTest, KeptEdgesMakeUpForDroppedOnes) {
  using T = typename TypeParam::Real;
  Random random(4);
  this->for_each(shapes, [&](size_t, size_t n, size_t) {
    for (double rate : {0.0, 0.3, 0.999}) {
      const auto w = random.numbers<T>(n);
      const auto mask = random.mask(n);
      std::vector<Sum> expected(n);
      for (size_t e = 0; e < n; ++e)
        if (mask[e]) expected[e] += w[e] / (1 - rate);
      const auto got = this->output(n, 1, {}, [&](Matrix<T> to) {
        const auto on_rate = this->device(std::vector<double>{rate});
        const auto on_mask = this->device(mask);
        this->ops->drop_edges(to, this->device(w).matrix(n, 1), on_mask.matrix(n, 1),
                              on_rate.data());
      });
      EXPECT_SUMS(got, expected, 2);
    }
  });
}

/// The rate is uniform from 0 to the ratio, and edges are dropped with its probability; both are
/// Philox's, on every device the same.
TYPED_TEST(EdgeTest, DrawsAreThePhiloxOfTheirEdges) {
  const uint64_t seed = 0x123456789abcdef0u;
  for (const auto& [n, ratio] : {std::pair<size_t, double>{0, 0.5}, {1, 0}, {7, 1}, {20001, 1},
                                 {20001, 0.2}})
    for (uint32_t step : {1u, 40u}) {
      const Random4 first = philox(seed, 1025, step, 0);
      const double expected = ratio * (first.x[0] + 0.5) / 4294967296.0;
      std::vector<uint8_t> kept;
      for (size_t e = 0; e < n; ++e)
        kept.push_back(philox(seed, 1025, step, 1 + e / 4).x[e % 4] / 4294967296.0 >= expected);
      const auto [mask, rate] = this->same_bytes([&, n = n, ratio = ratio] {
        auto drawn = this->device(std::vector<uint8_t>(n, 99));
        auto to = this->device(std::vector<double>{std::nan("")});
        const auto now = this->device(std::vector<uint32_t>{step});
        this->ops->draw_edges(drawn.matrix(n, 1), to.data(), ratio, {seed, 1025, now.data()});
        return std::tuple(drawn.host(), to.host());
      });
      EXPECT_EQ(rate[0], expected);
      EXPECT_SAME(mask, kept);
    }
}

}  // namespace
}  // namespace bm3::test
