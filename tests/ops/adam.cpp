// Adam (Kingma & Ba, 2015): each step against a plain loop, and the lazy form against the dense
// one, bit for bit.
#include "model/adam.h"

#include <cstring>

#include "backends.h"
#include "model_check.h"
#include "rounding.h"

namespace bm3::test {
namespace {

template <class Backend>
class AdamTest : public OnBackend<Backend, 1> {
 public:
  using OnBackend<Backend, 1>::device;
  using OnBackend<Backend, 1>::ops;
  using Real = typename Backend::Real;
  const AdamConstants<Real> constants{0.9, 0.999, 1e-8};
  /// The parts of steps 1 .. last that hold for all elements, with learning rate 0.01.
  static std::vector<AdamStep<Real>> schedule(size_t last) {
    std::vector<AdamStep<Real>> out(last + 1);
    for (size_t t = 1; t <= last; ++t) {
      const auto power = static_cast<double>(t);
      out[t] = {static_cast<Real>(0.01 / (1 - std::pow(0.9, power))),
                static_cast<Real>(1 / std::sqrt(1 - std::pow(0.999, power)))};
    }
    return out;
  }
  static bool same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
    return a.size() == b.size() && !a.empty() &&
           std::memcmp(a.data(), b.data(), a.size() * sizeof(Real)) == 0;
  }
};
TYPED_TEST_SUITE(AdamTest, Backends, BackendName);

/// *step += 1.
TYPED_TEST(AdamTest, Advance) {
  auto step = this->device(std::vector<uint32_t>{41});
  this->ops->advance(step.data());
  this->ops->advance(step.data());
  EXPECT_EQ(step.host(), std::vector<uint32_t>{43});
}

/// m, v and p of each step from those of the step before, in double.
TYPED_TEST(AdamTest, EachStepIsAPlainLoop) {
  using T = typename TypeParam::Real;
  Random random(1);
  const auto schedule = this->schedule(20);
  const auto on_schedule = this->device(schedule);
  for (size_t n : {0, 1, 31, 64, 1000, 16385, 1000003}) {
    auto p = this->device(random.numbers<T>(n));
    auto m = this->device(std::vector<T>(n)), v = this->device(std::vector<T>(n));
    for (uint32_t t = 1; t <= (n < 2000 ? 20u : 2u); ++t) {
      SCOPED_TRACE(testing::Message() << n << " values, step " << t);
      const auto g = random.numbers<T>(n, random.below(3) == 0 ? 1e-6 : 1);
      const auto p_0 = p.host(), m_0 = m.host(), v_0 = v.host();
      std::vector<Sum> p_1(n), m_1(n), v_1(n);
      const auto size = static_cast<double>(schedule[t].size);
      const auto root = static_cast<double>(schedule[t].root);
      for (size_t k = 0; k < n; ++k) {
        const auto grad = static_cast<double>(g[k]);
        m_1[k] += 0.9 * static_cast<double>(m_0[k]);
        m_1[k] += 0.1 * grad;
        v_1[k] += 0.999 * static_cast<double>(v_0[k]);
        v_1[k] += 0.001 * grad * grad;
        const double below = std::sqrt(static_cast<double>(v_1[k].value)) * root + 1e-8;
        p_1[k] += static_cast<double>(p_0[k]);
        p_1[k].add(-size * static_cast<double>(m_1[k].value) / below,
                   size * m_1[k].magnitude / below);
      }
      const auto on_g = this->device(g), on_step = this->device(std::vector<uint32_t>{t});
      this->ops->adam(p.data(), m.data(), v.data(), on_g.data(), this->constants,
                      on_schedule.data(), on_step.data(), n);
      EXPECT_SUMS(m, m_1, 3);
      EXPECT_SUMS(v, v_1, 4);
      EXPECT_SUMS(p, p_1, 12);
    }
  }
}

/// Arrays that begin between two vectors of a GPU's accesses have the bits of those that do not.
TYPED_TEST(AdamTest, AtAnyAddress) {
  using T = typename TypeParam::Real;
  Random random(2);
  constexpr size_t n = 1001;
  const auto schedule = this->device(this->schedule(1));
  const auto step = this->device(std::vector<uint32_t>{1});
  std::vector<Array<T>> there, shifted;  // p, m, v, g
  for (size_t k = 0; k < 4; ++k) {
    auto values = random.numbers<T>(n);
    if (k == 2)
      for (T& v : values) v = std::abs(v);
    there.push_back(this->device(values));
    values.insert(values.begin(), T(7));
    shifted.push_back(this->device(values));
  }
  this->ops->adam(there[0].data(), there[1].data(), there[2].data(), there[3].data(),
                  this->constants, schedule.data(), step.data(), n);
  this->ops->adam(shifted[0].data() + 1, shifted[1].data() + 1, shifted[2].data() + 1,
                  shifted[3].data() + 1, this->constants, schedule.data(), step.data(), n);
  for (size_t k = 0; k < 4; ++k) {
    auto expected = there[k].host();
    expected.insert(expected.begin(), T(7));
    EXPECT_TRUE(this->same_bits(shifted[k].host(), expected)) << k;
  }
}

/// p, m and v of tuned rows as the lazy form keeps them, and of the same rows under a dense Adam.
template <class Test>
class LazyAndDense {
 public:
  using T = typename Test::Real;
  LazyAndDense(Test& test, size_t height, size_t n, size_t d, uint32_t steps, Random& random)
      : test_(test),
        ops_(*test.ops),
        height_(height),
        n_(n),
        d_(d),
        schedule_(test.device(Test::schedule(steps))),
        last_(test.device(std::vector<uint32_t>(height))) {
    const auto start = random.numbers<T>(height * d);
    for (auto* tables : {&lazy_, &dense_}) {
      tables->push_back(test.device(start));
      for (int moment = 0; moment < 2; ++moment)
        tables->push_back(test.device(std::vector<T>(height * d)));
    }
    for (size_t k = 0; k < lazy_.size(); ++k) copy_.push_back(Array<T>(ops_, n * d));
  }

  /// Step t with the gradient g [n, d] of `rows`; on copies of these rows, or in place. The rows,
  /// once they have caught up, have the bits of the dense ones.
  void step(uint32_t t, const std::vector<int32_t>& rows, const std::vector<T>& g, bool copied) {
    const auto now = test_.device(std::vector<uint32_t>{t});
    const auto on_rows = test_.device(rows);
    const auto on_g = test_.device(g), on_dense_g = test_.device(spread(rows, g));
    auto& tables = copied ? copy_ : lazy_;
    const AdamRows<T> at{tables[0].data(), tables[1].data(), tables[2].data(),
                         last_.data(),     on_rows.data(),   copied};
    for (size_t k = 0; copied && k < copy_.size(); ++k)
      ops_.gather_rows(copy_[k].data(), lazy_[k].data(), on_rows.data(), n_, d_);
    ops_.adam_replay(at, test_.constants, schedule_.data(), now.data(), -1, n_, d_);
    expect_caught_up(rows, copied);
    ops_.adam_rows(at, on_g.data(), test_.constants, schedule_.data(), now.data(), n_, d_);
    for (size_t k = 0; copied && k < copy_.size(); ++k)
      ops_.scatter_rows(lazy_[k].data(), copy_[k].data(), on_rows.data(), n_, d_);
    ops_.adam(dense_[0].data(), dense_[1].data(), dense_[2].data(), on_dense_g.data(),
              test_.constants, schedule_.data(), now.data(), height_ * d_);
  }

  /// After step t, all rows catch up and have the bits of the dense ones.
  void expect_same_after(uint32_t t) {
    const auto now = test_.device(std::vector<uint32_t>{t});
    ops_.adam_replay({lazy_[0].data(), lazy_[1].data(), lazy_[2].data(), last_.data(), nullptr},
                     test_.constants, schedule_.data(), now.data(), 0, height_, d_);
    for (size_t k = 0; k < lazy_.size(); ++k)
      EXPECT_TRUE(Test::same_bits(lazy_[k].host(), dense_[k].host())) << k;
  }

  std::vector<uint32_t> last() const { return last_.host(); }
  size_t compared() const { return compared_; }

 private:
  std::vector<T> spread(const std::vector<int32_t>& rows, const std::vector<T>& g) const {
    std::vector<T> out(height_ * d_);
    for (size_t r = 0; r < n_; ++r)
      for (size_t c = 0; c < d_ && rows[r] >= 0; ++c)
        out[static_cast<size_t>(rows[r]) * d_ + c] = g[r * d_ + c];
    return out;
  }

  void expect_caught_up(const std::vector<int32_t>& rows, bool copied) {
    const auto now = (copied ? copy_ : lazy_)[0].host(), dense = dense_[0].host();
    for (size_t r = 0; r < n_; ++r) {
      if (rows[r] < 0) continue;
      const auto first = static_cast<size_t>(rows[r]) * d_;
      const size_t place = copied ? r * d_ : first;
      ASSERT_EQ(std::memcmp(&now[place], &dense[first], d_ * sizeof(T)), 0) << "row " << rows[r];
      ++compared_;
    }
  }

  Test& test_;
  Ops<T>& ops_;
  size_t height_, n_, d_;
  Array<AdamStep<T>> schedule_;
  Array<uint32_t> last_;
  std::vector<Array<T>> lazy_, dense_, copy_;  // p, m, v
  size_t compared_ = 0;
};

/// Rows that wait and are replayed come out of hundreds of steps with the bits of a dense Adam, in
/// which they had zero gradients; padding and rows without any gradient stay as they are.
TYPED_TEST(AdamTest, ReplayedRowsHaveTheBitsOfDenseOnes) {
  using T = typename TypeParam::Real;
  struct Case {
    size_t height, n, d;
    uint32_t steps;
  };
  for (const auto [height, n, d, steps] :
       {Case{53, 0, 3, 4}, Case{53, 1, 3, 300}, Case{53, 20, 1, 300}, Case{53, 20, 7, 300},
        Case{53, 20, 70, 300}, Case{53, 20, 200, 300}, Case{2500003, 1000003, 2, 4}}) {
    if (this->too_many(n)) continue;
    SCOPED_TRACE(testing::Message() << height << " x " << d);
    Random random(d);
    LazyAndDense<AdamTest<TypeParam>> tables(*this, height, n, d, steps, random);
    const size_t never = height - 1;        // the last row never has a gradient
    std::vector<uint32_t> expected(height);  // of the rows' last steps
    for (uint32_t t = 1; t <= steps; ++t) {
      // Few rows at a time, of which the upper half come back seldom.
      const auto rows = random.distinct_rows(n, t % 50 == 0 ? never : never / 2);
      const auto g = random.numbers<T>(n * d, random.below(4) == 0 ? 1e-5 : 1);
      tables.step(t, rows, g, t % 2 == 0);
      ASSERT_FALSE(this->HasFailure()) << "step " << t;
      for (int32_t row : rows)
        if (row >= 0) expected[static_cast<size_t>(row)] = steps;
    }
    tables.expect_same_after(steps);
    EXPECT_EQ(tables.last(), expected);
    EXPECT_EQ(expected[never], 0u);
    EXPECT_GE(tables.compared(), steps * n / 2);
  }
}

/// The released code's optimiser on the whole model: the parameters after 60 steps are those of the
/// textbook's Adam; tuned features, replayed lazily, have the bits of a dense Adam over all rows.
TYPED_TEST(AdamTest, ModelWithTunedFeatures) {
  using T = typename TypeParam::Real;
  constexpr size_t steps = 60;
  ModelCase c = random_case(1, 2, 11);
  c.n_items += 30;  // most features wait most of the time
  CaseOnDevice<T> at(*this->ops, c);
  const AdamConfig config{0.01, 0.9, 0.999, 1e-8};
  Adam<T> adam(*this->ops, at.model, config, steps);
  const auto schedule = this->device(this->schedule(steps));
  std::vector<double> p, m(at.model.values().size()), v(m.size());
  for (T x : at.model.values().host()) p.push_back(static_cast<double>(x));
  struct Dense {
    Array<T> p, m, v;
  };
  std::vector<Dense> dense;
  for (auto& e : at.model.modalities())
    dense.push_back({this->device(e.features.host()), Array<T>(*this->ops, e.features.size()),
                     Array<T>(*this->ops, e.features.size())});
  Random random(12);
  for (uint32_t t = 1; t <= steps; ++t) {
    for (auto& pair : c.batch) pair.item = random.below(static_cast<size_t>(c.n_items));
    at.batch = at.loader.load(c.batch.data(), c.batch.size());
    adam.begin_step(at.batch);
    at.step();
    adam.step(at.batch);
    const std::vector<T> g = at.model.gradients().host();
    for (size_t k = 0; k < p.size(); ++k) {
      const auto grad = static_cast<double>(g[k]), power = static_cast<double>(t);
      m[k] = 0.9 * m[k] + 0.1 * grad;
      v[k] = 0.999 * v[k] + 0.001 * grad * grad;
      const double m_hat = m[k] / (1 - std::pow(0.9, power));
      const double v_hat = v[k] / (1 - std::pow(0.999, power));
      p[k] -= 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
    const auto step = this->device(std::vector<uint32_t>{t});
    for (size_t k = 0; k < dense.size(); ++k) {
      const auto gradient = this->device(at.feature_gradient(k));
      this->ops->adam(dense[k].p.data(), dense[k].m.data(), dense[k].v.data(), gradient.data(),
                      this->constants, schedule.data(), step.data(), dense[k].p.size());
    }
  }
  // Where a gradient is no larger than rounding, Adam's quotient enlarges it: not rounding alone.
  const auto agreement = compare(at.model.values().host(), p, 1);
  EXPECT_TRUE(agreement.within(sizeof(T) == 8 ? 1e-12 : 1e-5)) << agreement;
  adam.catch_up();
  for (size_t k = 0; k < dense.size(); ++k)
    EXPECT_TRUE(this->same_bits(at.model.modalities()[k].features.host(), dense[k].p.host())) << k;
}

}  // namespace
}  // namespace bm3::test
