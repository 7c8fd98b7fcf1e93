// Losses of pairs and triples [Eq. 8-11] and regulariser [Eq. 12]: each pass over rows against a
// plain loop.
// Outputs that are added to hold numbers before the call, those that are overwritten hold NaN.
#include "backends.h"
#include "random_pairs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t n, targets, d;
};
constexpr Shape shapes[] = {{0, 1, 3},     {1, 1, 1},       {1, 3, 64},     {2, 2, 2},
                            {5, 4, 17},    {64, 64, 64},    {63, 5, 100},   {130, 200, 3},
                            {257, 33, 31}, {2000, 900, 64}, {70, 11, 300},  {30, 9, 1024},
                            {9, 1, 1},     {1000003, 70000, 2}};

template <class Backend>
class LossTest : public OnBackend<Backend> {
 protected:
  using Real = typename Backend::Real;
  /// Calls check(n, targets, d) for every shape that the backend can do.
  template <class Check>
  void for_each_shape(const Check& check) {
    for (const auto& [n, targets, d] : shapes) {
      if (this->too_many(n)) continue;
      SCOPED_TRACE(testing::Message() << n << " rows, " << targets << " targets, d = " << d);
      check(n, targets, d);
    }
  }
  /// n rows, some of them zero, some so short that the denominator of a cosine is clamped.
  static std::vector<Real> vectors(Random& random, size_t n, size_t d) {
    std::vector<Real> x = random.numbers<Real>(n * d);
    for (size_t r = 0; r < n; ++r) {
      const int32_t kind = random.below(8);
      for (size_t c = 0; c < d && kind < 3; ++c) x[r * d + c] *= kind == 0 ? Real(0) : Real(1e-6);
    }
    return x;
  }
  /// A sum in double precision of `count` terms, each of n roundings in the precision under test.
  static void expect_double(const Array<double>& computed, Sum expected, size_t count, size_t n) {
    expected.magnitude *= 1 + rounding<Real>(n) / rounding<double>(count);
    EXPECT_SUMS(computed, std::vector<Sum>{expected}, count);
  }
};
TYPED_TEST_SUITE(LossTest, Backends, BackendName);

/// loss += mean (1 + C(a, b)) for one pair with the target b = h * mask * kept, and d_a [d] +=
/// weight times its gradient. [Eq. 5, 8]
template <class T>
void add_cosine(Sum& loss, Sum* d_a, const T* a, const T* h, const uint8_t* mask, double kept,
                double mean, double weight, size_t d) {
  std::vector<double> b;
  for (size_t c = 0; c < d; ++c) b.push_back(static_cast<double>(h[c]) * mask[c] * kept);
  Sum ab;
  double aa = 0, bb = 0;
  for (size_t c = 0; c < d; ++c) {
    const auto x = static_cast<double>(a[c]), y = b[c];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  const double norms = std::sqrt(aa) * std::sqrt(bb), below = std::max(norms, 1e-8);
  const auto product = static_cast<double>(ab.value);
  loss.add(mean * (1 - product / below), mean * (2 + ab.magnitude / below));
  const double scale = mean * weight;
  for (size_t c = 0; c < d; ++c) {
    const auto x = static_cast<double>(a[c]), y = b[c];
    d_a[c] += -scale * y / below;
    if (norms > 1e-8)
      d_a[c].add(scale * product * x / (norms * aa),
                 scale * ab.magnitude * std::abs(x) / (norms * aa));
  }
}

/// One pass over 1 + C(a, sg(b)) and its gradient, b a view, also where the denominator is clamped.
/// [Eq. 5, 8-11]
TYPED_TEST(LossTest, CosineAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(1);
  const double mean = 0.37, weight = 1.5, before = 0.75;
  this->for_each_shape([&](size_t n, size_t targets, size_t d) {
    for (bool own : {false, true}) {  // paired with the row of the same number
      const RandomPairs pairs(*this->ops, random, n, targets);
      const size_t height = own ? n : targets;
      const auto a = this->vectors(random, n, d), h = this->vectors(random, height, d);
      const auto mask = random.mask(h.size());
      const T kept = T(1.75);
      const auto d_a = random.numbers<T>(n * d);
      Sum loss;
      loss += before;
      std::vector<Sum> gradient = sums_from(d_a);
      pairs.for_each([&](size_t r, size_t target, size_t) {
        const size_t s = own ? r : target;
        add_cosine(loss, gradient.data() + r * d, a.data() + r * d, h.data() + s * d,
                   mask.data() + s * d, static_cast<double>(kept), mean, weight, d);
      });
      const auto on_a = this->device(a), on_h = this->device(h);
      const auto on_mask = this->device(mask);
      auto got = this->device(d_a);
      auto got_loss = this->device(std::vector<double>{before});
      this->ops->cosine_loss(got_loss.data(), got.matrix(n, d), on_a.matrix(n, d),
                             View<T>{on_h.matrix(height, d), on_mask.data(), kept},
                             own ? pairs.own() : pairs.pairs(), mean, weight);
      EXPECT_SUMS(got, gradient, pairs.most() + d + 4);
      this->expect_double(got_loss, loss, pairs.size(), d);
    }
  });
}

/// A score difference x = u . (p - n) of long vectors, and l(x), l'(x) with the errors that the
/// rounding of x leaves in them: |l'| <= 1 and |l''| <= 2 |l'|.
struct PlainTriple {
  Sum x, loss, slope;
  template <class T>
  PlainTriple(const T* u, const T* p, const T* n, size_t d, PairForm form) {
    for (size_t k = 0; k < d; ++k) {
      x += static_cast<double>(u[k]) * static_cast<double>(p[k]);
      x += -static_cast<double>(u[k]) * static_cast<double>(n[k]);
    }
    const auto at = static_cast<double>(x.value);
    const double s = 1 / (1 + std::exp(-at)), rest = 1 / (1 + std::exp(at));
    const double guard = form == PairForm::epsilon ? 1e-10 : 0;
    const double value = form == PairForm::epsilon ? -std::log(guard + s)
                         : at > 0                  ? std::log1p(std::exp(-at))
                                                   : std::log1p(std::exp(at)) - at;
    const double l_x = form == PairForm::epsilon ? -s * rest / (guard + s) : -rest;
    constexpr double underflow = 1e-20;
    loss.add(value, 1 + std::abs(value) + std::abs(l_x) * x.magnitude);
    slope.add(l_x, std::abs(l_x) * (1 + 2 * x.magnitude) + underflow);
  }
};

/// BPR's loss, its x, c = dL/dx and the users' gradient in both forms, for x from 0 to hundreds. An
/// item may be positive and negative at once.
TYPED_TEST(LossTest, PairLossAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(2);
  const double mean = 0.37, before = 0.75;
  this->for_each_shape([&](size_t n, size_t targets, size_t d) {
    for (PairForm form : {PairForm::epsilon, PairForm::plain}) {
      const RandomPairs pairs(*this->ops, random, n, targets);
      auto u = this->vectors(random, n, d);
      for (size_t k = 0; k < u.size(); ++k) u[k] *= k / d % 5 == 1 ? T(40) : T(1);
      const auto i = this->vectors(random, targets, d);
      auto negative = random.indices(pairs.size(), targets);
      if (!negative.empty()) negative[0] = pairs.target[0];
      const auto d_u = random.numbers<T>(n * d);
      Sum loss;
      loss += before;
      std::vector<Sum> x, c, gradient = sums_from(d_u);
      size_t e = 0;
      pairs.for_each([&](size_t r, size_t target, size_t) {
        const T *p = i.data() + target * d;
        const T *q = i.data() + static_cast<size_t>(negative[e++]) * d;
        const PlainTriple triple(u.data() + r * d, p, q, d, form);
        x.push_back(triple.x);
        loss.add(mean * static_cast<double>(triple.loss.value), mean * triple.loss.magnitude);
        const auto slope = mean * static_cast<double>(triple.slope.value);
        const double about = mean * triple.slope.magnitude;
        c.push_back(Sum().add(slope, about));
        for (size_t k = 0; k < d; ++k) {
          const auto a = static_cast<double>(p[k]), b = static_cast<double>(q[k]);
          gradient[r * d + k].add(slope * (a - b), about * (std::abs(a) + std::abs(b)));
        }
      });
      const auto on_u = this->device(u), on_i = this->device(i);
      const auto on_negative = this->device(negative);
      auto got_x = this->garbage(e), got_c = this->garbage(e), got = this->device(d_u);
      auto got_loss = this->device(std::vector<double>{before});
      this->ops->pair_loss(got_loss.data(), got_x.matrix(e, 1), got_c.matrix(e, 1),
                           got.matrix(n, d), on_u.matrix(n, d), on_i.matrix(targets, d),
                           {pairs.pairs(), on_negative.data()}, form, mean);
      EXPECT_SUMS(got_x, x, 2 * d);
      EXPECT_SUMS(got_c, c, 2 * d);
      EXPECT_SUMS(got, gradient, 2 * d + pairs.most());
      this->expect_double(got_loss, loss, e, 2 * d);
    }
  });
}

/// y += scale * sum of w_edge x_target
TYPED_TEST(LossTest, WeightedRowsArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each_shape([&](size_t n, size_t targets, size_t d) {
    for (double scale : {1.0, -1.0, 0.3}) {
      const RandomPairs pairs(*this->ops, random, n, targets);
      const auto w = random.numbers<T>(pairs.size()), x = this->vectors(random, targets, d);
      const auto y = random.numbers<T>(n * d);
      std::vector<Sum> sums = sums_from(y);
      pairs.for_each([&](size_t r, size_t target, size_t edge) {
        for (size_t k = 0; k < d; ++k)
          sums[r * d + k] += scale * static_cast<double>(w[edge]) *
                             static_cast<double>(x[target * d + k]);
      });
      auto got = this->device(y);
      this->ops->add_weighted(got.matrix(n, d), this->device(w).matrix(pairs.size(), 1),
                              this->device(x).matrix(targets, d), pairs.pairs(), scale);
      EXPECT_SUMS(got, sums, pairs.most());
    }
  });
}

/// |x|_F or |x|_F^2 over the batch's pairs, and x/|x|_F or 2 x; 0 where x is 0. [Eq. 12]
TYPED_TEST(LossTest, PenaltyAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(4);
  const double mean = 0.21, scale = 0.7, before = 1.5;
  this->for_each_shape([&](size_t n, size_t targets, size_t d) {
    for (RegForm form : {RegForm::norm, RegForm::squared})
      for (bool zero : {false, true}) {
        const RandomPairs pairs(*this->ops, random, n, targets);
        const auto x = zero ? std::vector<T>(n * d) : this->vectors(random, n, d);
        const auto d_x = random.numbers<T>(n * d);
        double squares = 0;
        for (size_t k = 0; k < n * d; ++k)
          squares += pairs.count(k / d) * static_cast<double>(x[k]) * static_cast<double>(x[k]);
        Sum norm, loss;
        norm += std::sqrt(squares);
        loss += before;
        loss += mean * (form == RegForm::norm ? std::sqrt(squares) : squares);
        const auto on_x = this->device(x);
        auto got_loss = this->device(std::vector<double>{before});
        auto got_norm = this->device(std::vector<double>{std::nan("")});
        this->ops->penalty_forward(got_loss.data(), got_norm.data(), on_x.matrix(n, d),
                                   pairs.pairs(), form, mean);
        this->expect_double(got_norm, norm, n * d, d);
        this->expect_double(got_loss, loss, n * d, d);

        const double computed = got_norm.host()[0];
        std::vector<Sum> gradient = sums_from(d_x);
        for (size_t k = 0; k < n * d && computed > 0; ++k)
          gradient[k] += pairs.count(k / d) * scale * static_cast<double>(x[k]) *
                         (form == RegForm::norm ? 1 / computed : 2);
        auto got = this->device(d_x);
        this->ops->penalty_backward(got.matrix(n, d), got_norm.data(), on_x.matrix(n, d),
                                    pairs.own(), form, scale);
        EXPECT_SUMS(got, gradient, 2);
      }
  });
}

/// |x|_F and x/|x|_F, in place too, 0 for x = 0: the norm regulariser. [Eq. 12]
TYPED_TEST(LossTest, NormAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(5);
  const double scale = 0.13, before = 2.25;
  for (size_t n : {0, 1, 2, 63, 4096, 4097, 20001, 1000003})
    for (double size : {1.0, 0.0}) {
      SCOPED_TRACE(testing::Message() << n << " values up to " << size);
      const auto x = random.numbers<T>(n, size);
      double squares = 0;
      for (T value : x) squares += static_cast<double>(value) * static_cast<double>(value);
      Sum norm, loss;
      norm += std::sqrt(squares);
      loss += before;
      loss += scale * std::sqrt(squares);
      auto on_x = this->device(x);
      auto got_loss = this->device(std::vector<double>{before});
      auto got_norm = this->device(std::vector<double>{std::nan("")});
      this->ops->norm_forward(got_loss.data(), got_norm.data(), on_x.matrix(1, n), scale);
      this->expect_double(got_norm, norm, n, n);
      this->expect_double(got_loss, loss, n, n);

      std::vector<Sum> gradient(n);
      const double computed = got_norm.host()[0];
      for (size_t k = 0; k < n && computed > 0; ++k)
        gradient[k] += scale * static_cast<double>(x[k]) / computed;
      auto got = this->garbage(n);
      this->ops->norm_backward(got.matrix(1, n), got_norm.data(), on_x.matrix(1, n), scale);
      EXPECT_SUMS(got, gradient, 2);
      this->ops->norm_backward(on_x.matrix(1, n), got_norm.data(), on_x.matrix(1, n), scale);
      EXPECT_SAME(on_x.host(), got.host());
    }
}

}  // namespace
}  // namespace bm3::test
