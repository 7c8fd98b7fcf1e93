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
      EXPECT_TRUE(agreement.within(gradient_bound)) << words << ", " << name << ": " << agreement;
  }
};
TYPED_TEST_SUITE(GradientTest, Backends64, BackendName);

/// d_x, d_W and d_b [Eq. 1, 6]
TYPED_TEST(GradientTest, Linear) {
  uint64_t seed = 100;
  for (size_t n : {1, 2, 7, 33})
    for (size_t in : {1, 3, 8})
      for (size_t out : {1, 2, 5})
        this->expect_within(check_linear(*this->ops, n, in, out, ++seed),
                            std::to_string(n) + " x " + std::to_string(in) + " x " +
                                std::to_string(out));
}

/// d_E through mean read-out, residual and L symmetric layers, L in 0 .. 3 [Eq. 3, 4]
TYPED_TEST(GradientTest, LightGcn) {
  for (size_t n_layers = 0; n_layers <= 3; ++n_layers)
    for (uint64_t seed = 1; seed <= 8; ++seed)
      this->expect_within(check_lightgcn(*this->ops, n_layers, seed),
                          "L = " + std::to_string(n_layers) + ", seed " + std::to_string(seed));
}

/// The scatter is the gather's backward and adds to what is there.
TYPED_TEST(GradientTest, Rows) {
  for (size_t n : {1, 2, 9, 20})
    for (size_t d : {1, 3, 8})
      this->expect_within(check_rows(*this->ops, n, d, n * 10 + d), std::to_string(n) + " rows");
}

/// dC/da with the target frozen [Eq. 8-11]
TYPED_TEST(GradientTest, Cosine) {
  uint64_t seed = 200;
  for (size_t n : {1, 2, 9, 20})
    for (size_t targets : {1, 4, 30})
      for (size_t d : {2, 3, 8})
        this->expect_within(check_cosine(*this->ops, n, targets, d, ++seed),
                            std::to_string(n) + " x " + std::to_string(d));
}

/// Both forms, with respect to H and to the batch's rows [Eq. 12]
TYPED_TEST(GradientTest, Regulariser) {
  for (uint64_t seed = 300; seed < 316; ++seed)
    this->expect_within(check_regulariser(*this->ops, seed), "seed " + std::to_string(seed));
}

struct Planted {
  Fault fault;
  const char *part, *parameter;  // where each check must show it
  RegForm form = RegForm::norm;
};
constexpr Planted planted[] = {
    {Fault::linear_x_scaled, "linear.d_x", "user_embedding"},
    {Fault::linear_W_scaled, "linear.d_W", "predictor.weight"},
    {Fault::linear_W_ungathered, "linear.d_W", "m0.weight"},
    {Fault::linear_b_scaled, "linear.d_b", "predictor.bias"},
    {Fault::linear_b_short, "linear.d_b", "predictor.bias"},
    {Fault::lightgcn_scaled, "lightgcn.d_E", "user_embedding"},
    {Fault::lightgcn_no_residual, "lightgcn.d_E", "item_embedding"},
    {Fault::lightgcn_asymmetric, "lightgcn.d_E", "user_embedding"},
    {Fault::rows_overwritten, "rows.d_x", "user_embedding"},
    {Fault::rows_short, "rows.d_x", "item_embedding"},
    {Fault::cosine_scaled, "cosine.d_a", "predictor.weight"},
    {Fault::cosine_no_radial_part, "cosine.d_a", "predictor.weight"},
    {Fault::cosine_with_target, "cosine.d_a", "predictor.weight"},
    {Fault::cosine_first_pair_only, "cosine.d_a", "user_embedding"},
    {Fault::cosine_own_pair_once, "cosine.d_a, own rows", "m0.weight"},
    {Fault::norm_scaled, "norm.d_H", "user_embedding"},
    {Fault::norm_of_other_half, "norm.d_H", "user_embedding"},
    {Fault::squared_scaled, "squared.d_z", "user_embedding", RegForm::squared},
    {Fault::squared_halved, "squared.d_z", "user_embedding", RegForm::squared},
    {Fault::squared_row_once, "squared.d_z", "user_embedding", RegForm::squared}};

/// A model in which every part has a share of every gradient it can reach.
ModelCase whole_case(RegForm form, uint64_t seed) {
  ModelCase c = random_case(2, 2, seed);
  c.config.dropout = 0.3;
  c.config.reg_form = form;
  c.config.reg_weight = 2;
  return c;
}

/// Each planted error lifts the error of its part and of the whole loss above the bound.
TEST(PlantedFault, IsCaught) {
  for (const Planted& p : planted) {
    FaultyOps ops(p.fault);
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(testing::Message() << "fault " << static_cast<int>(p.fault) << ", " << seed);
      const Agreement part = check_parts(ops, seed).at(p.part);
      EXPECT_TRUE(part.count > 0 && part.error > gradient_bound) << p.part << ": " << part;
      const Agreement whole = check_model(ops, whole_case(p.form, seed)).at(p.parameter);
      EXPECT_TRUE(whole.count > 0 && whole.error > gradient_bound) << p.parameter << ": " << whole;
    }
  }
}

/// Without a fault the same checks find nothing.
TEST(PlantedFault, NoneIsNotCaught) {
  FaultyOps ops(Fault::none);
  for (RegForm form : {RegForm::norm, RegForm::squared})
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      EXPECT_TRUE(worst(check_parts(ops, seed)).within(gradient_bound)) << seed;
      EXPECT_TRUE(worst(check_model(ops, whole_case(form, seed))).within(gradient_bound)) << seed;
    }
}

}  // namespace
}  // namespace bm3::test
