// Rows of a batch and the masks of their views [Eq. 5], bit for bit.
#include "backends.h"
#include "compare.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

constexpr std::array<size_t, 2> shapes[] = {  // n, d
    {0, 3},    {1, 1},   {1, 64},   {2, 2},     {5, 17},   {64, 64},
    {63, 100}, {130, 3}, {257, 17}, {1000, 64}, {33, 300}, {1000003, 3}};

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
    const auto [y] = this->same_bytes([&] {
      auto to = this->device(before);
      this->ops->scatter_add_rows(to.matrix(height, d), this->device(x).matrix(n, d),
                                  this->device(rows).rows());
      return std::tuple(to.host());
    });
    EXPECT_SAME(y, sums);
  });
}

/// The mask of Eq. 5 is Philox against a threshold, on every device the same: seed, stream, step,
/// row and column decide alone. Entries drop with probability p. Row numbers stay below 2^30:
/// cuRAND counts words, not blocks, in 64 bits, so that larger ones differ on a GPU. [Eq. 5]
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
      double entries = 0, kept = 0;
      for (size_t k = 0; k < n * d; ++k) {
        const auto column = k % d;
        const Random4 words =
            philox(seed, stream, step, mask_block(rows[k / d], static_cast<int64_t>(column / 4)));
        if (rows[k / d] >= 0 || mask[k] > 1)
          expected[k] = words.x[column % 4] >= drop_threshold(p);
        entries += rows[k / d] >= 0;
        kept += rows[k / d] >= 0 && mask[k] == 1;
      }
      EXPECT_SAME(mask, expected) << "p = " << p;
      if (entries > 10000) {  // five standard deviations of the mean
        EXPECT_LE(std::abs(kept / entries - (1 - p)), 5 * std::sqrt(p * (1 - p) / entries)) << p;
      }
    }
  });
}

}  // namespace
}  // namespace bm3::test
