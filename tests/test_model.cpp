// The whole loss [Eq. 12]: its gradients against finite differences, zero where the gradient stops,
// the same bytes for any number of threads, and a worked example.
#include <gtest/gtest.h>

#include "model_check.h"

namespace bm3::test {
namespace {

struct Losses {
  const char* name;
  bool rec, align, mask;
};
constexpr Losses each_loss[] = {{"rec", true, false, false},
                                {"align", false, true, false},
                                {"mask", false, false, true},
                                {"all", true, true, true}};

void choose(ModelCase& c, const Losses& losses, RegForm form, double reg_weight) {
  c.config.rec = losses.rec;
  c.config.align = losses.align;
  c.config.mask = losses.mask;
  c.config.reg_form = form;
  c.config.reg_weight = reg_weight;
}

/// Every number of layers and modalities, each loss alone and all, both forms of the regulariser;
/// dropout, its weight and frozen or tuned features take turns.
template <class Check>
void for_each_case(const Check& check) {
  constexpr double dropouts[] = {0, 0.3, 0.5}, weights[] = {0.1, 1, 0, 2, 0.01};
  uint64_t seed = 0;
  for (size_t n_layers = 0; n_layers <= 3; ++n_layers)
    for (size_t n_modalities = 0; n_modalities <= 3; ++n_modalities)
      for (const Losses& losses : each_loss)
        for (RegForm form : {RegForm::norm, RegForm::squared}) {
          ModelCase c = random_case(n_layers, n_modalities, ++seed);
          choose(c, losses, form, weights[seed % 5]);
          c.config.dropout = dropouts[seed % 3];
          c.config.tuned = seed % 7 != 0;
          check(c, "L = " + std::to_string(n_layers) + ", " + std::to_string(n_modalities) +
                       " modalities, loss " + losses.name + ", seed " + std::to_string(seed));
        }
}

TEST(Model, WholeLossMatchesFiniteDifferences) {
  const auto ops = make_cpu_ops<double>(1);
  Agreement all;
  size_t cases = 0;
  for_each_case([&](const ModelCase& c, const std::string& words) {
    for (const auto& [name, agreement] : check_model(*ops, c)) {
      EXPECT_TRUE(agreement.within(gradient_bound)) << words << ", " << name << ": " << agreement;
      all += agreement;
    }
    ++cases;
  });
  std::cout << cases << " cases, " << all << " (bound " << gradient_bound << ")\n";
  EXPECT_EQ(cases, 128u);
}

}  // namespace
}  // namespace bm3::test
