// Edges with weights: products of rows, softmax over a row's edges, dropped edges; each against a
// plain loop. Outputs that are overwritten hold NaN before the call.
#include "backends.h"
#include "random_pairs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 3> shapes[] = {  // n, targets, d
    {0, 1, 3},     {1, 1, 1},    {1, 3, 64}, {2, 2, 2},   {5, 4, 17},    {64, 64, 64},
    {63, 5, 100},  {130, 200, 3}, {257, 33, 31}, {70, 11, 300}, {1000003, 70000, 2}};

template <class Backend>
class EdgesTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(EdgesTest, Backends, BackendName);

/// w_edge += scale * y_r . x_target
TYPED_TEST(EdgesTest, ProductsArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    for (double scale : {1.0, -0.3}) {
      const RandomPairs pairs(random, n, targets);
      const size_t edges = pairs.target.size();
      const auto w = random.numbers<T>(edges), y = random.numbers<T>(n * d);
      const auto x = random.numbers<T>(targets * d);
      std::vector<Sum> sums = sums_from(w);
      pairs.for_each([&](size_t r, size_t target, size_t edge) {
        for (size_t c = 0; c < d; ++c)
          sums[edge] += scale * static_cast<double>(y[r * d + c]) *
                        static_cast<double>(x[target * d + c]);
      });
      const auto [got] = this->same_bytes([&] {
        const PairsOnDevice on(*this->ops, pairs);
        auto to = this->device(w);
        this->ops->edge_dot(to.matrix(edges, 1), this->device(y).matrix(n, d),
                            this->device(x).matrix(targets, d), on.pairs(), scale);
        return std::tuple(to.host());
      });
      EXPECT_SUMS(got, sums, d + 2);
    }
  });
}

/// The sum of some number over the edges of each row, for each edge.
template <class Number>
std::vector<Sum> sums_of_rows(const RandomPairs& pairs, const Number& number) {
  std::vector<Sum> of_row(pairs.n), out(pairs.target.size());
  pairs.for_each([&](size_t r, size_t, size_t edge) { of_row[r] += number(edge); });
  pairs.for_each([&](size_t r, size_t, size_t edge) { out[edge] = of_row[r]; });
  return out;
}

/// alpha = softmax(a) over each row's edges, for a of any size, and d_a = alpha (d_alpha - sum of
/// alpha d_alpha), both in place, too.
TYPED_TEST(EdgesTest, SoftmaxAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(2);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t) {
    const RandomPairs pairs(random, n, targets);
    const size_t edges = pairs.target.size();
    const auto d_alpha = random.numbers<T>(edges), given = random.numbers<T>(edges);
    auto a = random.numbers<T>(edges, 4);
    pairs.for_each([&](size_t r, size_t, size_t e) { a[e] += r % 3 == 1 ? T(900) : T(0); });
    std::vector<double> most(n, -1e300), shifted(edges);
    pairs.for_each([&](size_t r, size_t, size_t e) {
      most[r] = std::max(most[r], static_cast<double>(a[e]));
    });
    pairs.for_each([&](size_t r, size_t, size_t e) {
      shifted[e] = static_cast<double>(a[e]) - most[r];
    });
    const auto whole = sums_of_rows(pairs, [&](size_t e) { return std::exp(shifted[e]); });
    const auto product = sums_of_rows(pairs, [&](size_t e) {
      return static_cast<double>(given[e]) * static_cast<double>(d_alpha[e]);
    });
    std::vector<Sum> alpha(edges), d_a(edges);
    for (size_t e = 0; e < edges; ++e) {  // an error of a - max is one of alpha, relatively
      const double value = std::exp(shifted[e]) / (static_cast<double>(whole[e].value) + 1e-16);
      alpha[e].add(value, value * (1 + std::abs(shifted[e])));
      const auto scale = static_cast<double>(given[e]);
      d_a[e] += scale * static_cast<double>(d_alpha[e]);
      d_a[e].add(-scale * static_cast<double>(product[e].value),
                 std::abs(scale) * product[e].magnitude);
    }
    const auto [got, in_place, got_d, d_in_place] = this->same_bytes([&] {
      const PairsOnDevice on(*this->ops, pairs);
      const auto on_given = this->device(given);
      auto on_a = this->device(a), on_d = this->device(d_alpha);
      auto to = this->garbage(edges), to_d = this->garbage(edges);
      const auto as_is = on_a.matrix(edges, 1), d_as_is = on_d.matrix(edges, 1);
      this->ops->edge_softmax_forward(to.matrix(edges, 1), as_is, on.pairs());
      this->ops->edge_softmax_forward(as_is, as_is, on.pairs());
      const auto alphas = on_given.matrix(edges, 1);
      this->ops->edge_softmax_backward(to_d.matrix(edges, 1), d_as_is, alphas, on.pairs());
      this->ops->edge_softmax_backward(d_as_is, d_as_is, alphas, on.pairs());
      return std::tuple(to.host(), on_a.host(), to_d.host(), on_d.host());
    });
    EXPECT_SUMS(got, alpha, pairs.most() + 4);
    EXPECT_SUMS(got_d, d_a, pairs.most() + 4);
    EXPECT_SAME(in_place, got);
    EXPECT_SAME(d_in_place, got_d);
  });
}

/// y = w mask / (1 - rate)
TYPED_TEST(EdgesTest, KeptEdgesMakeUpForDroppedOnes) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each(shapes, [&](size_t, size_t n, size_t) {
    for (double rate : {0.0, 0.3, 0.999}) {
      const auto w = random.numbers<T>(n);
      const auto mask = random.mask(n);
      std::vector<Sum> expected(n);
      for (size_t e = 0; e < n; ++e)
        if (mask[e]) expected[e] += static_cast<double>(w[e]) / (1 - rate);
      const auto [got] = this->same_bytes([&] {
        const auto on_rate = this->device(std::vector<double>{rate});
        const auto on_mask = this->device(mask);
        auto to = this->garbage(n);
        this->ops->drop_edges(to.matrix(n, 1), this->device(w).matrix(n, 1), on_mask.matrix(n, 1),
                              on_rate.data());
        return std::tuple(to.host());
      });
      EXPECT_SUMS(got, expected, 2);
    }
  });
}

/// The rate is uniform from 0 to the ratio, and edges are dropped with its probability; both are
/// Philox's, on every device the same.
TYPED_TEST(EdgesTest, DrawsAreThePhiloxOfTheirEdges) {
  const uint64_t seed = 0x123456789abcdef0u;
  for (const auto& [n, ratio] : {std::pair<size_t, double>{0, 0.5}, {1, 0}, {7, 1}, {20001, 1},
                                 {20001, 0.2}})
    for (uint32_t step : {1u, 40u}) {
      const Random4 first = philox(seed, 1025, step, 0);
      const double expected = ratio * (first.x[0] + 0.5) / 4294967296.0;
      std::vector<uint8_t> kept;
      double dropped = 0;
      for (size_t e = 0; e < n; ++e) {
        const Random4 words = philox(seed, 1025, step, 1 + e / 4);
        kept.push_back(words.x[e % 4] >= static_cast<uint32_t>(expected * 4294967296.0));
        dropped += !kept.back();
      }
      const auto [mask, rate] = this->same_bytes([&, n = n, ratio = ratio] {
        auto drawn = this->device(std::vector<uint8_t>(n, 99));
        auto to = this->device(std::vector<double>{std::nan("")});
        const auto now = this->device(std::vector<uint32_t>{step});
        this->ops->draw_edges(drawn.matrix(n, 1), to.data(), ratio, {seed, 1025, now.data()});
        return std::tuple(drawn.host(), to.host());
      });
      EXPECT_EQ(rate[0], expected);
      EXPECT_SAME(mask, kept);
      if (n > 10000) {  // five standard deviations of the mean
        EXPECT_LE(std::abs(dropped / static_cast<double>(n) - rate[0]),
                  5 * std::sqrt(rate[0] * (1 - rate[0]) / static_cast<double>(n)));
      }
    }
}

}  // namespace
}  // namespace bm3::test
