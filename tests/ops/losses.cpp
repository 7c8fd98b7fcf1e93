// Losses and regulariser [Eq. 8-12]: each pass over rows against a plain loop.
// Outputs that are added to hold numbers before the call, those that are overwritten hold NaN.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t n, targets, d;
};
constexpr Shape shapes[] = {{0, 1, 3},   {1, 1, 1},     {1, 3, 64},    {2, 2, 2},
                            {5, 4, 17},  {64, 64, 64},  {63, 5, 100},  {130, 200, 3},
                            {257, 33, 31}, {2000, 900, 64}, {30, 9, 1024}, {1000003, 70000, 2}};

/// Segments of 0 to 4 pairs a row, with targets below `targets`.
struct HostPairs {
  std::vector<int32_t> begin = {0}, target;
  HostPairs(Random& random, size_t n, size_t targets) {
    for (size_t r = 0; r < n; ++r) {
      begin.push_back(begin.back() + random.below(5));
      while (target.size() < static_cast<size_t>(begin.back()))
        target.push_back(random.below(targets));
    }
  }
  int32_t count(size_t r) const { return begin[r + 1] - begin[r]; }
};

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
  static void expect_double(const Array<double>& computed, Sum expected, size_t count, size_t n) {
    expected.magnitude *= 1 + rounding<Real>(n) / rounding<double>(count);
    EXPECT_SUMS(computed, std::vector<Sum>{expected}, count);
  }
};
TYPED_TEST_SUITE(LossTest, Backends, BackendName);

/// loss += scale (1 + C(a, b)) for one pair with the target b = h * mask * kept, and d_a [d] += its
/// gradient. [Eq. 5, 8]
template <class T>
void add_cosine(Sum& loss, Sum* d_a, const T* a, const T* h, const uint8_t* mask, double kept,
                double scale, size_t d) {
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
  loss.add(scale * (1 - product / below), scale * (2 + ab.magnitude / below));
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
TYPED_TEST(LossTest, CosineAndGradient) {
  using T = typename TypeParam::Real;
  Random random(1);
  const double scale = 0.37, before = 0.75;
  for (const auto [n, targets, d] : shapes)
    for (bool own : {false, true}) {  // paired with the row of the same number
      if (this->too_many(n)) continue;
      SCOPED_TRACE(testing::Message() << n << " x " << d << (own ? ", own rows" : ""));
      const HostPairs pairs(random, n, targets);
      const size_t n_pairs = pairs.target.size();
      const auto a = this->vectors(random, n, d), h = this->vectors(random, own ? n : targets, d);
      const auto mask = random.mask(h.size());
      const T kept = T(1.75);
      const auto d_a = random.numbers<T>(n * d);
      Sum loss;
      loss += before;
      std::vector<Sum> gradient(n * d);
      for (size_t k = 0; k < n * d; ++k) gradient[k] += static_cast<double>(d_a[k]);
      for (size_t r = 0; r < n; ++r)
        for (int32_t k = pairs.begin[r]; k < pairs.begin[r + 1]; ++k) {
          const size_t s = own ? r : static_cast<size_t>(pairs.target[static_cast<size_t>(k)]);
          add_cosine(loss, gradient.data() + r * d, a.data() + r * d, h.data() + s * d,
                     mask.data() + s * d, static_cast<double>(kept), scale, d);
        }
      const auto on_a = this->device(a), on_h = this->device(h);
      const auto on_mask = this->device(mask);
      const View<T> b{on_h.data(), on_mask.data(), kept};
      const auto begin = this->device(pairs.begin), target = this->device(pairs.target);
      const Pairs on_pairs{n, begin.data(), own ? nullptr : target.data()};
      auto got = this->device(d_a);
      auto got_loss = this->device(std::vector<double>{before});
      this->ops->cosine_loss(got_loss.data(), got.data(), on_a.data(), b, on_pairs, scale, d);
      EXPECT_SUMS(got, gradient, d + 4);
      this->expect_double(got_loss, loss, n_pairs, d);
      auto loss_only = this->device(std::vector<double>{before});
      this->ops->cosine_loss(loss_only.data(), nullptr, on_a.data(), b, on_pairs, scale, d);
      this->expect_double(loss_only, loss, n_pairs, d);
    }
}

/// |x|^2 over the batch's pairs, and 2 x: the squared regulariser. [Eq. 12]
TYPED_TEST(LossTest, SquaredAndGradient) {
  using T = typename TypeParam::Real;
  Random random(2);
  const double scale = 0.21, before = 1.5;
  for (const auto [n, targets, d] : shapes) {
    if (this->too_many(n)) continue;
    SCOPED_TRACE(testing::Message() << n << " x " << d);
    const HostPairs pairs(random, n, targets);
    const auto x = this->vectors(random, n, d), d_x = random.numbers<T>(n * d);
    Sum loss;
    loss += before;
    std::vector<Sum> gradient(n * d);
    for (size_t k = 0; k < n * d; ++k) {
      const auto at = static_cast<double>(x[k]);
      loss += scale * pairs.count(k / d) * at * at;
      gradient[k] += static_cast<double>(d_x[k]);
      gradient[k] += 2 * scale * pairs.count(k / d) * at;
    }
    const auto on_x = this->device(x);
    const auto begin = this->device(pairs.begin), target = this->device(pairs.target);
    const Pairs on_pairs{n, begin.data(), target.data()};
    auto got_loss = this->device(std::vector<double>{before});
    this->ops->squared_forward(got_loss.data(), on_x.data(), on_pairs, scale, d);
    this->expect_double(got_loss, loss, n * d, d);
    auto got = this->device(d_x);
    this->ops->squared_backward(got.data(), on_x.data(), on_pairs, scale, d);
    EXPECT_SUMS(got, gradient, 2);
  }
}

/// |x|_F and x/|x|_F, in place too, 0 for x = 0: the norm regulariser. [Eq. 12]
TYPED_TEST(LossTest, NormAndGradient) {
  using T = typename TypeParam::Real;
  Random random(3);
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
      auto got_norm = this->device(
          std::vector<double>{std::numeric_limits<double>::quiet_NaN()});
      this->ops->norm_forward(got_loss.data(), got_norm.data(), on_x.data(), scale, n);
      this->expect_double(got_norm, norm, n, n);
      this->expect_double(got_loss, loss, n, n);

      std::vector<Sum> gradient(n);
      const double computed = got_norm.host()[0];
      for (size_t k = 0; k < n && computed > 0; ++k)
        gradient[k] += scale * static_cast<double>(x[k]) / computed;
      auto got = this->garbage(n);
      this->ops->norm_backward(got.data(), got_norm.data(), on_x.data(), scale, n);
      EXPECT_SUMS(got, gradient, 2);
      this->ops->norm_backward(on_x.data(), got_norm.data(), on_x.data(), scale, n);
      EXPECT_EQ(on_x.host(), got.host());
    }
}

}  // namespace
}  // namespace bm3::test
