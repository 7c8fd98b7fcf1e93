// What every model must prove, on every backend: a new one in all_models() gets all of it.
#include "backends.h"
#include "error.h"
#include "faulty_ops.h"
#include "model_case.h"
#include "scratch.h"

namespace bm3::test {
namespace {

/// One model on one backend, in double precision.
class ModelTest : public ::testing::TestWithParam<std::tuple<Backend64, std::string>> {
 protected:
  void SetUp() override {
    std::string why;
    const Backend64& backend = std::get<0>(GetParam());
    if (!backend.works(why)) GTEST_SKIP() << backend.name << ": " << why;
    ops = backend.make(1);
  }
  const ModelKind& kind() const { return model_kind(std::get<1>(GetParam())); }
  std::unique_ptr<Ops<double>> ops;
};

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const ModelKind& kind : all_models()) out.push_back(kind.name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Every, ModelTest,
                         ::testing::Combine(::testing::ValuesIn(backends64()),
                                            ::testing::ValuesIn(names())),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" + std::get<1>(test.param);
                         });

/// dL/d(every parameter and tuned feature), draws and targets frozen; a backend that is there for
/// correctness alone takes a few of the cases.
TEST_P(ModelTest, GradientsMatchFiniteDifferences) {
  double worst = 0;
  const bool slow = std::get<0>(GetParam()).most_rows < 1000000;
  const size_t cases = for_each_case(kind(), [&](const ModelCase& c, const std::string& words) {
    if (slow && c.seed % 31 != 0) return;
    for (const auto& [name, agreement] : check_model(*ops, c)) {
      EXPECT_WITHIN(agreement, gradient_bound) << words << ", " << name;
      worst = std::max(worst, agreement.error);
    }
  });
  std::cout << cases << " cases, worst error " << worst << " (bound " << gradient_bound << ")\n";
  EXPECT_GE(cases, 32u);
}

/// The first gradient of a model that is wrong, by name, in a case in which every part has a share
/// of every gradient that it can reach; "" where none is.
std::string wrong_gradient(Ops<double>& ops, uint64_t seed) {
  for (const ModelKind& kind : all_models())
    for (const char* form : {"norm", "squared"}) {
      const ModelCase c = random_case(
          kind, kind.reads_features ? 2 : 0, seed,
          {{"layers", "2"}, {"dropout", "0.3"}, {"reg", "2"}, {"reg-form", form}});
      for (const auto& [name, agreement] : check_model(ops, c))
        if (!agreement.within(gradient_bound)) return kind.name + "/" + form + "/" + name;
    }
  return "";
}

/// Each wrong operation shows in the whole loss of a model that uses it, with one seed in four not
/// counted: near a kink a case is checked at another point, where a fault may have no part.
TEST(PlantedFault, IsCaught) {
  for (const char* fault : planted) {
    FaultyOps ops(fault);
    size_t seen = 0;
    for (uint64_t seed = 1; seed <= 4; ++seed) seen += wrong_gradient(ops, seed) != "";
    EXPECT_GE(seen, 3u) << fault;
  }
}

TEST(PlantedFault, RightModelsPass) {
  FaultyOps ops("none");
  for (uint64_t seed = 1; seed <= 4; ++seed) EXPECT_EQ(wrong_gradient(ops, seed), "") << seed;
}


/// With all parameters 0 every score is 0, and each triple ln 2, or 1 where the logarithm is to the
/// base 2.
TEST_P(ModelTest, EqualScoresCostLn2) {
  if (!kind().draws_negatives) return;
  CaseOnDevice<double> at(*ops, random_case(kind(), kind().reads_features ? 2 : 0, 5,
                                            {{"pair-form", "plain"}}));
  ops->zero(at.model->parameters().values().at,
            at.model->parameters().values().size() * sizeof(double));
  const Loss loss = at.step()[0];
  EXPECT_NEAR(loss.weight * loss.value, kind().name == "dualgnn" ? 1 : std::log(2.0), 1e-15);
}

TEST_P(ModelTest, SaysThatItNeedsFeatures) {
  const std::string words = "the model " + kind().name + " without features: expected one modality "
                                                         "or more";
  EXPECT_ERROR(CaseOnDevice<double>(*ops, random_case(kind(), 0, 1)),
               kind().needs_features ? words : "");
}

/// Turns rows that are a softmax into logarithms whose mean is 0 and whose variance is that of what
/// the softmax was taken of.
void undo_softmax(std::vector<double>& x, size_t cols) {
  const auto n = static_cast<double>(cols);
  for (size_t first = 0; first < x.size(); first += cols) {
    double mean = 0;
    for (size_t k = first; k < first + cols; ++k) mean += (x[k] = std::log(x[k])) / n;
    for (size_t k = first; k < first + cols; ++k) x[k] = (x[k] - mean) * std::sqrt(n / (n - 1));
  }
}

/// Initial values: ranges, and second moments within five standard deviations, of each parameter's
/// law; neighbours have nothing to do with each other; keyed by the seed.
TEST_P(ModelTest, InitialValuesFollowTheirLaws) {
  ModelCase c = random_case(kind(), 0, 1);
  c.n_users = 400;
  c.n_items = 300;
  if (kind().reads_features) c.modalities = {{"image", 700}, {"text", 40}};
  c.settings.set("dim", "64");
  CaseOnDevice<double> at(*ops, c);
  auto& parameters = at.model->parameters();
  parameters.initialise(3);
  const auto values = host<double>(*ops, parameters.values());
  for (const auto& p : parameters.all()) {
    std::vector<double> x = host<double>(*ops, p.value);
    if (p.law.softmax) undo_softmax(x, p.value.cols);
    double squares = 0;
    for (double value : x) squares += value * value;
    const double variance = p.law.spread * p.law.spread / (p.law.normal ? 1 : 3);
    const double kurtosis = p.law.normal ? 3 : 9.0 / 5, n = static_cast<double>(x.size());
    EXPECT_LE(std::abs(squares - n * variance), 5 * std::sqrt((kurtosis - 1) * n) * variance)
        << p.name;
    for (size_t lag = 1; lag < 4 && !p.law.softmax; ++lag) {
      double products = 0;
      for (size_t k = lag; k < x.size(); ++k) products += x[k] * x[k - lag];
      EXPECT_LE(std::abs(products), 5 * std::sqrt(n) * variance) << p.name << ", " << lag;
    }
    EXPECT_TRUE(p.law.normal || largest_magnitude(x) <= p.law.spread) << p.name;
  }
  parameters.initialise(3);
  EXPECT_EQ(host<double>(*ops, parameters.values()), values);
  parameters.initialise(4);
  EXPECT_NE(host<double>(*ops, parameters.values()), values);
  EXPECT_THROW(parameters.at("audio.weight"), Error);
}

}  // namespace
}  // namespace bm3::test
