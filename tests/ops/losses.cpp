// Losses of pairs and triples [Eq. 8-11] and regulariser [Eq. 12]: each pass over rows against a
// plain loop.
// Outputs that are added to hold numbers before the call, those that are overwritten hold NaN.
#include "backends.h"
#include "compare.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 3> shapes[] = {  // n, targets, d
    {0, 1, 3},     {1, 1, 1},    {1, 3, 64},    {2, 2, 2},       {5, 4, 17},
    {64, 64, 64},  {63, 5, 100}, {130, 200, 3}, {257, 33, 31},   {2000, 900, 64},
    {70, 11, 300}, {30, 9, 1024}, {9, 1, 1},    {1000003, 70000, 2}};

template <class Backend>
class LossTest : public OnBackend<Backend> {
 protected:
  using Real = typename Backend::Real;
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
  static void expect_double(const std::vector<double>& computed, Sum expected, size_t count,
                            size_t n) {
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
  for (size_t c = 0; c < d; ++c) b.push_back(double{h[c]} * mask[c] * kept);
  Sum ab;
  double aa = 0, bb = 0;
  for (size_t c = 0; c < d; ++c) {
    ab += a[c] * b[c];
    aa += double{a[c]} * a[c];
    bb += b[c] * b[c];
  }
  const double norms = std::sqrt(aa) * std::sqrt(bb), below = std::max(norms, 1e-8);
  const auto product = static_cast<double>(ab.value);
  loss.add(mean * (1 - product / below), mean * (2 + ab.magnitude / below));
  const double scale = mean * weight;
  for (size_t c = 0; c < d; ++c) {
    d_a[c] += -scale * b[c] / below;
    if (norms > 1e-8)
      d_a[c].add(scale * product * a[c] / (norms * aa),
                 scale * ab.magnitude * std::abs(a[c]) / (norms * aa));
  }
}

/// One pass over 1 + C(a, sg(b)) and its gradient, b a view, also where the denominator is clamped.
/// [Eq. 5, 8-11]
TYPED_TEST(LossTest, CosineAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(1);
  const double mean = 0.37, weight = 1.5, before = 0.75;
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    for (bool own : {false, true}) {  // paired with the row of the same number
      const RandomPairs pairs(random, n, targets);
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
                   mask.data() + s * d, kept, mean, weight, d);
      });
      const auto [got_loss, got] = this->same_bytes([&] {
        const PairsOnDevice on(*this->ops, pairs);
        const auto on_h = this->device(h);
        const auto on_mask = this->device(mask);
        auto to = this->device(d_a);
        auto sum = this->loss(before);
        this->ops->cosine_loss(sum.data(), to.matrix(n, d), this->device(a).matrix(n, d),
                               View<T>{on_h.matrix(height, d), on_mask.data(), kept},
                               own ? on.own() : on.pairs(), mean, weight);
        return std::tuple(total(sum), to.host());
      });
      EXPECT_SUMS(got, gradient, pairs.most() + d + 4);
      this->expect_double(got_loss, loss, pairs.target.size(), d);
    }
  });
}

/// A row's gradient has the same bytes however many pairs its neighbour has.
TYPED_TEST(LossTest, CosinesOfARowDoNotDependOnOtherRows) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 4, d = 64;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    Random random(seed);
    const auto on_a = this->device(this->vectors(random, n, d));
    const auto on_h = this->device(this->vectors(random, n, d));
    const auto on_mask = this->device(random.mask(n * d));
    const auto gradient = [&](std::vector<int32_t> begin, std::vector<int32_t> target) {
      const auto on_begin = this->device(begin), on_target = this->device(target);
      auto d_a = this->device(std::vector<T>(2 * d));
      auto loss = this->loss(0);
      this->ops->cosine_loss(loss.data(), d_a.matrix(2, d), on_a.matrix(2, d),
                             View<T>{on_h.matrix(n, d), on_mask.data(), 2},
                             {2, on_begin.data(), on_target.data()}, 1, 1);
      auto out = d_a.host();
      out.resize(d);  // the first row
      return out;
    };
    EXPECT_EQ(gradient({0, 1, 2}, {3, 1}), gradient({0, 1, 7}, {3, 1, 2, 0, 3, 1, 2}));
  }
}

/// A score difference x = u . (p - n) of long vectors, and l(x), l'(x) with the errors that the
/// rounding of x leaves in them: |l'| <= 1 and |l''| <= 2 |l'|.
struct PlainTriple {
  Sum x, loss, slope;
  template <class T>
  PlainTriple(const T* u, const T* p, const T* n, size_t d, PairForm form) {
    for (size_t k = 0; k < d; ++k) {
      x += double{u[k]} * p[k];
      x += -double{u[k]} * n[k];
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
  const double mean = 0.37, weight = 1.5, before = 0.75;
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    for (PairForm form : {PairForm::epsilon, PairForm::plain}) {
      const RandomPairs pairs(random, n, targets);
      auto u = this->vectors(random, n, d);
      for (size_t k = 0; k < u.size(); ++k) u[k] *= k / d % 5 == 1 ? T(40) : T(1);
      const auto i = this->vectors(random, targets, d);
      auto negative = random.indices(pairs.target.size(), targets);
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
        const auto slope = weight * mean * static_cast<double>(triple.slope.value);
        const double about = weight * mean * triple.slope.magnitude;
        c.push_back(Sum().add(slope, about));
        for (size_t k = 0; k < d; ++k) {
          const double a = p[k], b = q[k];
          gradient[r * d + k].add(slope * (a - b), about * (std::abs(a) + std::abs(b)));
        }
      });
      const auto [got_loss, got_x, got_c, got] = this->same_bytes([&] {
        const PairsOnDevice on(*this->ops, pairs);
        const auto on_negative = this->device(negative);
        auto to_x = this->garbage(e), to_c = this->garbage(e), to = this->device(d_u);
        auto sum = this->loss(before);
        this->ops->pair_loss(sum.data(), to_x.matrix(e, 1), to_c.matrix(e, 1), to.matrix(n, d),
                             this->device(u).matrix(n, d), this->device(i).matrix(targets, d),
                             {on.pairs(), on_negative.data()}, form, mean, weight);
        return std::tuple(total(sum), to_x.host(), to_c.host(), to.host());
      });
      EXPECT_SUMS(got_x, x, 2 * d);
      EXPECT_SUMS(got_c, c, 2 * d);
      EXPECT_SUMS(got, gradient, 2 * d + pairs.most());
      this->expect_double(got_loss, loss, e, 2 * d);
    }
  });
}

/// y = b z + scale * sum of w_edge x_target, where z is y or a matrix of its own; without b neither
/// z nor the old y is read.
TYPED_TEST(LossTest, WeightedRowsArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    for (double scale : {1.0, -1.0, 0.3}) {
      const RandomPairs pairs(random, n, targets);
      const auto w = random.numbers<T>(pairs.target.size()), x = this->vectors(random, targets, d);
      const double b = 0.5 * static_cast<double>(random.below(3));
      const bool in_place = b != 0 && random.below(2);
      const auto z = random.numbers<T>(n * d);
      const std::vector<T> unread(n * d, std::numeric_limits<T>::quiet_NaN());
      std::vector<Sum> sums(n * d);
      for (size_t k = 0; k < n * d; ++k) sums[k] += b * z[k];
      pairs.for_each([&](size_t r, size_t target, size_t edge) {
        for (size_t k = 0; k < d; ++k) sums[r * d + k] += scale * w[edge] * x[target * d + k];
      });
      const auto got = this->output(n, d, in_place ? z : unread, [&](Matrix<T> to) {
        const PairsOnDevice on(*this->ops, pairs);
        const auto from = this->device(b == 0 ? unread : z);
        this->ops->add_weighted(to, b, in_place ? to : from.matrix(n, d),
                                this->device(w).matrix(w.size(), 1),
                                this->device(x).matrix(targets, d), on.pairs(), scale);
      });
      EXPECT_SUMS(got, sums, pairs.most());
    }
  });
}

/// |x|_F or |x|_F^2 over a batch's pairs, or each row once, and x/|x|_F or 2 x, which is added;
/// or |x|_F of a whole table, whose gradient is written, in place too; 0 where x is 0. [Eq. 12]
TYPED_TEST(LossTest, PenaltyAndItsGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(4);
  const double mean = 0.21, scale = 0.7, before = 1.5;
  enum Kind { norm_of_batch, squared, norm_of_rows, squared_rows, norm_of_table };
  this->for_each(shapes, [&](size_t n, size_t targets, size_t d) {
    for (Kind kind : {norm_of_batch, squared, norm_of_rows, squared_rows, norm_of_table})
      for (bool zero : {false, true}) {
        const bool table = kind == norm_of_table;
        const bool square = kind == squared || kind == squared_rows;
        const bool once = table || kind == norm_of_rows || kind == squared_rows;
        const RegForm form = square ? RegForm::squared : RegForm::norm;
        const RandomPairs pairs(random, n, targets);
        const auto x = zero ? std::vector<T>(n * d) : this->vectors(random, n, d);
        const auto d_x = random.numbers<T>(n * d);
        const auto weight = [&](size_t k) {
          return double{x[k]} * (once ? 1 : pairs.count(k / d));
        };
        double squares = 0;
        for (size_t k = 0; k < n * d; ++k) squares += weight(k) * x[k];
        Sum norm, loss;
        norm += std::sqrt(squares);
        loss += before;
        loss += mean * (square ? squares : std::sqrt(squares));
        const auto [got_loss, got_norm, got, in_place] = this->same_bytes([&] {
          const PairsOnDevice on(*this->ops, pairs);
          auto sum = this->loss(before);
          auto root = this->device(std::vector<double>{std::nan("")});
          auto on_x = this->device(x), to = table ? this->garbage(n * d) : this->device(d_x);
          const Matrix<T> at = on_x.matrix(n, d), d_at = to.matrix(n, d);
          if (table) {
            this->ops->norm_forward(sum.data(), root.data(), at, mean);
            this->ops->norm_backward(d_at, root.data(), at, scale);
            this->ops->norm_backward(at, root.data(), at, scale);
          } else {
            const Pairs all = once ? Pairs{n} : on.pairs(), own = once ? Pairs{n} : on.own();
            this->ops->penalty_forward(sum.data(), root.data(), at, all, form, mean);
            this->ops->penalty_backward(d_at, root.data(), at, own, form, scale);
          }
          return std::tuple(total(sum), root.host(), to.host(), on_x.host());
        });
        this->expect_double(got_norm, norm, n * d, table ? n * d : d);
        this->expect_double(got_loss, loss, n * d, table ? n * d : d);
        std::vector<Sum> gradient = sums_from(table ? std::vector<T>(n * d) : d_x);
        for (size_t k = 0; k < n * d && got_norm[0] > 0; ++k)
          gradient[k] += scale * weight(k) * (square ? 2 : 1 / got_norm[0]);
        EXPECT_SUMS(got, gradient, 2);
        if (table) {
          EXPECT_SAME(in_place, got);
        }
      }
  });
}

}  // namespace
}  // namespace bm3::test
