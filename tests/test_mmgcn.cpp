// MMGCN alone: the networks behind an image's linear layer, its adjacency, what a frozen table
// leaves out, and its loss at zero scores.
#include <cmath>

#include "backends.h"
#include "layers/sparse.h"
#include "model_case.h"
#include "scratch.h"

namespace bm3::test {
namespace {

const ModelKind& mmgcn() { return model_kind("mmgcn"); }

ModelCase case_of(const std::vector<ModalityShape>& modalities, const char* tables,
                  const char* reg, uint64_t seed) {
  ModelCase c = random_case(mmgcn(), 0, seed);
  c.modalities = modalities;
  c.settings.set("latent", "3");
  c.settings.set("tables", tables);
  c.settings.set("reg", reg);
  return c;
}
const std::vector<ModalityShape> image{{"image", 5}}, text{{"text", 4}},
    both{{"image", 5}, {"text", 4}};

template <class Backend>
class MmgcnTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(MmgcnTest, Backends64, BackendName);

/// An image's linear layer is behind every other parameter of its network.
TYPED_TEST(MmgcnTest, GradientsOfTheImageNetworkMatchFiniteDifferences) {
  for (const auto& modalities : {image, both})
    for (const char* tables : {"frozen", "trained"}) {
      const ModelCase c = case_of(modalities, tables, "0.5", 3);
      const auto agreements = check_model(*this->ops, c);
      EXPECT_EQ(agreements.count("image.weight"), 1u);
      EXPECT_EQ(agreements.count("image.preference"), c.settings.has("tables", "trained") ? 1u : 0);
      for (const auto& [name, agreement] : agreements)
        EXPECT_TRUE(agreement.within(gradient_bound)) << tables << ", " << name << ": "
                                                      << agreement;
    }
}

/// With frozen tables the regulariser is a constant; with trained ones it is not.
TYPED_TEST(MmgcnTest, FrozenTablesLeaveTheRegulariserWithoutEffect) {
  for (const char* tables : {"frozen", "trained"}) {
    const auto gradients = [&](const char* reg) {
      CaseOnDevice<double> at(*this->ops, case_of(both, tables, reg, 4));
      at.step();
      return at.gradients();
    };
    EXPECT_EQ(gradients("0") == gradients("7"), tables == std::string("frozen")) << tables;
  }
}

/// Parameters of 0 give scores of 0, and each triple ln 2.
TYPED_TEST(MmgcnTest, LossIsLnTwoAtZeroScores) {
  CaseOnDevice<double> at(*this->ops, case_of(both, "trained", "1", 5));
  this->ops->zero(at.model->parameters().values().at,
                  at.model->parameters().values().size() * sizeof(double));
  EXPECT_NEAR(total(at.step()), std::log(2.0), 1e-15);
}

/// Each modality's output has the same share; images alone and text alone are models, too.
TYPED_TEST(MmgcnTest, OutputIsTheMeanOverModalities) {
  std::map<std::string, std::vector<double>> values;
  CaseOnDevice<double> all(*this->ops, case_of(both, "frozen", "0", 6));
  for (const auto& v : variables(*this->ops, *all.model, all.batch))
    values[v.name] = host<double>(*this->ops, v.value);
  const auto output = [&](CaseOnDevice<double>& at) {
    at.model->begin_epoch(at.seed, 1);
    return host<double>(*this->ops, at.model->embeddings().user);
  };
  std::vector<double> sum(values.at("user_embedding").size());
  for (const auto& alone : {image, text}) {
    CaseOnDevice<double> at(*this->ops, case_of(alone, "frozen", "0", 6));
    for (const auto& v : variables(*this->ops, *at.model, at.batch))
      upload(*this->ops, v.value, values.at(v.name));
    const auto x = output(at);
    for (size_t k = 0; k < x.size(); ++k) sum[k] += x[k] / 2;
  }
  EXPECT_TRUE(compare(output(all), sum, 1).within(1e-14));
}

TEST(Mmgcn, AdjacencyIsAMeanOverNeighbours) {
  const auto ops = make_cpu_ops<double>(1);
  const auto graph = make_graph<double>(*ops, 3, 3, {{0, 0}, {0, 2}, {1, 2}, {0, 2}});
  const Array<double> ones(*ops, std::vector<double>(6, 1));
  Array<double> sums(*ops, 6);
  multiply<double>(*ops, sums.matrix(6, 1), adjacency(*ops, graph, Scaling::mean),
                   ones.matrix(6, 1));
  EXPECT_EQ(sums.host(), (std::vector<double>{1, 1, 0, 1, 0, 1}));
}

TEST(Mmgcn, NeedsFeatures) {
  const auto ops = make_cpu_ops<double>(1);
  EXPECT_ERROR(CaseOnDevice<double>(*ops, case_of({}, "frozen", "0", 1)),
               "the model mmgcn without features: expected one modality or more");
}

}  // namespace
}  // namespace bm3::test
