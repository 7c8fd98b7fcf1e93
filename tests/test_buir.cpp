// BUIR: what its loss and its targets must be whatever its parameters.
#include <gtest/gtest.h>

#include "model_case.h"
#include "ops/cpu/cpu_ops.h"

namespace bm3::test {
namespace {

ModelCase buir_case(const char* momentum, uint64_t seed) {
  ModelCase c = random_case(model_kind("buir"), 0, seed);
  c.settings.set("momentum", momentum);
  return c;
}

/// Four distances of 1 - cos, each at most 2, are not below 0; also where edges are dropped.
TEST(Buir, LossLiesBetween0And8) {
  CpuOps<double> ops(1);
  for_each_case(model_kind("buir"), [&](const ModelCase& c, const std::string& words) {
    CaseOnDevice<double> at(ops, c);
    const double loss = total(at.step());
    EXPECT_GE(loss, 0) << words;
    EXPECT_LE(loss, 8) << words;
  });
}

/// The same with users as items and items as users.
TEST(Buir, UsersAndItemsHaveTheSameRole) {
  CpuOps<double> ops(1);
  const ModelCase c = buir_case("0.5", 3);
  ModelCase turned = c;
  std::swap(turned.n_users, turned.n_items);
  for (auto* pairs : {&turned.train, &turned.batch})
    for (Interaction& pair : *pairs) std::swap(pair.user, pair.item);
  CaseOnDevice<double> a(ops, c), b(ops, turned);
  for (const auto& p : a.model->parameters().all()) {
    std::string name = p.name;
    if (const size_t at = name.find("user"); at != std::string::npos)
      name.replace(at, 4, "item");
    else if (const size_t at_item = name.find("item"); at_item != std::string::npos)
      name.replace(at_item, 4, "user");
    upload(ops, b.model->parameters().at(name).value, host<double>(ops, p.value));
  }
  EXPECT_NEAR(a.loss(), b.loss(), 1e-14);
}

/// They start where the online tables start; T = m T + (1 - m) E moves all of their rows.
TEST(Buir, TargetsFollowTheOnlineTables) {
  CpuOps<double> ops(1);
  for (const auto& [momentum, m] : {std::pair{"0", 0.0}, {"0.5", 0.5}, {"1", 1.0}}) {
    CaseOnDevice<double> at(ops, buir_case(momentum, 4));
    auto& parameters = at.model->parameters();
    for (const std::string name : {"user_embedding", "item_embedding"}) {
      const Matrix<double> online = parameters.at(name).value;
      const Matrix<double> target = parameters.at("target." + name).value;
      parameters.initialise(5);
      EXPECT_EQ(host<double>(ops, target), host<double>(ops, online));
      const auto T = Random(6).numbers<double>(target.size()), E = host<double>(ops, online);
      upload(ops, target, T);
      at.model->after_update();
      const auto moved = host<double>(ops, target);
      for (size_t k = 0; k < T.size(); ++k)
        EXPECT_DOUBLE_EQ(moved[k], m * T[k] + (1 - m) * E[k]) << momentum;
      EXPECT_EQ(host<double>(ops, online), E);
    }
  }
}

}  // namespace
}  // namespace bm3::test
