// Rows of a batch and the masks of their views [Eq. 5], bit for bit.
#include "backends.h"
#include "compare.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t n, d;
};
constexpr Shape shapes[] = {{0, 3},    {1, 1},    {1, 64},   {2, 2},     {5, 17},     {64, 64},
                            {63, 100}, {130, 3},  {257, 17}, {1000, 64}, {33, 300},   {1000003, 3}};

template <class Backend>
class ViewTest : public OnBackend<Backend> {
 protected:
  std::vector<uint8_t> mask_of(const std::vector<int32_t>& rows, size_t d, double p, uint64_t seed,
                               uint32_t stream, uint32_t step) {
    auto mask = this->device(std::vector<uint8_t>(rows.size() * d, 99));
    this->ops->draw_mask(mask.matrix(rows.size(), d), this->device(rows).rows(), p,
                         {seed, stream, this->device(std::vector<uint32_t>{step}).data()});
    return mask.host();
  }
};
TYPED_TEST_SUITE(ViewTest, Backends, BackendName);

/// y = x[rows]; without row numbers, a copy.
TYPED_TEST(ViewTest, GatheredRowsAreCopies) {
  using T = typename TypeParam::Real;
  Random random(4);
  for (const auto [n, d] : shapes) {
    if (this->too_many(n)) continue;
    const size_t height = n / 2 + 1;
    const auto x = random.numbers<T>(height * d);
    const auto rows = random.padded_rows(n, height);
    const auto on_x = this->device(x);
    auto y = this->garbage(n * d), copy = this->garbage(height * d);
    this->ops->gather_rows(y.matrix(n, d), on_x.matrix(height, d), this->device(rows).rows());
    this->ops->gather_rows(copy.matrix(height, d), on_x.matrix(height, d), {nullptr, height});
    std::vector<T> expected(n * d);
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c)
        expected[r * d + c] = x[static_cast<size_t>(rows[r]) * d + c];
    EXPECT_SAME(y.host(), expected) << n << " x " << d;
    EXPECT_SAME(copy.host(), x) << n << " x " << d;
  }
}

/// y[rows] += x
TYPED_TEST(ViewTest, ScatteredRowsAreAdded) {
  using T = typename TypeParam::Real;
  Random random(5);
  for (const auto [n, d] : shapes) {
    if (this->too_many(n)) continue;
    const size_t height = n + n / 2 + 1;
    const auto x = random.numbers<T>(n * d), before = random.numbers<T>(height * d);
    const auto rows = random.distinct_rows(n, height);
    auto y = this->device(before);
    this->ops->scatter_add_rows(y.matrix(height, d), this->device(x).matrix(n, d),
                                this->device(rows).rows());
    std::vector<T> sums = before;
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c)
        sums[static_cast<size_t>(rows[r]) * d + c] += x[r * d + c];
    EXPECT_SAME(y.host(), sums) << n << " x " << d;
  }
}

/// The mask of Eq. 5 is Philox against a threshold, on every device the same. [Eq. 5]
TYPED_TEST(ViewTest, MaskIsPhiloxByRowAndColumn) {
  Random random(6);
  const uint32_t stream = 257, step = 40;
  for (const auto [n, d] : shapes)
    for (double p : {0.0, 0.3, 0.5, 0.999}) {
      if (this->too_many(n)) continue;
      const uint64_t seed = 0x123456789abcdef0u + n;
      const auto rows = random.padded_rows(n, 70000);
      const auto mask = this->mask_of(rows, d, p, seed, stream, step);
      std::vector<uint8_t> expected = mask;  // any 0 or 1 in the rows of padding
      for (size_t k = 0; k < n * d; ++k) {
        const auto column = k % d;
        const Random4 words =
            philox(seed, stream, step, mask_block(rows[k / d], static_cast<int64_t>(column / 4)));
        if (rows[k / d] >= 0 || mask[k] > 1)
          expected[k] = words.x[column % 4] >= drop_threshold(p);
      }
      EXPECT_SAME(mask, expected) << n << " x " << d << ", p = " << p;
      if (p == 0.0) {
        EXPECT_SAME(mask, std::vector<uint8_t>(n * d, 1));
      }
    }
}

/// Entries drop with probability p; each part of the key gives another mask. [Eq. 5]
TYPED_TEST(ViewTest, MasksOfOtherKeysAreUnrelated) {
  constexpr size_t n = 3000, d = 63;
  constexpr double all = n * d;
  std::vector<int32_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  const auto base = this->mask_of(rows, d, 0.5, 1, 256, 1);
  for (double p : {0.1, 0.3, 0.5, 0.9}) {  // five standard deviations of the mean of n d draws
    const auto mask = this->mask_of(rows, d, p, 1, 256, 1);
    const auto kept = static_cast<double>(std::count(mask.begin(), mask.end(), 1));
    EXPECT_LE(std::abs(kept / all - (1 - p)), 5 * std::sqrt(p * (1 - p) / all)) << "p = " << p;
  }
  for (const auto& other :
       {this->mask_of(rows, d, 0.5, 2, 256, 1), this->mask_of(rows, d, 0.5, 1, 257, 1),
        this->mask_of(rows, d, 0.5, 1, 256, 2)}) {
    size_t equal = 0;  // unrelated masks agree in half of their entries
    for (size_t k = 0; k < n * d; ++k) equal += base[k] == other[k];
    EXPECT_LE(std::abs(static_cast<double>(equal) / all - 0.5), 5 * 0.5 / std::sqrt(all));
  }
  // A row's mask is its own, wherever and however often it stands in the batch.
  const std::vector<int32_t> few = {2999, 7, 7, 0, 1500};
  std::vector<uint8_t> expected;
  for (int32_t row : few)
    expected.insert(expected.end(), base.begin() + row * int64_t{d},
                    base.begin() + (row + 1) * int64_t{d});
  EXPECT_SAME(this->mask_of(few, d, 0.5, 1, 256, 1), expected);
}

}  // namespace
}  // namespace bm3::test
