// Linear layers [Eq. 1, 6]: forward and backward against a plain loop. Outputs hold NaN before the
// call.
#include "backends.h"
#include "random_inputs.h"
#include "rounding.h"

namespace bm3::test {
namespace {

struct LinearShape {
  size_t n, in, out;
};
constexpr LinearShape linear_shapes[] = {
    {0, 3, 2},    {1, 1, 1},     {1, 17, 3},    {5, 2, 600},  {63, 100, 17},  {64, 64, 64},
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
  size_t height;
  Inputs(Random& random, LinearShape shape, bool gathered)
      : height(gathered ? shape.n / 2 + 3 : shape.n) {
    x = random.numbers<T>(height * shape.in);
    W = random.numbers<T>(shape.in * shape.out);
    if (gathered) rows = random.padded_rows(shape.n, height);
  }
};

template <class Backend>
class LinearTest : public OnBackend<Backend> {
 protected:
  /// Calls check(shape, gathered) for every shape that the backend can do.
  template <class Check>
  void for_each_shape(const Check& check) {
    for (const LinearShape& shape : linear_shapes)
      for (bool gathered : {false, true}) {
        if (this->too_many(shape.n)) continue;
        SCOPED_TRACE(testing::Message() << shape.n << " x " << shape.in << " x " << shape.out
                                        << (gathered ? ", rows" : ""));
        check(shape, gathered);
      }
  }
};
TYPED_TEST_SUITE(LinearTest, Backends, BackendName);

/// y = x[rows] W + b [Eq. 1, 6]
TYPED_TEST(LinearTest, ForwardIsAPlainProduct) {
  using T = typename TypeParam::Real;
  Random random(1);
  this->for_each_shape([&](LinearShape shape, bool gathered) {
    const auto [n, in, out] = shape;
    const Inputs<T> from(random, shape, gathered);
    const auto b = random.numbers<T>(out);
    std::vector<Sum> y(n * out);
    for (size_t r = 0; r < n; ++r)
      for (size_t k = 0; k < out; ++k) {
        y[r * out + k] += static_cast<double>(b[k]);
        for (size_t j = 0; j < in; ++j)
          y[r * out + k] +=
              at(from.x, from.rows, r, j, in) * static_cast<double>(from.W[j * out + k]);
      }
    const auto rows = this->device(from.rows);
    auto computed = this->garbage(n * out);
    this->ops->linear_forward(computed.matrix(n, out), this->device(from.x).matrix(from.height, in),
                              gathered ? rows.rows() : Rows{}, this->device(from.W).matrix(in, out),
                              this->device(b).matrix(1, out));
    EXPECT_SUMS(computed, y, in);
  });
}

/// d_x = d_y W^T, d_W = x[rows]^T d_y, d_b = column sums of d_y, alone or after the forward pass,
/// whose copy of x[rows] may be used again. [Eq. 1, 6]
TYPED_TEST(LinearTest, BackwardIsThreePlainSums) {
  using T = typename TypeParam::Real;
  Random random(2);
  this->for_each_shape([&](LinearShape shape, bool gathered) {
    const auto [n, in, out] = shape;
    const Inputs<T> from(random, shape, gathered);
    const auto d_y = random.numbers<T>(n * out);
    std::vector<Sum> d_x(n * in), d_W(in * out), d_b(out);
    for (size_t r = 0; r < n; ++r)
      for (size_t k = 0; k < out; ++k) {
        const auto d = static_cast<double>(d_y[r * out + k]);
        d_b[k] += d;
        for (size_t j = 0; j < in; ++j) {
          d_x[r * in + j] += d * static_cast<double>(from.W[j * out + k]);
          d_W[j * out + k] += at(from.x, from.rows, r, j, in) * d;
        }
      }
    const auto on_rows = this->device(from.rows);
    const auto on_x = this->device(from.x), on_W = this->device(from.W), on_d_y = this->device(d_y);
    const Rows rows = gathered ? on_rows.rows() : Rows{};
    const Matrix<const T> x = on_x.matrix(from.height, in), W = on_W.matrix(in, out);
    for (bool alone : {true, false}) {
      auto got_x = this->garbage(n * in), got_W = this->garbage(in * out);
      auto got_b = this->garbage(out);
      if (!alone) {
        Array<T> y(*this->ops, n * out);
        this->ops->linear_forward(y.matrix(n, out), x, rows, W, got_b.matrix(1, out));
      }
      this->ops->linear_backward(alone ? got_x.matrix(n, in) : Matrix<T>{}, got_W.matrix(in, out),
                                 got_b.matrix(1, out), on_d_y.matrix(n, out), x, rows, W);
      if (alone) EXPECT_SUMS(got_x, d_x, out);
      EXPECT_SUMS(got_W, d_W, n);
      EXPECT_SUMS(got_b, d_b, n);
    }
  });
}

/// Two layers forward, then both backward: neither takes the other's rows. [Eq. 1]
TYPED_TEST(LinearTest, LayersKeepTheirRowsApart) {
  using T = typename TypeParam::Real;
  constexpr size_t n = 37, out = 5, height = 50;
  constexpr size_t in[] = {11, 90, 90};  // the last two of one table
  Random random(3);
  const auto d_y = this->device(random.numbers<T>(n * out)), b = this->device(std::vector<T>(out));
  std::vector<Array<T>> x, W, d_W, alone;
  std::vector<Array<int32_t>> rows;
  for (size_t width : in) {
    x.push_back(this->device(random.numbers<T>(height * width)));
    W.push_back(this->device(random.numbers<T>(width * out)));
    d_W.push_back(this->garbage(width * out));
    alone.push_back(this->garbage(width * out));
    rows.push_back(this->device(random.padded_rows(n, height)));
  }
  const auto table = [&](size_t k) { return x[std::min<size_t>(k, 1)].matrix(height, in[k]); };
  const auto backward = [&](Array<T>& to, size_t k) {
    Array<T> d_b(*this->ops, out);
    this->ops->linear_backward({}, to.matrix(in[k], out), d_b.matrix(1, out), d_y.matrix(n, out),
                               table(k), rows[k].rows(), W[k].matrix(in[k], out));
  };
  for (size_t k : {0, 1, 2}) backward(alone[k], k);
  for (size_t k : {0, 1, 2}) {
    Array<T> y(*this->ops, n * out);
    this->ops->linear_forward(y.matrix(n, out), table(k), rows[k].rows(), W[k].matrix(in[k], out),
                              b.matrix(1, out));
  }
  for (size_t k : {1, 0, 2}) backward(d_W[k], k);
  for (size_t k : {0, 1, 2}) EXPECT_SAME(d_W[k].host(), alone[k].host()) << "layer " << k;
}

}  // namespace
}  // namespace bm3::test
