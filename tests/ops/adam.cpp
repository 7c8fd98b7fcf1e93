// Adam (Kingma & Ba, 2015): each step against a plain loop, and the layer's lazy form against the
// dense one, bit for bit.
#include "layers/adam.h"
#include "layers/batch.h"

#include "backends.h"
#include "compare.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

template <class Backend>
class AdamTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(AdamTest, Backends, BackendName);

/// x behind `by` numbers that nobody reads.
template <class T>
std::vector<T> shifted(std::vector<T> x, size_t by) {
  x.insert(x.begin(), by, T(7));
  return x;
}

/// m, v and p of each step from those of the previous one, in double. Arrays that begin between two
/// vectors of a GPU's accesses get the same bits.
TYPED_TEST(AdamTest, EachStepIsAPlainLoop) {
  using T = typename TypeParam::Real;
  Random random(1);
  for (size_t n : {0, 1, 31, 64, 1000, 16385, 1000003}) {
    std::vector<T> p = random.numbers<T>(n), m(n), v(n);
    for (uint32_t t = 1; t <= (n < 2000 ? 20u : 2u); ++t) {
      SCOPED_TRACE(testing::Message() << n << " values, step " << t);
      const auto g = random.numbers<T>(n, random.below(3) == 0 ? 1e-6 : 1);
      std::vector<AdamStep<T>> schedule(t + 1);
      schedule[t] = {static_cast<T>(0.01 / (1 - std::pow(0.9, t))),
                     static_cast<T>(1 / std::sqrt(1 - std::pow(0.999, t)))};
      std::vector<Sum> p_1 = sums_from(p), m_1(n), v_1(n);
      const double size = schedule[t].size, root = schedule[t].root;
      for (size_t k = 0; k < n; ++k) {
        m_1[k] += 0.9 * m[k];
        m_1[k] += 0.1 * g[k];
        v_1[k] += 0.999 * v[k];
        v_1[k] += 0.001 * g[k] * g[k];
        const double below = std::sqrt(static_cast<double>(v_1[k].value)) * root + 1e-8;
        p_1[k].add(-size * static_cast<double>(m_1[k].value) / below,
                   size * m_1[k].magnitude / below);
      }
      const auto step = [&](size_t shift) {
        return this->same_bytes([&] {
          const auto on_schedule = this->device(schedule);
          const auto now = this->device(std::vector<uint32_t>{t});
          Array<T> array[] = {this->device(shifted(p, shift)), this->device(shifted(m, shift)),
                              this->device(shifted(v, shift)), this->device(shifted(g, shift))};
          const auto at = [&](size_t k) { return Matrix<T>{array[k].data() + shift, 1, n}; };
          this->ops->adam(at(0), at(1), at(2), at(3),
                          {{0.9, 0.999, 1e-8}, on_schedule.data(), now.data()});
          return std::tuple(array[0].host(), array[1].host(), array[2].host());
        });
      };
      const auto between = step(1);
      std::tie(p, m, v) = step(0);
      EXPECT_TRUE(between == std::tuple(shifted(p, 1), shifted(m, 1), shifted(v, 1)));
      EXPECT_SUMS(m, m_1, 3);
      EXPECT_SUMS(v, v_1, 4);
      EXPECT_SUMS(p, p_1, 12);
    }
  }
}

/// The layer on tuned features: rows that wait and are replayed come out of hundreds of steps with
/// the bits of a dense Adam, in which they had zero gradients, and have them in every step in which
/// they are read; padding and a row without any gradient stay as they are.
TYPED_TEST(AdamTest, LazyRowsHaveTheBitsOfDenseOnes) {
  using T = typename TypeParam::Real;
  constexpr std::array<size_t, 4> cases[] = {  // n, height, d, steps
      {1, 53, 3, 300},   {20, 53, 1, 300},   {20, 53, 7, 300},
      {20, 53, 70, 300}, {20, 53, 300, 300}, {1000003, 2500003, 2, 4}};
  this->for_each(cases, [&](size_t n, size_t height, size_t d, size_t steps) {
    const auto start = Random(d).numbers<T>(height * d);
    size_t different = 0;  // of the rows that are read
    const auto [end, dense_end] = this->same_bytes([&] {
      Random random(d + 1);
      Features<T> lazy{"image", {*this->ops, height, d}, {*this->ops, n, d}};
      Parameters<T> dense(*this->ops);
      dense.add({"image", height, d, {}});
      dense.allocate();
      const auto& [value, gradient] = std::tie(dense.all()[0].value, dense.all()[0].gradient);
      lazy.value.memory.upload(start);
      this->ops->gather_rows(value, lazy.value, {nullptr, height});
      Array<uint32_t> now(*this->ops, 1);
      Adam<T> adam(*this->ops, dense, {&lazy}, {0.01}, steps, now.data());
      for (size_t t = 1; t <= steps; ++t) {
        // Few rows at a time, of which the upper half come back seldom, and the last one never.
        const auto rows =
            this->device(random.distinct_rows(n, t % 50 == 0 ? height - 1 : (height - 1) / 2));
        Batch batch;
        batch.items = rows.rows();
        now.upload({static_cast<uint32_t>(t)});
        adam.begin_step(batch.items);
        Array<T> read(*this->ops, n * d), expected(*this->ops, n * d);
        this->ops->gather_rows(read.matrix(n, d), lazy.value, batch.items);
        this->ops->gather_rows(expected.matrix(n, d), value, batch.items);
        different += !difference(read.host(), expected.host()).empty();
        lazy.gradients.memory.upload(random.numbers<T>(n * d, random.below(4) == 0 ? 1e-5 : 1));
        this->ops->zero(gradient.at, gradient.size() * sizeof(T));
        this->ops->scatter_add_rows(gradient, lazy.gradient(n), batch.items);
        adam.step(batch.items);
      }
      adam.catch_up();
      return std::tuple(lazy.value.memory.host(), host<T>(*this->ops, value));
    });
    EXPECT_EQ(different, 0u);
    EXPECT_SAME(end, dense_end);
    EXPECT_TRUE(std::equal(end.end() - static_cast<std::ptrdiff_t>(d), end.end(),
                           start.end() - static_cast<std::ptrdiff_t>(d)));
    EXPECT_NE(end, start);
  });
}

}  // namespace
}  // namespace bm3::test
