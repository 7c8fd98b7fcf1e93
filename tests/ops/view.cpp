// Rows of a batch and the masks of their views [Eq. 5], bit for bit.
#include "backends.h"
#include "random_inputs.h"

namespace bm3::test {
namespace {

struct Shape {
  size_t n, d;
};
constexpr Shape shapes[] = {{0, 3},   {1, 1},    {1, 64},  {2, 2},    {5, 17},     {64, 64},
                            {63, 100}, {130, 3}, {257, 17}, {1000, 64}, {1000003, 3}};

template <class Backend>
class ViewTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(ViewTest, Backends, BackendName);

/// z = H[nodes of the batch], bit for bit
TYPED_TEST(ViewTest, GatherRows) {
  using T = typename TypeParam::Real;
  Random random(4);
  for (const auto [n, d] : shapes) {
    if (this->too_many(n)) continue;
    const size_t height = n / 2 + 1;
    const auto x = random.numbers<T>(height * d);
    const auto rows = random.padded_rows(n, height);
    auto y = this->garbage(n * d);
    this->ops->gather_rows(y.data(), this->device(x).data(), this->device(rows).data(), n, d);
    std::vector<T> expected(n * d);
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c)
        expected[r * d + c] = x[static_cast<size_t>(rows[r]) * d + c];
    EXPECT_EQ(y.host(), expected) << n << " x " << d;
  }
}

/// d_H[nodes of the batch] += d_z, bit for bit
TYPED_TEST(ViewTest, ScatterRows) {
  using T = typename TypeParam::Real;
  Random random(5);
  for (const auto [n, d] : shapes) {
    if (this->too_many(n)) continue;
    const size_t height = n + n / 2 + 1;
    const auto x = random.numbers<T>(n * d), before = random.numbers<T>(height * d);
    const auto rows = random.distinct_rows(n, height);
    const auto on_x = this->device(x);
    const auto on_rows = this->device(rows);
    auto added = this->device(before), put = this->device(before);
    this->ops->scatter_add_rows(added.data(), on_x.data(), on_rows.data(), n, d);
    this->ops->scatter_rows(put.data(), on_x.data(), on_rows.data(), n, d);
    std::vector<T> sums = before, copies = before;
    for (size_t r = 0; r < n; ++r)
      for (size_t c = 0; c < d && rows[r] >= 0; ++c) {
        sums[static_cast<size_t>(rows[r]) * d + c] += x[r * d + c];
        copies[static_cast<size_t>(rows[r]) * d + c] = x[r * d + c];
      }
    EXPECT_EQ(added.host(), sums) << n << " x " << d;
    EXPECT_EQ(put.host(), copies) << n << " x " << d;
  }
}

/// The mask of Eq. 5 is Philox against a threshold, on every device the same. [Eq. 5]
TYPED_TEST(ViewTest, MaskIsPhiloxByRowAndColumn) {
  Random random(6);
  for (const auto [n, d] : shapes)
    for (double p : {0.0, 0.3, 0.5, 0.999}) {
      if (this->too_many(n)) continue;
      const uint64_t seed = 0x123456789abcdef0u + n;
      const uint32_t stream = 257, step = 40;
      const auto rows = random.padded_rows(n, 70000);
      Array<uint8_t> mask(*this->ops, std::vector<uint8_t>(n * d, 99));
      this->ops->draw_mask(mask.data(), this->device(rows).data(), n, d, p, seed, stream,
                           this->device(std::vector<uint32_t>{step}).data());
      const auto computed = mask.host();
      size_t wrong = 0;
      for (size_t r = 0; r < n; ++r)
        for (size_t c = 0; c < d; ++c) {
          const auto word =
              philox(seed, stream, step, mask_block(rows[r], static_cast<int64_t>(c / 4)))
                  .x[c % 4];
          wrong += rows[r] >= 0 ? computed[r * d + c] != (word >= drop_threshold(p))
                                : computed[r * d + c] > 1;
        }
      EXPECT_EQ(wrong, 0u) << n << " x " << d << ", p = " << p;
      if (p == 0.0) {
        EXPECT_EQ(computed, std::vector<uint8_t>(n * d, 1));
      }
    }
}

/// Entries drop with probability p; each part of the key gives another mask. [Eq. 5]
TYPED_TEST(ViewTest, MaskFrequencyAndKeys) {
  constexpr size_t n = 3000, d = 63;
  std::vector<int32_t> rows(n);
  for (size_t r = 0; r < n; ++r) rows[r] = static_cast<int32_t>(r);
  const auto draw = [&](const std::vector<int32_t>& of, double p, uint64_t seed, uint32_t stream,
                        uint32_t step) {
    Array<uint8_t> mask(*this->ops, of.size() * d);
    this->ops->draw_mask(mask.data(), this->device(of).data(), of.size(), d, p, seed, stream,
                         this->device(std::vector<uint32_t>{step}).data());
    return mask.host();
  };
  const auto fraction = [](const std::vector<uint8_t>& mask) {
    return static_cast<double>(std::count(mask.begin(), mask.end(), 1)) / (n * d);
  };
  const auto base = draw(rows, 0.5, 1, 256, 1);
  for (double p : {0.1, 0.3, 0.5, 0.9})  // five standard deviations of the mean of n d draws
    EXPECT_LE(std::abs(fraction(draw(rows, p, 1, 256, 1)) - (1 - p)),
              5 * std::sqrt(p * (1 - p) / (n * d)));
  for (const auto& other : {draw(rows, 0.5, 2, 256, 1), draw(rows, 0.5, 1, 257, 1),
                            draw(rows, 0.5, 1, 256, 2)}) {
    size_t equal = 0;  // unrelated masks agree in half of their entries
    for (size_t k = 0; k < n * d; ++k) equal += base[k] == other[k];
    EXPECT_LE(std::abs(static_cast<double>(equal) / (n * d) - 0.5), 5 * 0.5 / std::sqrt(n * d));
  }
  // A row's mask is its own, wherever and however often it stands in the batch.
  const std::vector<int32_t> few = {2999, 7, 7, 0, 1500};
  const auto of_few = draw(few, 0.5, 1, 256, 1);
  for (size_t r = 0; r < few.size(); ++r)
    for (size_t c = 0; c < d; ++c)
      ASSERT_EQ(of_few[r * d + c], base[static_cast<size_t>(few[r]) * d + c]);
}

}  // namespace
}  // namespace bm3::test
