// Linear layers [Eq. 1, 6]: forward and backward against a plain loop. Outputs hold NaN before the
// call.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 3> shapes[] = {  // n, in, out
    {0, 3, 2},     {1, 1, 1},      {1, 17, 3},     {5, 2, 600},  {63, 100, 17},  {64, 64, 64},
    {129, 300, 5}, {2051, 64, 64}, {300, 700, 33}, {20, 4096, 2}, {1000003, 3, 2}};

/// What both passes read: x, W and, when `gathered`, numbers of x's rows and padding.
template <class T>
struct Inputs {
  bool gathered;
  size_t height, width;
  std::vector<T> x, W;
  std::vector<int32_t> rows;
  Inputs(Random& random, size_t n, size_t in, size_t out, bool gathered_)
      : gathered(gathered_), height(gathered ? n / 2 + 3 : n), width(in) {
    x = random.numbers<T>(height * in);
    W = random.numbers<T>(in * out);
    rows = random.padded_rows(n, height);
  }
  /// x[rows[r], j], 0 for padding.
  double at(size_t r, size_t j) const {
    if (gathered && rows[r] < 0) return 0;
    return static_cast<double>(x[(gathered ? static_cast<size_t>(rows[r]) : r) * width + j]);
  }
};

template <class Backend>
class LinearTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(LinearTest, Backends, BackendName);

/// y = x[rows] W + b [Eq. 1, 6]
TYPED_TEST(LinearTest, ForwardIsAPlainProduct) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each(shapes, [&](size_t n, size_t in, size_t out) {
    for (bool gathered : {false, true}) {
      const Inputs<T> from(random, n, in, out, gathered);
      const auto b = random.numbers<T>(out);
      std::vector<Sum> y(n * out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          y[r * out + k] += static_cast<double>(b[k]);
          for (size_t j = 0; j < in; ++j)
            y[r * out + k] += from.at(r, j) * static_cast<double>(from.W[j * out + k]);
        }
      const auto [computed] = this->same_bytes([&] {
        auto got = this->garbage(n * out);
        const auto rows = this->device(from.rows);
        this->ops->linear_forward(got.matrix(n, out), this->device(from.x).matrix(from.height, in),
                                  gathered ? rows.rows() : Rows{},
                                  this->device(from.W).matrix(in, out),
                                  this->device(b).matrix(1, out));
        return std::tuple(got.host());
      });
      EXPECT_SUMS(computed, y, in);
    }
  });
}

/// d_x = d_y W^T, or none, d_W = x[rows]^T d_y, d_b = column sums of d_y. [Eq. 1, 6]
TYPED_TEST(LinearTest, BackwardIsThreePlainSums) {
  using T = typename TypeParam::Real;
  Random random(2);
  this->for_each(shapes, [&](size_t n, size_t in, size_t out) {
    for (bool gathered : {false, true}) {
      const Inputs<T> from(random, n, in, out, gathered);
      const auto d_y = random.numbers<T>(n * out);
      std::vector<Sum> d_x(n * in), d_W(in * out), d_b(out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          const auto d = static_cast<double>(d_y[r * out + k]);
          d_b[k] += d;
          for (size_t j = 0; j < in; ++j) {
            d_x[r * in + j] += d * static_cast<double>(from.W[j * out + k]);
            d_W[j * out + k] += from.at(r, j) * d;
          }
        }
      for (bool with_d_x : {true, false}) {
        const auto [got_x, got_W, got_b] = this->same_bytes([&] {
          const auto on_rows = this->device(from.rows);
          const auto on_x = this->device(from.x), on_W = this->device(from.W);
          const auto on_d_y = this->device(d_y);
          const Rows rows = gathered ? on_rows.rows() : Rows{};
          const Matrix<const T> x = on_x.matrix(from.height, in), W = on_W.matrix(in, out);
          auto to_x = this->garbage(n * in), to_W = this->garbage(in * out);
          auto to_b = this->garbage(out);
          this->ops->linear_backward(with_d_x ? to_x.matrix(n, in) : Matrix<T>{},
                                     to_W.matrix(in, out), to_b.matrix(1, out),
                                     on_d_y.matrix(n, out), x, rows, W);
          return std::tuple(to_x.host(), to_W.host(), to_b.host());
        });
        if (with_d_x) EXPECT_SUMS(got_x, d_x, out);
        EXPECT_SUMS(got_W, d_W, n);
        EXPECT_SUMS(got_b, d_b, n);
      }
    }
  });
}

/// Without b, y += x[rows] W; d_x and d_W are what they are with b.
TYPED_TEST(LinearTest, WithoutABiasSumsAreAddedTo) {
  using T = typename TypeParam::Real;
  Random random(3);
  this->for_each(shapes, [&](size_t n, size_t in, size_t out) {
    for (bool gathered : {false, true}) {
      const Inputs<T> from(random, n, in, out, gathered);
      const auto y = random.numbers<T>(n * out), d_y = random.numbers<T>(n * out);
      std::vector<Sum> forward = sums_from(y), on_x(n * in), on_W(in * out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k)
          for (size_t j = 0; j < in; ++j) {
            const auto d = static_cast<double>(d_y[r * out + k]);
            const auto W = static_cast<double>(from.W[j * out + k]);
            forward[r * out + k] += from.at(r, j) * W;
            on_x[r * in + j] += d * W;
            on_W[j * out + k] += from.at(r, j) * d;
          }
      const auto [got, got_x, got_W] = this->same_bytes([&] {
        const auto numbers = this->device(from.rows);
        const auto x_memory = this->device(from.x), W_memory = this->device(from.W);
        const Rows rows = gathered ? numbers.rows() : Rows{};
        const Matrix<const T> x = x_memory.matrix(from.height, in), W = W_memory.matrix(in, out);
        auto to = this->device(y), to_x = this->garbage(n * in), to_W = this->garbage(in * out);
        this->ops->linear_forward(to.matrix(n, out), x, rows, W, {});
        this->ops->linear_backward(to_x.matrix(n, in), to_W.matrix(in, out), {},
                                   this->device(d_y).matrix(n, out), x, rows, W);
        return std::tuple(to.host(), to_x.host(), to_W.host());
      });
      EXPECT_SUMS(got, forward, in + 1);
      EXPECT_SUMS(got_x, on_x, out);
      EXPECT_SUMS(got_W, on_W, n);
    }
  });
}

}  // namespace
}  // namespace bm3::test
