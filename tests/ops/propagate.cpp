// The sparse product [Eq. 3] with the read-out's terms [Eq. 4], against a dense one. Outputs hold
// NaN before the call.
#include "backends.h"
#include "error.h"
#include "model/lightgcn.h"
#include "plain_model.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

template <class Backend>
class PropagateTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(PropagateTest, Backends, BackendName);

/// Random interactions that leave some nodes isolated.
std::vector<Interaction> random_edges(Random& random, size_t users, size_t items, size_t n) {
  std::vector<Interaction> edges(n);
  for (auto& e : edges) e = {random.below((users + 1) / 2), random.below((items + 1) / 2)};
  return edges;
}

/// y = a S A S x + b z [Eq. 3, 4]
TYPED_TEST(PropagateTest, EqualsADenseProduct) {
  using T = typename TypeParam::Real;
  Random random(3);
  struct Case {
    size_t users, items, edges, d;
  };
  for (const auto [users, items, edges, d] :
       {Case{0, 0, 0, 3}, Case{1, 1, 1, 1}, Case{1, 1, 0, 3}, Case{3, 2, 4, 2},
        Case{20, 30, 100, 17}, Case{70, 50, 900, 64}, Case{40, 90, 800, 72},
        Case{300, 200, 3000, 100}, Case{600, 3, 3000, 100}})  // with items of some 300 neighbours
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
TYPED_TEST(PropagateTest, MillionNodes) {
  using T = typename TypeParam::Real;
  Random random(13);
  constexpr size_t users = 700003, items = 300001, n = users + items, d = 3;
  if (this->too_many(n)) GTEST_SKIP() << "too many rows for this backend";
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
TYPED_TEST(PropagateTest, GraphRejectsNumbersOutOfRange) {
  using T = typename TypeParam::Real;
  for (const Interaction bad : {Interaction{2, 0}, {0, 3}, {-1, 0}, {0, -1}})
    EXPECT_THROW(make_graph<T>(*this->ops, 2, 3, {bad}), Error);
}

}  // namespace
}  // namespace bm3::test
