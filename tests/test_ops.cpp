// Linear layers, graph, rows and views: each operation of ops.h against a plain loop over the words
// that describe it, for 0 to 10^6 rows. Outputs hold NaN before the call where "=" is promised.
#include "backends.h"
#include "error.h"
#include "model/lightgcn.h"
#include "plain_model.h"
#include "random.h"
#include "rounding.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t n, d;
};
constexpr Shape shapes[] = {{0, 3},   {1, 1},    {1, 64},  {2, 2},    {5, 17},     {64, 64},
                            {63, 100}, {130, 3}, {257, 17}, {1000, 64}, {1000003, 3}};

template <class Backend>
class OpsTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(OpsTest, Backends, BackendName);

// ------------------------------------------------------------------------------- linear layers

struct LinearShape {
  size_t n, in, out;
};
constexpr LinearShape linear_shapes[] = {
    {0, 3, 2},    {1, 1, 1},     {1, 17, 3},    {5, 2, 100},  {63, 100, 17},  {64, 64, 64},
    {129, 300, 5}, {1030, 64, 64}, {300, 700, 33}, {20, 4096, 2}, {1000003, 3, 2}};

/// x[rows[r], j], 0 for padding, with `rows` perhaps empty (x's own rows).
template <class T>
double at(const std::vector<T>& x, const std::vector<int32_t>& rows, size_t r, size_t j, size_t d) {
  if (rows.empty()) return static_cast<double>(x[r * d + j]);
  return rows[r] < 0 ? 0.0 : static_cast<double>(x[static_cast<size_t>(rows[r]) * d + j]);
}

/// y = x[rows] W + b [Eq. 1, 6]
TYPED_TEST(OpsTest, LinearForward) {
  using T = typename TypeParam::Real;
  Random random(1);
  for (const auto [n, in, out] : linear_shapes)
    for (bool gathered : {false, true}) {
      SCOPED_TRACE(testing::Message()
                   << n << " x " << in << " x " << out << (gathered ? ", rows" : ""));
      const size_t height = gathered ? n / 2 + 3 : n;
      const auto x = random.numbers<T>(height * in), W = random.numbers<T>(in * out);
      const auto b = random.numbers<T>(out);
      const auto rows = gathered ? random.padded_rows(n, height) : std::vector<int32_t>();
      std::vector<Sum> y(n * out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          y[r * out + k] += static_cast<double>(b[k]);
          for (size_t j = 0; j < in; ++j)
            y[r * out + k] += at(x, rows, r, j, in) * static_cast<double>(W[j * out + k]);
        }
      const auto on_rows = this->device(rows);
      auto computed = this->garbage(n * out);
      this->ops->linear_forward(computed.data(), this->device(x).data(),
                                gathered ? on_rows.data() : nullptr, this->device(W).data(),
                                this->device(b).data(), n, in, out);
      EXPECT_SUMS(computed, y, in);
    }
}

/// d_x = d_y W^T, d_W = x[rows]^T d_y, d_b = column sums of d_y [Eq. 1, 6]
TYPED_TEST(OpsTest, LinearBackward) {
  using T = typename TypeParam::Real;
  Random random(2);
  for (const auto [n, in, out] : linear_shapes)
    for (bool gathered : {false, true}) {
      SCOPED_TRACE(testing::Message()
                   << n << " x " << in << " x " << out << (gathered ? ", rows" : ""));
      const size_t height = gathered ? n / 2 + 3 : n;
      const auto x = random.numbers<T>(height * in), W = random.numbers<T>(in * out);
      const auto d_y = random.numbers<T>(n * out);
      const auto rows = gathered ? random.padded_rows(n, height) : std::vector<int32_t>();
      std::vector<Sum> d_x(n * in), d_W(in * out), d_b(out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          const auto d = static_cast<double>(d_y[r * out + k]);
          d_b[k] += d;
          for (size_t j = 0; j < in; ++j) {
            d_x[r * in + j] += d * static_cast<double>(W[j * out + k]);
            d_W[j * out + k] += at(x, rows, r, j, in) * d;
          }
        }
      const auto on_rows = this->device(rows);
      const auto on_x = this->device(x), on_W = this->device(W), on_d_y = this->device(d_y);
      for (bool wanted : {true, false}) {
        auto got_x = this->garbage(n * in), got_W = this->garbage(in * out);
        auto got_b = this->garbage(out);
        this->ops->linear_backward(wanted ? got_x.data() : nullptr, got_W.data(), got_b.data(),
                                   on_d_y.data(), on_x.data(), gathered ? on_rows.data() : nullptr,
                                   on_W.data(), n, in, out);
        if (wanted) EXPECT_SUMS(got_x, d_x, out);
        EXPECT_SUMS(got_W, d_W, n);
        EXPECT_SUMS(got_b, d_b, n);
      }
    }
}

// ----------------------------------------------------------------------------------------- graph

/// Random interactions that leave some nodes isolated.
std::vector<Interaction> random_edges(Random& random, size_t users, size_t items, size_t n) {
  std::vector<Interaction> edges(n);
  for (auto& e : edges) e = {random.below((users + 1) / 2), random.below((items + 1) / 2)};
  return edges;
}

/// y = a S A S x + b z [Eq. 3, 4]
TYPED_TEST(OpsTest, Propagate) {
  using T = typename TypeParam::Real;
  Random random(3);
  struct Case {
    size_t users, items, edges, d;
  };
  for (const auto [users, items, edges, d] :
       {Case{0, 0, 0, 3}, Case{1, 1, 1, 1}, Case{1, 1, 0, 3}, Case{3, 2, 4, 2}, Case{20, 30, 100, 17},
        Case{70, 50, 900, 64}, Case{40, 90, 800, 72}, Case{300, 200, 3000, 100}})
    for (double epsilon : {0.0, 1e-7}) {
      SCOPED_TRACE(testing::Message() << users << " users, d = " << d << ", epsilon " << epsilon);
      const auto train = random_edges(random, users, items, edges);
      const auto S = dense_adjacency(users, items, train, epsilon);
      const auto graph = make_graph<T>(*this->ops, static_cast<int64_t>(users),
                                       static_cast<int64_t>(items), train, epsilon);
      const size_t n = users + items;
      const auto x = random.numbers<T>(n * d), z = random.numbers<T>(n * d);
      const auto a = static_cast<T>(random.number()), b_user = static_cast<T>(random.number());
      const auto b_item = static_cast<T>(random.number());
      std::vector<Sum> y(n * d), only_z(n * d);
      for (size_t r = 0; r < n; ++r)
        for (size_t c = 0; c < d; ++c) {
          const auto b = static_cast<double>(r < users ? b_user : b_item);
          only_z[r * d + c] += b * static_cast<double>(z[r * d + c]);
          y[r * d + c] = only_z[r * d + c];
          for (size_t s = 0; s < n; ++s)
            if (S[r * n + s] > 0)
              y[r * d + c] +=
                  static_cast<double>(a) * S[r * n + s] * static_cast<double>(x[s * d + c]);
        }
      const auto on_x = this->device(x), on_z = this->device(z), unread = this->garbage(n * d);
      auto got = this->garbage(n * d), got_z = this->garbage(n * d);
      this->ops->propagate(got.data(), on_x.data(), on_z.data(), a, b_user, b_item, graph, d);
      EXPECT_SUMS(got, y, n);
      this->ops->propagate(got_z.data(), unread.data(), on_z.data(), T(0), b_user, b_item, graph,
                           d);
      EXPECT_SUMS(got_z, only_z, 1);
    }
}

/// The same over a million nodes, edge by edge. [Eq. 3, 4]
TYPED_TEST(OpsTest, PropagateMillionNodes) {
  using T = typename TypeParam::Real;
  Random random(13);
  constexpr size_t users = 700003, items = 300001, n = users + items, d = 3;
  std::vector<std::pair<size_t, size_t>> edges(1000000);
  std::vector<Interaction> train;
  for (auto& [u, i] : edges) {
    u = static_cast<size_t>(random.below(users));
    // Some items have many.
    i = static_cast<size_t>(random.below(items) % (1 + random.below(items)));
    train.push_back({static_cast<int32_t>(u), static_cast<int32_t>(i)});
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<double> degree(n);
  for (const auto& [u, i] : edges) ++degree[u], ++degree[users + i];
  const auto x = random.numbers<T>(n * d), z = random.numbers<T>(n * d);
  std::vector<Sum> y(n * d);
  for (size_t k = 0; k < n * d; ++k)
    y[k] += (k / d < users ? 0.25 : 1.25) * static_cast<double>(z[k]);
  for (const auto& [u, i] : edges) {
    const double s = 0.5 / std::sqrt(degree[u] * degree[users + i]);
    for (size_t c = 0; c < d; ++c) {
      y[u * d + c] += s * static_cast<double>(x[(users + i) * d + c]);
      y[(users + i) * d + c] += s * static_cast<double>(x[u * d + c]);
    }
  }
  const auto graph = make_graph<T>(*this->ops, users, items, train);
  const auto on_x = this->device(x), on_z = this->device(z);
  auto got = this->garbage(n * d);
  this->ops->propagate(got.data(), on_x.data(), on_z.data(), T(0.5), T(0.25), T(1.25), graph, d);
  EXPECT_SUMS(got, y, static_cast<size_t>(*std::max_element(degree.begin(), degree.end())));
}

/// Only nodes of the graph have edges. [Eq. 3]
TYPED_TEST(OpsTest, GraphRejectsNumbersOutOfRange) {
  using T = typename TypeParam::Real;
  for (const Interaction bad : {Interaction{2, 0}, {0, 3}, {-1, 0}, {0, -1}})
    EXPECT_THROW(make_graph<T>(*this->ops, 2, 3, {bad}), Error);
}

// ------------------------------------------------------------------------------------------ rows

/// z = H[nodes of the batch], bit for bit
TYPED_TEST(OpsTest, GatherRows) {
  using T = typename TypeParam::Real;
  Random random(4);
  for (const auto [n, d] : shapes) {
    const size_t height = n / 2 + 1;
    const auto x = random.numbers<T>(height * d);
    const auto rows = random.padded_rows(n, height);
    auto y = this->garbage(n * d);
    this->ops->gather_rows(y.data(), this->device(x).data(), this->device(rows).data(), n, d);
    std::vector<T> expected(n * d);
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d; ++c) expected[r * d + c] = static_cast<T>(at(x, rows, r, c, d));
    EXPECT_EQ(y.host(), expected) << n << " x " << d;
  }
}

/// d_H[nodes of the batch] += d_z, bit for bit
TYPED_TEST(OpsTest, ScatterRows) {
  using T = typename TypeParam::Real;
  Random random(5);
  for (const auto [n, d] : shapes) {
    const size_t height = n + n / 2 + 1;
    const auto x = random.numbers<T>(n * d), before = random.numbers<T>(height * d);
    const auto rows = random.distinct_rows(n, height);
    const auto on_x = this->device(x);
    const auto on_rows = this->device(rows);
    auto added = this->device(before), put = this->device(before);
    this->ops->scatter_add_rows(added.data(), on_x.data(), on_rows.data(), n, d);
    this->ops->scatter_rows(put.data(), on_x.data(), on_rows.data(), n, d);
    std::vector<T> sums = before, copies = before;
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c) {
        sums[static_cast<size_t>(rows[r]) * d + c] += x[r * d + c];
        copies[static_cast<size_t>(rows[r]) * d + c] = x[r * d + c];
      }
    EXPECT_EQ(added.host(), sums) << n << " x " << d;
    EXPECT_EQ(put.host(), copies) << n << " x " << d;
  }
}

// ----------------------------------------------------------------------------------------- views

/// The mask of Eq. 5 is Philox against a threshold, on every device the same. [Eq. 5]
TYPED_TEST(OpsTest, MaskIsPhiloxByRowAndColumn) {
  Random random(6);
  for (const auto [n, d] : shapes)
    for (double p : {0.0, 0.3, 0.5, 0.999}) {
      const uint64_t seed = 0x123456789abcdef0u + n;
      const uint32_t stream = 257, step = 40;
      const auto rows = random.padded_rows(n, 70000);
      Array<uint8_t> mask(*this->ops, std::vector<uint8_t>(n * d, 99));
      this->ops->draw_mask(mask.data(), this->device(rows).data(), n, d, p, seed, stream,
                           this->device(std::vector<uint32_t>{step}).data());
      const auto computed = mask.host();
      size_t wrong = 0;
      for (size_t r = 0; r < n; ++r)
        for (size_t c = 0; c < d; ++c) {
          const auto word =
              philox(seed, stream, step, mask_block(rows[r], static_cast<int64_t>(c / 4)))
                  .x[c % 4];
          wrong += rows[r] >= 0 ? computed[r * d + c] != (word >= drop_threshold(p))
                                : computed[r * d + c] > 1;
        }
      EXPECT_EQ(wrong, 0u) << n << " x " << d << ", p = " << p;
      if (p == 0.0) {
        EXPECT_EQ(computed, std::vector<uint8_t>(n * d, 1));
      }
    }
}

/// Entries drop with probability p; each part of the key gives another mask. [Eq. 5]
TYPED_TEST(OpsTest, MaskFrequencyAndKeys) {
  constexpr size_t n = 3000, d = 63;
  std::vector<int32_t> rows(n);
  for (size_t r = 0; r < n; ++r) rows[r] = static_cast<int32_t>(r);
  const auto draw = [&](const std::vector<int32_t>& of, double p, uint64_t seed, uint32_t stream,
                        uint32_t step) {
    Array<uint8_t> mask(*this->ops, of.size() * d);
    this->ops->draw_mask(mask.data(), this->device(of).data(), of.size(), d, p, seed, stream,
                         this->device(std::vector<uint32_t>{step}).data());
    return mask.host();
  };
  const auto fraction = [](const std::vector<uint8_t>& mask) {
    return static_cast<double>(std::count(mask.begin(), mask.end(), 1)) / (n * d);
  };
  const auto base = draw(rows, 0.5, 1, 256, 1);
  for (double p : {0.1, 0.3, 0.5, 0.9})  // five standard deviations of the mean of n d draws
    EXPECT_LE(std::abs(fraction(draw(rows, p, 1, 256, 1)) - (1 - p)),
              5 * std::sqrt(p * (1 - p) / (n * d)));
  for (const auto& other : {draw(rows, 0.5, 2, 256, 1), draw(rows, 0.5, 1, 257, 1),
                            draw(rows, 0.5, 1, 256, 2)}) {
    size_t equal = 0;  // unrelated masks agree in half of their entries
    for (size_t k = 0; k < n * d; ++k) equal += base[k] == other[k];
    EXPECT_LE(std::abs(static_cast<double>(equal) / (n * d) - 0.5), 5 * 0.5 / std::sqrt(n * d));
  }
  // A row's mask is its own, wherever and however often it stands in the batch.
  const std::vector<int32_t> few = {2999, 7, 7, 0, 1500};
  const auto of_few = draw(few, 0.5, 1, 256, 1);
  for (size_t r = 0; r < few.size(); ++r)
    for (size_t c = 0; c < d; ++c)
      ASSERT_EQ(of_few[r * d + c], base[static_cast<size_t>(few[r]) * d + c]);
}

}  // namespace
}  // namespace bm3::test
