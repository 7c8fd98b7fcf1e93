// Adam (Kingma & Ba, 2015): each step against a plain loop, and the layer's lazy form against the
// dense one, bit for bit.
#include "layers/adam.h"

#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

/// p, m, v and perhaps g of n entries, with the calls that take them.
template <class T>
struct State {
  Array<T> p, m, v;
  State(Ops<T>& ops, const std::vector<T>& start)
      : p(ops, start), m(ops, start.size()), v(ops, start.size()) {}
  void step(Ops<T>& ops, const std::vector<T>& gradient, const AdamTime<T>& time) {
    const size_t n = p.size();
    ops.adam(p.matrix(1, n), m.matrix(1, n), v.matrix(1, n),
             Array<T>(ops, gradient).matrix(1, n), time);
  }
};

template <class Backend>
class AdamTest : public OnBackend<Backend, 1> {
 protected:
  using Real = typename Backend::Real;
  static constexpr size_t last_step = 300;
  void SetUp() override {
    OnBackend<Backend, 1>::SetUp();
    if (this->IsSkipped()) return;
    for (size_t t = 1; t <= last_step; ++t) {
      const auto power = static_cast<double>(t);
      schedule[t] = {static_cast<Real>(0.01 / (1 - std::pow(0.9, power))),
                  static_cast<Real>(1 / std::sqrt(1 - std::pow(0.999, power)))};
    }
    on_device_ = this->device(schedule);
    now_ = this->device(std::vector<uint32_t>{0});
  }
  /// The time of step t, with learning rate 0.01.
  AdamTime<Real> time(size_t t) {
    now_.upload({static_cast<uint32_t>(t)});
    return {{0.9, 0.999, 1e-8}, on_device_.data(), now_.data()};
  }
  std::vector<AdamStep<Real>> schedule = std::vector<AdamStep<Real>>(last_step + 1);

 private:
  Array<AdamStep<Real>> on_device_;
  Array<uint32_t> now_;
};
TYPED_TEST_SUITE(AdamTest, Backends, BackendName);

/// *step += 1.
TYPED_TEST(AdamTest, AdvanceCountsSteps) {
  auto step = this->device(std::vector<uint32_t>{41});
  this->ops->advance(step.data());
  this->ops->advance(step.data());
  EXPECT_EQ(step.host(), std::vector<uint32_t>{43});
}

/// m, v and p of each step from those of the step before, in double.
TYPED_TEST(AdamTest, EachStepIsAPlainLoop) {
  using T = typename TypeParam::Real;
  Random random(1);
  for (size_t n : {0, 1, 31, 64, 1000, 16385, 1000003}) {
    State<T> at(*this->ops, random.numbers<T>(n));
    for (uint32_t t = 1; t <= (n < 2000 ? 20u : 2u); ++t) {
      SCOPED_TRACE(testing::Message() << n << " values, step " << t);
      const auto g = random.numbers<T>(n, random.below(3) == 0 ? 1e-6 : 1);
      const auto m_0 = at.m.host(), v_0 = at.v.host();
      std::vector<Sum> p_1 = sums_from(at.p.host()), m_1(n), v_1(n);
      const auto size = static_cast<double>(this->schedule[t].size);
      const auto root = static_cast<double>(this->schedule[t].root);
      for (size_t k = 0; k < n; ++k) {
        const auto grad = static_cast<double>(g[k]);
        m_1[k] += 0.9 * static_cast<double>(m_0[k]);
        m_1[k] += 0.1 * grad;
        v_1[k] += 0.999 * static_cast<double>(v_0[k]);
        v_1[k] += 0.001 * grad * grad;
        const double below = std::sqrt(static_cast<double>(v_1[k].value)) * root + 1e-8;
        p_1[k].add(-size * static_cast<double>(m_1[k].value) / below,
                   size * m_1[k].magnitude / below);
      }
      at.step(*this->ops, g, this->time(t));
      EXPECT_SUMS(at.m, m_1, 3);
      EXPECT_SUMS(at.v, v_1, 4);
      EXPECT_SUMS(at.p, p_1, 12);
    }
  }
}

/// Arrays that begin between two vectors of a GPU's accesses have the bits of those that do not.
TYPED_TEST(AdamTest, AnyAddressGivesTheSameBits) {
  using T = typename TypeParam::Real;
  Random random(2);
  constexpr size_t n = 1001;
  std::vector<Array<T>> there, shifted;  // p, m, v, g
  for (size_t k = 0; k < 4; ++k) {
    auto values = random.numbers<T>(n);
    if (k == 2)
      for (T& v : values) v = std::abs(v);
    there.push_back(this->device(values));
    values.insert(values.begin(), T(7));
    shifted.push_back(this->device(values));
  }
  for (auto* x : {&there, &shifted}) {
    const auto at = [&](size_t k) {
      return Matrix<T>{(*x)[k].data() + (x == &shifted ? 1 : 0), 1, n};
    };
    this->ops->adam(at(0), at(1), at(2), at(3), this->time(1));
  }
  for (size_t k = 0; k < 4; ++k) {
    auto expected = there[k].host();
    expected.insert(expected.begin(), T(7));
    EXPECT_SAME(shifted[k].host(), expected) << k;
  }
}

/// Rows of `n` in a table of `height`: g in these rows, 0 in all others.
template <class T>
std::vector<T> spread(const std::vector<T>& g, const std::vector<int32_t>& rows, size_t height,
                      size_t d) {
  std::vector<T> out(height * d);
  for (size_t r = 0; r < rows.size(); ++r)
    if (rows[r] >= 0)
      std::copy_n(g.begin() + static_cast<std::ptrdiff_t>(r * d), d,
                  out.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(rows[r]) * d));
  return out;
}

/// The layer on tuned features: rows that wait and are replayed come out of hundreds of steps with
/// the bits of a dense Adam, in which they had zero gradients, and have them in every step in which
/// they are read; padding and a row without any gradient stay as they are.
TYPED_TEST(AdamTest, LazyRowsHaveTheBitsOfDenseOnes) {
  using T = typename TypeParam::Real;
  struct Case {
    size_t height, n, d, steps;
  };
  for (const auto [height, n, d, steps] :
       {Case{53, 1, 3, 300}, Case{53, 20, 1, 300}, Case{53, 20, 7, 300}, Case{53, 20, 70, 300},
        Case{53, 20, 300, 300}, Case{2500003, 1000003, 2, 4}}) {
    if (this->too_many(n)) continue;
    SCOPED_TRACE(testing::Message() << height << " x " << d);
    Random random(d);
    Features<T> lazy(*this->ops, "image", height, d, n);
    lazy.memory.upload(random.numbers<T>(height * d));
    const std::vector<T> start = lazy.memory.host();
    State<T> dense(*this->ops, start);
    Parameters<T> none(*this->ops, {});
    Adam<T> adam(*this->ops, none, {&lazy}, {0.01}, steps);
    for (size_t t = 1; t <= steps; ++t) {
      // Few rows at a time, of which the upper half come back seldom, and the last one never.
      const auto rows = random.distinct_rows(n, t % 50 == 0 ? height - 1 : (height - 1) / 2);
      const auto g = random.numbers<T>(n * d, random.below(4) == 0 ? 1e-5 : 1);
      const auto on_rows = this->device(rows);
      Batch batch;
      batch.items = on_rows.rows();
      adam.begin_step(batch);
      Array<T> read(*this->ops, n * d), expected(*this->ops, n * d);
      this->ops->gather_rows(read.matrix(n, d), lazy.value, batch.items);
      this->ops->gather_rows(expected.matrix(n, d), dense.p.matrix(height, d), batch.items);
      ASSERT_EQ(difference(read.host(), expected.host()), "") << "step " << t;
      lazy.rows.upload(g);
      adam.step(batch);
      dense.step(*this->ops, spread(g, rows, height, d), this->time(t));
    }
    adam.catch_up();
    const auto end = lazy.memory.host();
    EXPECT_SAME(end, dense.p.host());
    EXPECT_SAME(std::vector<T>(end.end() - static_cast<std::ptrdiff_t>(d), end.end()),
                std::vector<T>(start.end() - static_cast<std::ptrdiff_t>(d), start.end()));
    EXPECT_NE(end, start);
  }
}

/// The layer on parameters: after 60 steps they are those of the textbook's Adam.
TYPED_TEST(AdamTest, ParametersFollowTheTextbook) {
  using T = typename TypeParam::Real;
  Random random(11);
  Parameters<T> parameters(*this->ops, {{"embedding", 70, 7, {}}, {"bias", 1, 5, {}}});
  const size_t n = parameters.values().size();
  const auto start = random.numbers<T>(n);
  this->ops->upload(parameters.values().at, start.data(), n * sizeof(T));
  std::vector<double> p(start.begin(), start.end()), m(n), v(n);
  Adam<T> adam(*this->ops, parameters, {}, {0.01}, 60);
  for (size_t t = 1; t <= 60; ++t) {
    const auto g = random.numbers<T>(n);
    adam.begin_step({});
    this->ops->upload(parameters.gradients().at, g.data(), n * sizeof(T));
    adam.step({});
    const auto power = static_cast<double>(t);
    for (size_t k = 0; k < n; ++k) {
      const auto grad = static_cast<double>(g[k]);
      m[k] = 0.9 * m[k] + 0.1 * grad;
      v[k] = 0.999 * v[k] + 0.001 * grad * grad;
      const double m_hat = m[k] / (1 - std::pow(0.9, power));
      const double v_hat = v[k] / (1 - std::pow(0.999, power));
      p[k] -= 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
  }
  EXPECT_WITHIN(compare(host<T>(*this->ops, parameters.values()), p, 1),
                sizeof(T) == 8 ? 1e-12 : 1e-5);
  uint32_t now = 0;
  this->ops->download(&now, adam.now(), sizeof now);
  EXPECT_EQ(now, 60u);
}

}  // namespace
}  // namespace bm3::test
