// Linear layers [Eq. 1, 6], rows and entries of matrices, against plain loops, and the masks of
// views [Eq. 5], bit for bit. Outputs that are overwritten hold NaN before the call.
#include "backends.h"
#include "compare.h"
#include "ops/scalar.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 3> of_layers[] = {  // n, in, out
    {0, 3, 2},     {1, 1, 1},      {1, 17, 3},     {5, 2, 600},  {63, 100, 17},  {64, 64, 64},
    {129, 300, 5}, {2051, 64, 64}, {300, 700, 33}, {20, 4096, 2}, {31, 1100, 48},
    {1000003, 3, 2}};

/// What both passes read, x[rows] where x is `gathered`, and their results as plain sums. All
/// numbers may be whole.
template <class T>
struct Case {
  Case(Random& random, size_t n, size_t in, size_t out, bool gathered_, bool bias_, bool whole)
      : gathered(gathered_), bias(bias_), height(gathered ? n / 2 + 3 : n), x(height * in),
        W(in * out), b(out), before(n * out), d_y(n * out), rows(random.padded_rows(n, height)),
        y(n * out), d_x(n * in), d_W(in * out), d_b(out) {
    for (auto* all : {&x, &W, &b, &before, &d_y})
      for (T& each : *all)
        each = static_cast<T>(whole ? std::round(4 * random.number()) : random.number());
    for (size_t r = 0; r < n; ++r)
      for (size_t k = 0; k < out; ++k) {
        const double d = d_y[r * out + k];
        y[r * out + k] += bias ? b[k] : before[r * out + k];
        d_b[k] += d;
        for (size_t j = 0; j < in; ++j) {
          const double x_rj = at(r, j, in), W_jk = W[j * out + k];
          y[r * out + k] += x_rj * W_jk;
          d_x[r * in + j] += d * W_jk;
          d_W[j * out + k] += x_rj * d;
        }
      }
  }
  /// x[rows[r], j], 0 for padding.
  double at(size_t r, size_t j, size_t in) const {
    if (gathered && rows[r] < 0) return 0;
    return x[(gathered ? static_cast<size_t>(rows[r]) : r) * in + j];
  }
  bool gathered, bias;
  size_t height;
  std::vector<T> x, W, b, before, d_y;
  std::vector<int32_t> rows;
  std::vector<Sum> y, d_x, d_W, d_b;
};

template <class Backend>
class LinearTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(LinearTest, LinearBackends, BackendName);

/// y = x[rows] W + b, or without b what is added to y; d_x = d_y W^T, or none, d_W = x[rows]^T d_y,
/// and with b its d_b = column sums of d_y. [Eq. 1, 6]
TYPED_TEST(LinearTest, ForwardAndBackwardArePlainSums) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each(of_layers, [&](size_t n, size_t in, size_t out) {
    const bool whole = TypeParam::name() == "cuda32_tf32";
    if (whole && n * in * out > 1000000) return;  // its products are cuBLAS's
    for (int kind : {0, 1, 2, 3}) {
      const Case<T> of(random, n, in, out, kind % 2, kind / 2, whole);
      const auto [y, d_x, d_W, d_b, alone_W, alone_b] = this->same_bytes([&] {
        const auto numbers = this->device(of.rows);
        const auto x_memory = this->device(of.x), W_memory = this->device(of.W);
        const auto b_memory = this->device(of.b), d_memory = this->device(of.d_y);
        const Rows rows = of.gathered ? numbers.rows() : Rows{};
        const Matrix<const T> x = x_memory.matrix(of.height, in), W = W_memory.matrix(in, out);
        const Matrix<const T> d_out = d_memory.matrix(n, out);
        auto to = of.bias ? this->garbage(n * out) : this->device(of.before);
        auto to_x = this->garbage(n * in), to_W = this->garbage(in * out);
        auto to_b = this->garbage(out), other_W = this->garbage(in * out);
        auto other_b = this->garbage(out);
        const auto bias = [&](auto& memory) {
          return of.bias ? memory.matrix(1, out) : decltype(memory.matrix(1, out)){};
        };
        this->ops->linear_forward(to.matrix(n, out), x, rows, W, bias(b_memory));
        this->ops->linear_backward(to_x.matrix(n, in), to_W.matrix(in, out), bias(to_b), d_out, x,
                                   rows, W);
        if (of.bias)
          this->ops->linear_backward({}, other_W.matrix(in, out), other_b.matrix(1, out), d_out, x,
                                     rows, W);
        return std::tuple(to.host(), to_x.host(), to_W.host(), to_b.host(), other_W.host(),
                          other_b.host());
      });
      EXPECT_SUMS(y, of.y, of.bias ? in : in + 1);
      EXPECT_SUMS(d_x, of.d_x, out);
      EXPECT_SUMS(d_W, of.d_W, n);
      if (!of.bias) continue;
      EXPECT_SUMS(d_b, of.d_b, n);
      EXPECT_SUMS(alone_W, of.d_W, n);
      EXPECT_SUMS(alone_b, of.d_b, n);
    }
  });
}

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
