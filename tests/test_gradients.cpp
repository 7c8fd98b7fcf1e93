// Every part's backward pass alone against finite differences in double precision, and proof that
// the checks notice a wrong one.
#include "backends.h"
#include "faulty_ops.h"
#include "part_check.h"

namespace bm3::test {
namespace {

template <class Backend>
class GradientTest : public OnBackend<Backend, 1> {
 protected:
  static void expect_within(const Agreements& checked, const std::string& words) {
    for (const auto& [name, agreement] : checked)
      EXPECT_WITHIN(agreement, gradient_bound) << name << ", " << words;
  }
};
TYPED_TEST_SUITE(GradientTest, Backends64, BackendName);

std::string sizes(size_t a, size_t b, size_t c) {
  return std::to_string(a) + " x " + std::to_string(b) + " x " + std::to_string(c);
}

/// d_x, d_W and d_b [Eq. 1, 6]
TYPED_TEST(GradientTest, OfLinearLayers) {
  uint64_t seed = 100;
  for (size_t n : {1, 2, 7, 33})
    for (size_t in : {1, 3, 8})
      for (size_t out : {1, 2, 5})
        this->expect_within(check_linear(*this->ops, n, in, out, ++seed), sizes(n, in, out));
}

/// d_E through mean read-out, residual and L symmetric layers, L in 0 .. 4 [Eq. 3, 4]
TYPED_TEST(GradientTest, OfLightGcn) {
  for (size_t n_layers = 0; n_layers <= 4; ++n_layers)
    for (double residual : {0.0, 1.0})
      for (uint64_t seed = 1; seed <= 8; ++seed)
        this->expect_within(check_lightgcn(*this->ops, n_layers, residual, seed),
                            "L = " + std::to_string(n_layers) + ", residual " +
                                std::to_string(residual) + ", seed " + std::to_string(seed));
}

/// The scatter is the gather's backward and adds to what is there.
TYPED_TEST(GradientTest, OfGatheredRows) {
  for (size_t n : {1, 2, 9, 20})
    for (size_t d : {1, 3, 8})
      this->expect_within(check_rows(*this->ops, n, d, n * 10 + d), std::to_string(n) + " rows");
}

/// dC/da with the target frozen [Eq. 8-11]
TYPED_TEST(GradientTest, OfCosines) {
  uint64_t seed = 200;
  for (size_t n : {1, 2, 9, 20})
    for (size_t targets : {1, 4, 30})
      for (size_t d : {2, 3, 8})
        this->expect_within(check_cosine(*this->ops, n, targets, d, ++seed),
                            sizes(n, targets, d));
}

/// d|x|/dx of a table's halves [Eq. 12]
TYPED_TEST(GradientTest, OfNorms) {
  for (size_t n : {1, 2, 9, 20})
    for (size_t d : {1, 3, 8})
      this->expect_within(check_norm(*this->ops, n, d, n * 10 + d), sizes(2, n, d));
}

/// BPR's loss with respect to users and items, and its regulariser, each in both forms
TYPED_TEST(GradientTest, OfTriples) {
  uint64_t seed = 300;
  for (size_t users : {2, 7})
    for (size_t items : {3, 12})
      for (size_t d : {1, 4, 9})
        this->expect_within(check_triples(*this->ops, users, items, d, ++seed),
                            sizes(users, items, d));
}

/// Each planted error lifts the error of its part above the bound.
TEST(PlantedFault, IsCaught) {
  for (const auto& [fault, part, words] : planted) {
    FaultyOps ops(fault);
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      const Agreement agreement = check_parts(ops, seed).at(part);
      EXPECT_TRUE(agreement.count > 0 && agreement.error > gradient_bound)
          << part << ", " << words << ", seed " << seed << ": " << agreement;
    }
  }
}

/// Without a fault the same checks find nothing, and each fault has a part that shows it.
TEST(PlantedFault, NoneIsNotCaught) {
  FaultyOps ops(Fault::none);
  for (uint64_t seed = 1; seed <= 4; ++seed)
    for (const auto& [name, agreement] : check_parts(ops, seed))
      EXPECT_WITHIN(agreement, gradient_bound) << name << ", seed " << seed;
  EXPECT_EQ(std::size(planted), static_cast<size_t>(Fault::penalty_once));
}

}  // namespace
}  // namespace bm3::test
