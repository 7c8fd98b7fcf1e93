// Linear layers [Eq. 1, 6]: forward and backward against a plain loop. Outputs hold NaN before the
// call.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

template <class Backend>
class LinearTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(LinearTest, Backends, BackendName);

struct LinearShape {
  size_t n, in, out;
};
constexpr LinearShape linear_shapes[] = {
    {0, 3, 2},    {1, 1, 1},     {1, 17, 3},    {5, 2, 100},  {63, 100, 17},  {64, 64, 64},
    {129, 300, 5}, {1030, 64, 64}, {300, 700, 33}, {20, 4096, 2}, {1000003, 3, 2}};

/// x[rows[r], j], 0 for padding, with `rows` perhaps empty (x's own rows).
template <class T>
double at(const std::vector<T>& x, const std::vector<int32_t>& rows, size_t r, size_t j, size_t d) {
  if (rows.empty()) return static_cast<double>(x[r * d + j]);
  return rows[r] < 0 ? 0.0 : static_cast<double>(x[static_cast<size_t>(rows[r]) * d + j]);
}

/// What both passes read: x, W and, when `gathered`, numbers of x's rows and padding.
template <class T>
struct Inputs {
  std::vector<T> x, W;
  std::vector<int32_t> rows;
};
template <class T>
Inputs<T> inputs(Random& random, LinearShape shape, bool gathered) {
  const auto [n, in, out] = shape;
  const size_t height = gathered ? n / 2 + 3 : n;
  return {random.numbers<T>(height * in), random.numbers<T>(in * out),
          gathered ? random.padded_rows(n, height) : std::vector<int32_t>()};
}

/// y = x[rows] W + b [Eq. 1, 6]
TYPED_TEST(LinearTest, Forward) {
  using T = typename TypeParam::Real;
  Random random(1);
  for (const auto [n, in, out] : linear_shapes)
    for (bool gathered : {false, true}) {
      if (this->too_many(n)) continue;
      SCOPED_TRACE(testing::Message()
                   << n << " x " << in << " x " << out << (gathered ? ", rows" : ""));
      const auto [x, W, rows] = inputs<T>(random, {n, in, out}, gathered);
      const auto b = random.numbers<T>(out);
      std::vector<Sum> y(n * out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          y[r * out + k] += static_cast<double>(b[k]);
          for (size_t j = 0; j < in; ++j)
            y[r * out + k] += at(x, rows, r, j, in) * static_cast<double>(W[j * out + k]);
        }
      const auto on_rows = this->device(rows);
      auto computed = this->garbage(n * out);
      this->ops->linear_forward(computed.data(), this->device(x).data(),
                                gathered ? on_rows.data() : nullptr, this->device(W).data(),
                                this->device(b).data(), n, in, out);
      EXPECT_SUMS(computed, y, in);
    }
}

/// d_x = d_y W^T, d_W = x[rows]^T d_y, d_b = column sums of d_y [Eq. 1, 6]
TYPED_TEST(LinearTest, Backward) {
  using T = typename TypeParam::Real;
  Random random(2);
  for (const auto [n, in, out] : linear_shapes)
    for (bool gathered : {false, true}) {
      if (this->too_many(n)) continue;
      SCOPED_TRACE(testing::Message()
                   << n << " x " << in << " x " << out << (gathered ? ", rows" : ""));
      const auto [x, W, rows] = inputs<T>(random, {n, in, out}, gathered);
      const auto d_y = random.numbers<T>(n * out);
      std::vector<Sum> d_x(n * in), d_W(in * out), d_b(out);
      for (size_t r = 0; r < n; ++r)
        for (size_t k = 0; k < out; ++k) {
          const auto d = static_cast<double>(d_y[r * out + k]);
          d_b[k] += d;
          for (size_t j = 0; j < in; ++j) {
            d_x[r * in + j] += d * static_cast<double>(W[j * out + k]);
            d_W[j * out + k] += at(x, rows, r, j, in) * d;
          }
        }
      const auto on_rows = this->device(rows);
      const auto on_x = this->device(x), on_W = this->device(W), on_d_y = this->device(d_y);
      for (bool wanted : {true, false}) {
        auto got_x = this->garbage(n * in), got_W = this->garbage(in * out);
        auto got_b = this->garbage(out);
        this->ops->linear_backward(wanted ? got_x.data() : nullptr, got_W.data(), got_b.data(),
                                   on_d_y.data(), on_x.data(), gathered ? on_rows.data() : nullptr,
                                   on_W.data(), n, in, out);
        if (wanted) EXPECT_SUMS(got_x, d_x, out);
        EXPECT_SUMS(got_W, d_W, n);
        EXPECT_SUMS(got_b, d_b, n);
      }
    }
}

}  // namespace
}  // namespace bm3::test
