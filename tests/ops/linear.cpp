// Linear layers [Eq. 1, 6]: forward and backward against a plain loop. Outputs that are overwritten
// hold NaN before the call.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 3> shapes[] = {  // n, in, out
    {0, 3, 2},     {1, 1, 1},      {1, 17, 3},     {5, 2, 600},  {63, 100, 17},  {64, 64, 64},
    {129, 300, 5}, {2051, 64, 64}, {300, 700, 33}, {20, 4096, 2}, {1000003, 3, 2}};

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
  this->for_each(shapes, [&](size_t n, size_t in, size_t out) {
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

}  // namespace
}  // namespace bm3::test
