// The sparse product [Eq. 3] with the read-out's terms [Eq. 4], by the kernels and by cuSPARSE,
// against a sum over edges. Outputs hold NaN before the call.
#include "backends.h"
#include "error.h"
#include "layers/graph.h"
#include "random_inputs.h"
#include "rounding.h"

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
      {600, 3, 3000, 100},  // with items of some 300 neighbours
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

}  // namespace
}  // namespace bm3::test
