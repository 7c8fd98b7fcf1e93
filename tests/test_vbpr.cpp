// VBPR: what its loss must be whatever its parameters.
#include <gtest/gtest.h>

#include "model_case.h"
#include "ops/cpu/cpu_ops.h"

namespace bm3::test {
namespace {

/// A case with these modalities, in the form of the authors' code.
ModelCase vbpr_case(const char* model, const std::vector<ModalityShape>& modalities) {
  ModelCase c = random_case(model_kind(model), 0, 5);
  c.modalities = modalities;
  c.settings.set("reg", "0.5");
  return c;
}

/// With all parameters 0 every score is 0, and -ln sigma(0) = ln 2.
TEST(Vbpr, LossOfEqualScoresIsLn2) {
  CpuOps<double> ops(1);
  CaseOnDevice<double> at(ops, vbpr_case("vbpr", {{"image", 3}, {"text", 2}}));
  const Matrix<double> values = at.model->parameters().values();
  ops.zero(values.at, values.size() * sizeof(double));
  EXPECT_NEAR(at.loss(), std::log(2.0), 1e-9);
}

/// (x_1 (+) x_2) W is a sum over the modalities.
TEST(Vbpr, OrderOfModalitiesDoesNotMatter) {
  CpuOps<double> ops(1);
  CaseOnDevice<double> a(ops, vbpr_case("vbpr", {{"image", 3}, {"text", 2}}));
  CaseOnDevice<double> b(ops, vbpr_case("vbpr", {{"text", 2}, {"image", 3}}));
  for (const auto& from : variables(ops, *a.model, a.batch))
    for (const auto& to : variables(ops, *b.model, b.batch))
      if (to.name == from.name) upload(ops, to.value, host<double>(ops, from.value));
  EXPECT_NEAR(total(a.step()), total(b.step()), 1e-14);
  const auto of_b = b.gradients();
  for (const auto& [name, gradient] : a.gradients())
    EXPECT_WITHIN(compare(gradient, of_b.at(name), gradient_floor), 1e-13) << name;
}

/// To the last bit, in losses and gradients.
TEST(Vbpr, WithoutModalitiesIsBpr) {
  CpuOps<double> ops(1);
  CaseOnDevice<double> a(ops, vbpr_case("vbpr", {})), b(ops, vbpr_case("bpr", {}));
  EXPECT_EQ(total(a.step()), total(b.step()));
  EXPECT_EQ(a.gradients(), b.gradients());
}

}  // namespace
}  // namespace bm3::test
