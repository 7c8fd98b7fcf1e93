// Rows and entries of matrices, forward and backward, each against a plain loop, and the masks of
// views [Eq. 5], bit for bit. Outputs that are overwritten hold NaN before the call.
#include "backends.h"
#include "ops/scalar.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 2> shapes[] = {  // n, d
    {0, 3},    {1, 1},   {1, 64},   {2, 2},     {5, 17},   {64, 64},
    {63, 100}, {130, 3}, {257, 17}, {1000, 64}, {33, 300}, {1000003, 3}};

template <class Backend>
class RowsTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(RowsTest, Backends, BackendName);

/// Some columns of y are some of x's; the others stay.
TYPED_TEST(RowsTest, CopiedColumnsAreCopies) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each(shapes, [&](size_t rows, size_t n) {
    for (const auto& [to, from] : {std::pair<size_t, size_t>{0, 0}, {2, 0}, {0, 3}, {n, 1}}) {
      const size_t of_y = to + n + 1, of_x = from + n + 2;
      const auto x = random.numbers<T>(rows * of_x), before = random.numbers<T>(rows * of_y);
      std::vector<T> expected = before;
      for (size_t k = 0; k < rows * n; ++k)
        expected[k / n * of_y + to + k % n] = x[k / n * of_x + from + k % n];
      const auto y = this->output(rows, of_y, before, [&, to = to, from = from](Matrix<T> on_y) {
        this->ops->copy_columns(on_y, to, this->device(x).matrix(rows, of_x), from, n);
      });
      EXPECT_SAME(y, expected);
    }
  });
}

/// y = b y + a x; b = 0 leaves y unread.
TYPED_TEST(RowsTest, AddedMatricesArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(2);
  this->for_each(shapes, [&](size_t n, size_t d) {
    for (const auto& [b, a] : {std::pair{0.0, 0.7}, {1.0, -1.5}, {0.995, 0.005}}) {
      const auto x = random.numbers<T>(n * d), before = random.numbers<T>(n * d);
      std::vector<Sum> sums(n * d);
      for (size_t k = 0; k < n * d; ++k) {
        sums[k] += double{static_cast<T>(a)} * x[k];
        sums[k] += double{static_cast<T>(b)} * before[k];
      }
      const auto start = b == 0 ? std::vector<T>{} : before;
      const auto y = this->output(n, d, start, [&, b = b, a = a](Matrix<T> on_y) {
        this->ops->add(on_y, b, this->device(x).matrix(n, d), a);
      });
      EXPECT_SUMS(y, sums, 2);
    }
  });
}

/// y = x or 0.01 x by x's sign, and d_x = d_y or 0.01 d_y by y's; 0 counts as negative. In place,
/// too.
TYPED_TEST(RowsTest, LeakyReluIsAProductWithItsSlope) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each(shapes, [&](size_t n, size_t d) {
    auto x = random.numbers<T>(n * d);
    for (size_t k = 0; k < n * d; k += 7) x[k] = 0;
    const auto d_y = random.numbers<T>(n * d);
    std::vector<T> y, d_x;
    for (size_t k = 0; k < n * d; ++k) {
      y.push_back(x[k] > 0 ? x[k] : x[k] * T(0.01));
      d_x.push_back(x[k] > 0 ? d_y[k] : d_y[k] * T(0.01));
    }
    const auto [got, in_place, got_d, d_in_place] = this->same_bytes([&] {
      auto on_x = this->device(x), on_d = this->device(d_y), to = this->garbage(n * d);
      auto to_d = this->garbage(n * d);
      this->ops->leaky_relu_forward(to.matrix(n, d), on_x.matrix(n, d));
      this->ops->leaky_relu_forward(on_x.matrix(n, d), on_x.matrix(n, d));
      this->ops->leaky_relu_backward(to_d.matrix(n, d), on_d.matrix(n, d), to.matrix(n, d));
      this->ops->leaky_relu_backward(on_d.matrix(n, d), on_d.matrix(n, d), to.matrix(n, d));
      return std::tuple(to.host(), on_x.host(), to_d.host(), on_d.host());
    });
    EXPECT_SAME(got, y);
    EXPECT_SAME(in_place, y);
    EXPECT_SAME(got_d, d_x);
    EXPECT_SAME(d_in_place, d_x);
  });
}

/// y = x / max(|x|, 1e-12) and its gradient, for rows of any length, 0 included; the gradient in
/// place, too.
TYPED_TEST(RowsTest, NormalisedRowsAndTheirGradientArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(4);
  this->for_each(shapes, [&](size_t n, size_t d) {
    auto x = random.numbers<T>(n * d);
    const auto d_y = random.numbers<T>(n * d);
    for (size_t k = 0; k < n * d; ++k)
      x[k] *= k / d % 5 == 1 ? T(1e-15) : k / d % 5 == 2 ? T(0) : k / d % 5 == 3 ? T(30) : T(1);
    std::vector<Sum> y(n * d), d_x(n * d);
    for (size_t r = 0; r < n; ++r) {
      double xx = 0;
      Sum xd;
      for (size_t c = r * d; c < r * d + d; ++c) {
        xx += double{x[c]} * x[c];
        xd += double{x[c]} * d_y[c];
      }
      const double length = std::max(std::sqrt(xx), 1e-12);
      for (size_t c = r * d; c < r * d + d; ++c) {
        const double at = x[c];
        y[c] += at / length;
        d_x[c] += d_y[c] / length;
        if (length > 1e-12)
          d_x[c].add(-at / length * static_cast<double>(xd.value) / length / length,
                     std::abs(at) / length * xd.magnitude / length / length);
      }
    }
    const auto [got, got_d, in_place] = this->same_bytes([&] {
      const auto on_x = this->device(x);
      auto on_d = this->device(d_y), to = this->garbage(n * d), to_d = this->garbage(n * d);
      this->ops->normalise_forward(to.matrix(n, d), on_x.matrix(n, d));
      this->ops->normalise_backward(to_d.matrix(n, d), on_d.matrix(n, d), on_x.matrix(n, d));
      this->ops->normalise_backward(on_d.matrix(n, d), on_d.matrix(n, d), on_x.matrix(n, d));
      return std::tuple(to.host(), to_d.host(), on_d.host());
    });
    EXPECT_SUMS(got, y, d);
    EXPECT_SUMS(got_d, d_x, d);
    EXPECT_SAME(in_place, got_d);
  });
}

template <class Backend>
class ViewTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(ViewTest, Backends, BackendName);

/// y = x[rows]; without row numbers, a copy.
TYPED_TEST(ViewTest, GatheredRowsAreCopies) {
  using T = typename TypeParam::Real;
  Random random(4);
  this->for_each(shapes, [&](size_t n, size_t d) {
    const size_t height = n / 2 + 1;
    const auto x = random.numbers<T>(height * d);
    const auto rows = random.padded_rows(n, height);
    std::vector<T> expected(n * d);
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c)
        expected[r * d + c] = x[static_cast<size_t>(rows[r]) * d + c];
    const auto [y, copy] = this->same_bytes([&] {
      const auto on_x = this->device(x);
      auto of_rows = this->garbage(n * d), of_all = this->garbage(height * d);
      this->ops->gather_rows(of_rows.matrix(n, d), on_x.matrix(height, d),
                             this->device(rows).rows());
      this->ops->gather_rows(of_all.matrix(height, d), on_x.matrix(height, d), {nullptr, height});
      return std::tuple(of_rows.host(), of_all.host());
    });
    EXPECT_SAME(y, expected);
    EXPECT_SAME(copy, x);
  });
}

/// y[rows] += x
TYPED_TEST(ViewTest, ScatteredRowsAreAdded) {
  using T = typename TypeParam::Real;
  Random random(5);
  this->for_each(shapes, [&](size_t n, size_t d) {
    const size_t height = n + n / 2 + 1;
    const auto x = random.numbers<T>(n * d), before = random.numbers<T>(height * d);
    const auto rows = random.distinct_rows(n, height);
    std::vector<T> sums = before;
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c)
        sums[static_cast<size_t>(rows[r]) * d + c] += x[r * d + c];
    const auto y = this->output(height, d, before, [&](Matrix<T> to) {
      this->ops->scatter_add_rows(to, this->device(x).matrix(n, d), this->device(rows).rows());
    });
    EXPECT_SAME(y, sums);
  });
}

/// The mask of Eq. 5 is Philox against p, on every device the same: seed, stream, step, row and
/// column decide alone. Row numbers stay below 2^30: cuRAND counts words, not blocks, in 64 bits,
/// so that larger ones differ on a GPU. [Eq. 5]
TYPED_TEST(ViewTest, MaskIsPhiloxByRowAndColumn) {
  Random random(6);
  const uint32_t stream = 257, step = 40;
  this->for_each(shapes, [&](size_t n, size_t d) {
    for (double p : {0.0, 0.3, 0.5, 0.999}) {
      const uint64_t seed = 0x123456789abcdef0u + n;
      const auto rows = random.padded_rows(n, 0x3fffffff);
      const auto [mask] = this->same_bytes([&] {
        auto drawn = this->device(std::vector<uint8_t>(n * d, 99));
        const auto now = this->device(std::vector<uint32_t>{step});
        this->ops->draw_mask(drawn.matrix(n, d), this->device(rows).rows(), p,
                             {seed, stream, now.data()});
        return std::tuple(drawn.host());
      });
      std::vector<uint8_t> expected = mask;  // any 0 or 1 in the rows of padding
      for (size_t k = 0; k < n * d; ++k) {
        const size_t column = k % d;
        const Random4 words =
            philox(seed, stream, step, mask_block(rows[k / d], static_cast<int64_t>(column / 4)));
        if (rows[k / d] >= 0 || mask[k] > 1)
          expected[k] = words.x[column % 4] / 4294967296.0 >= p;
      }
      EXPECT_SAME(mask, expected) << "p = " << p;
    }
  });
}

}  // namespace
}  // namespace bm3::test
