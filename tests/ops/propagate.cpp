// The sparse product [Eq. 3] with the read-out's terms [Eq. 4], by the kernels and by cuSPARSE,
// against a sum over edges. Outputs hold NaN before the call.
#include "backends.h"
#include "error.h"
#include "layers/graph.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

/// The distinct edges of a graph, and what they make of a vector.
struct Edges {
  size_t users, items;
  double epsilon;
  std::vector<std::pair<size_t, size_t>> edges;  // of user and item
  std::vector<double> degree;                    // [users + items]

  Edges(const std::vector<Interaction>& train, size_t n_users, size_t n_items, double eps)
      : users(n_users), items(n_items), epsilon(eps), degree(n_users + n_items) {
    for (const auto& [user, item] : train)
      edges.push_back({static_cast<size_t>(user), static_cast<size_t>(item)});
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    for (const auto& [u, i] : edges) ++degree[u], ++degree[users + i];
  }
  /// y += a S A S x, edge by edge.
  template <class T>
  void add_product(std::vector<Sum>& y, T a, const std::vector<T>& x, size_t d) const {
    for (const auto& [u, i] : edges) {
      const size_t v = users + i;
      const double s =
          static_cast<double>(a) / std::sqrt((degree[u] + epsilon) * (degree[v] + epsilon));
      for (size_t c = 0; c < d; ++c) {
        y[u * d + c] += s * static_cast<double>(x[v * d + c]);
        y[v * d + c] += s * static_cast<double>(x[u * d + c]);
      }
    }
  }
  size_t most() const {
    return degree.empty() ? 0
                          : static_cast<size_t>(*std::max_element(degree.begin(), degree.end()));
  }
};

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
  struct Case {
    size_t users, items, edges, d;
  };
  for (const auto [users, items, edges, d] :
       {Case{0, 0, 0, 3}, Case{1, 1, 1, 1}, Case{1, 1, 0, 3}, Case{3, 2, 4, 2},
        Case{20, 30, 100, 17}, Case{70, 50, 900, 64}, Case{40, 90, 800, 72},
        Case{30, 20, 200, 300}, Case{300, 200, 3000, 100},
        Case{600, 3, 3000, 100},  // with items of some 300 neighbours
        Case{700003, 300001, 1000000, 3}})
    for (double epsilon : {0.0, 1e-7}) {
      const size_t n = users + items;
      if (this->too_many(n)) continue;
      SCOPED_TRACE(testing::Message() << users << " users, d = " << d << ", epsilon " << epsilon);
      const auto train = random_train(random, users, items, edges);
      const Edges plain(train, users, items, epsilon);
      const auto graph = make_graph<T>(*this->ops, users, items, train, epsilon);
      const auto x = random.numbers<T>(n * d), z = random.numbers<T>(n * d);
      const auto [a, b_user, b_item] = std::array<T, 3>{
          T(random.number()), T(random.number()), T(random.number())};
      std::vector<Sum> only_z(n * d);
      for (size_t k = 0; k < n * d; ++k)
        only_z[k] += static_cast<double>(k / d < users ? b_user : b_item) *
                     static_cast<double>(z[k]);
      std::vector<Sum> y = only_z;
      plain.add_product(y, a, x, d);
      const auto on_x = this->device(x), on_z = this->device(z), unread = this->garbage(n * d);
      auto got = this->garbage(n * d), got_z = this->garbage(n * d);
      this->ops->propagate(got.matrix(n, d), on_x.matrix(n, d), on_z.matrix(n, d), a, b_user,
                           b_item, graph);
      EXPECT_SUMS(got, y, plain.most() + 4);
      this->ops->propagate(got_z.matrix(n, d), unread.matrix(n, d), on_z.matrix(n, d), T(0),
                           b_user, b_item, graph);
      EXPECT_SUMS(got_z, only_z, 1);
    }
}

/// Only nodes of the graph have edges. [Eq. 3]
TYPED_TEST(PropagateTest, GraphRejectsNumbersOutOfRange) {
  using T = typename TypeParam::Real;
  for (const Interaction bad : {Interaction{2, 0}, {0, 3}, {-1, 0}, {0, -1}})
    EXPECT_THROW(make_graph<T>(*this->ops, 2, 3, {bad}), Error);
}

}  // namespace
}  // namespace bm3::test
