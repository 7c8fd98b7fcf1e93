// The rivals: sums, signs and symmetries of single models, whatever their parameters.
#include "backends.h"
#include "layers/adam.h"
#include "model_case.h"

namespace bm3::test {
namespace {

template <class Backend>
class RivalTest : public OnBackend<Backend, 1> {
 protected:
  /// The vectors of users and of items that the model ranks by.
  static std::pair<std::vector<double>, std::vector<double>> vectors(CaseOnDevice<double>& at) {
    const Embeddings<double> h = at.model->embeddings();
    return {host<double>(at.ops, h.user), host<double>(at.ops, h.item)};
  }
};
TYPED_TEST_SUITE(RivalTest, Backends64, BackendName);

const ModelKind &buir = model_kind("buir"), &grcn = model_kind("grcn"),
                &dualgnn = model_kind("dualgnn"), &lattice = model_kind("lattice");

/// Four distances of 1 - cos, each at most 2, are not below 0; also where edges are dropped. Users
/// as items and items as users give the same.
TYPED_TEST(RivalTest, BuirsLossIsSymmetricAndLiesBetween0And8) {
  Ops<double>& on = *this->ops;
  for_each_case(buir, [&](const ModelCase& c, const std::string& words) {
    CaseOnDevice<double> at(on, c);
    const double loss = total(at.step());
    EXPECT_TRUE(loss >= 0 && loss <= 8) << words << ": " << loss;
  });
  const ModelCase c = random_case(buir, 0, 3);
  ModelCase turned = c;
  std::swap(turned.n_users, turned.n_items);
  for (auto* pairs : {&turned.train, &turned.batch})
    for (Interaction& pair : *pairs) std::swap(pair.user, pair.item);
  CaseOnDevice<double> a(on, c), b(on, turned);
  for (const auto& p : a.model->parameters().all()) {
    std::string name = p.name;
    const size_t user = name.find("user"), item = name.find("item");
    if (user != name.npos) name.replace(user, 4, "item");
    if (item != name.npos) name.replace(item, 4, "user");
    upload(on, b.model->parameters().at(name).value, host<double>(on, p.value));
  }
  EXPECT_NEAR(a.loss(), b.loss(), 1e-14);
}

/// They start where the online tables start; T = m T + (1 - m) E moves all of their rows.
TYPED_TEST(RivalTest, BuirsTargetsFollowTheOnlineTables) {
  Ops<double>& on = *this->ops;
  for (const auto& [momentum, m] : {std::pair{"0", 0.0}, {"0.5", 0.5}, {"1", 1.0}}) {
    CaseOnDevice<double> at(on, random_case(buir, 0, 4, {{"momentum", momentum}}));
    auto& parameters = at.model->parameters();
    for (const std::string name : {"user_embedding", "item_embedding"}) {
      const Matrix<double> online = parameters.at(name).value;
      const Matrix<double> target = parameters.at("target." + name).value;
      parameters.initialise(5);
      EXPECT_EQ(host<double>(on, target), host<double>(on, online));
      const auto T = Random(6).numbers<double>(target.size()), E = host<double>(on, online);
      upload(on, target, T);
      at.model->after_update();
      const auto moved = host<double>(on, target);
      for (size_t k = 0; k < T.size(); ++k)
        EXPECT_DOUBLE_EQ(moved[k], m * T[k] + (1 - m) * E[k]) << momentum;
      EXPECT_EQ(host<double>(on, online), E);
    }
  }
}

/// To the last bit, in losses and gradients.
TYPED_TEST(RivalTest, VbprWithoutModalitiesIsBpr) {
  CaseOnDevice<double> a(*this->ops, random_case(model_kind("vbpr"), 0, 5)),
      b(*this->ops, random_case(model_kind("bpr"), 0, 5));
  EXPECT_EQ(total(a.step()), total(b.step()));
  EXPECT_EQ(a.gradients(), b.gradients());
}

/// With frozen tables MMGCN's regulariser is a constant; with trained ones it is not.
TYPED_TEST(RivalTest, MmgcnsFrozenTablesLeaveTheRegulariserWithoutEffect) {
  for (const char* tables : {"frozen", "trained"}) {
    const auto gradients = [&](const char* reg) {
      CaseOnDevice<double> at(*this->ops, random_case(model_kind("mmgcn"), 2, 4,
                                                      {{"tables", tables}, {"reg", reg}}));
      at.step();
      return at.gradients();
    };
    EXPECT_EQ(gradients("0") == gradients("7"), tables == std::string("frozen")) << tables;
  }
}

/// In DualGNN the visual modality stands for the sum, whatever its place; items do not depend on
/// the fusion, and of one modality the sum is itself.
TYPED_TEST(RivalTest, DualGnnsAliasedImagesStandForTheSum) {
  using Shapes = std::vector<ModalityShape>;
  const Shapes image{{"image", 5}}, both{{"audio", 3}, {"image", 5}};
  const auto output = [&](const Shapes& modalities, const char* fusion, double of_others = 0) {
    ModelCase c = random_case(dualgnn, 0, 6, {{"fusion", fusion}});
    c.modalities = modalities;
    CaseOnDevice<double> at(*this->ops, c);
    for (const auto& v : variables(*this->ops, *at.model, at.batch)) {  // by name
      auto values = Random(std::hash<std::string>{}(v.name)).numbers<double>(v.value.size());
      for (size_t k = 0; k < values.size() && v.name == "user_weight"; ++k)
        values[k] = k % modalities.size() == 0 ? 1 : of_others;
      upload(*this->ops, v.value, values);
    }
    return this->vectors(at);
  };
  EXPECT_EQ(output(image, "aliased"), output(image, "separate"));
  const auto aliased = output(both, "aliased"), separate = output(both, "separate");
  EXPECT_NE(aliased.first, separate.first);
  EXPECT_EQ(aliased.second, separate.second);
  EXPECT_EQ(output({both[1], both[0]}, "aliased", 0.5), output(both, "aliased", 0.5));
}

/// What an epoch draws: DualGNN's copies of neighbours, by which it ranks, too, in the same memory;
/// FREEDOM's edges, while it ranks by all of them. The same epoch draws the same.
TYPED_TEST(RivalTest, EpochsDrawNeighboursAndEdges) {
  for (const char* model : {"dualgnn", "freedom"}) {
    ModelCase c = random_case(model_kind(model), 2, 4, {{"neighbours", "40"}, {"rho", "0.5"}});
    c.n_users = c.n_items = 8;
    c.train = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {2, 0}, {2, 1},
               {3, 1}, {3, 2}, {4, 0}, {4, 1}, {4, 2}, {5, 4}};
    CaseOnDevice<double> at(*this->ops, c);
    const auto drawn = [&](size_t epoch) {
      at.model->begin_epoch(c.seed, epoch);
      return std::pair(at.loss(), this->vectors(at));
    };
    const auto first = drawn(1);
    const size_t allocated = this->ops->allocated();
    const auto second = drawn(2);
    EXPECT_NE(second.first, first.first) << model;
    EXPECT_EQ(second.second == first.second, c.kind->name == "freedom") << model;
    EXPECT_EQ(drawn(1), first) << model;
    EXPECT_EQ(this->ops->allocated(), allocated) << model;
  }
}

/// Shares of a target add up to 1, no weight is negative, and rows of x have length 1. Without
/// routing users' rows are their preferences at that length; with it they move.
TYPED_TEST(RivalTest, GrcnsSharesAddUpToOneAndRoutingAloneMovesUsers) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const bool routed = seed % 2;
    const ModelCase c = random_case(grcn, 1 + seed % 3, seed, {{"routing", routed ? "2" : "0"}});
    CaseOnDevice<double> at(*this->ops, c);
    at.model->forward(at.batch);
    std::map<std::string, std::vector<double>> out;
    for (Trace& t : at.model->trace(at.batch)) out[t.name] = std::move(t.values);
    for (double w : out["w"]) EXPECT_GE(w, 0);
    const auto begin = at.graph.begin.host();
    for (const auto& m : c.modalities) {
      const double* const alpha = out["alpha." + m.name].data();
      for (size_t t = 0; t + 1 < begin.size(); ++t)
        EXPECT_NEAR(std::accumulate(alpha + begin[t], alpha + begin[t + 1], 0.0),
                    begin[t] < begin[t + 1], 1e-14) << "target " << t;
      const auto& p = at.model->parameters().at(m.name + ".preference");
      const std::vector<double> P = host<double>(*this->ops, p.value), &x = out["x." + m.name];
      double moved = 0;
      for (size_t r = 0; r < x.size(); r += p.cols) {
        const auto product = [&](const auto& a, const auto& b) {
          return std::inner_product(&a[r], &a[r] + p.cols, &b[r], 0.0);
        };
        EXPECT_NEAR(product(x, x), 1, 1e-14);
        if (r < P.size())
          moved = std::max(moved, 1 - product(x, P) / std::sqrt(product(P, P)));
      }
      EXPECT_TRUE(routed ? moved > 1e-3 : moved <= 1e-14) << moved;
    }
  }
}

/// Whether a gradient is zero, of modal_weight, of the features and the weights of the first
/// modality, and of the items' embeddings.
std::vector<bool> are_zero(CaseOnDevice<double>& at) {
  at.step();
  auto all = at.gradients();
  std::vector<bool> out;
  for (const char* name : {"modal_weight", "feature.image", "image.weight", "item_embedding"})
    out.push_back(largest_magnitude(all.at(name)) == 0);
  return out;
}

/// The batch that builds LATTICE's graph has all gradients; the others of its epoch take the graph
/// as it is, whatever becomes of the parameters that it was made of. With the raw features' graph
/// alone, only how modalities are mixed is learnt.
TYPED_TEST(RivalTest, LatticeLearnsItsGraphInTheFirstBatchOfAnEpoch) {
  using Zero = std::vector<bool>;
  const auto case_of = [](const char* raw_weight, const char* build) {
    return random_case(lattice, 2, 6, {{"raw-weight", raw_weight}, {"build", build}});
  };
  CaseOnDevice<double> at(*this->ops, case_of("0.5", "epoch"));
  EXPECT_EQ(are_zero(at), (Zero{false, false, false, false}));
  EXPECT_FALSE(at.model->repeats());
  at.model->after_update();
  EXPECT_TRUE(at.model->repeats());
  EXPECT_EQ(are_zero(at), (Zero{true, true, true, false}));
  const double loss = at.loss();
  const auto& W = at.model->parameters().at("image.weight").value;
  upload(*this->ops, W, Random(8).numbers<double>(W.size()));
  EXPECT_EQ(at.loss(), loss);
  at.model->begin_epoch(1, 2);
  EXPECT_NE(at.loss(), loss);

  CaseOnDevice<double> each(*this->ops, case_of("0.5", "batch"));
  each.model->after_update();
  EXPECT_EQ(are_zero(each), (Zero{false, false, false, false}));
  CaseOnDevice<double> raw(*this->ops, case_of("1", "epoch"));
  EXPECT_EQ(are_zero(raw), (Zero{false, true, true, false}));
}

/// The rate of epoch e, from 0, is lr q^(e/50): Adam's first steps with a constant gradient are
/// nearly as long as the rate.
TEST(Lattice, LearningRateFallsFromEpochToEpoch) {
  const auto ops = make_cpu_ops<double>(1);
  Parameters<double> x(*ops);
  x.add({"x", 1, 1, {}});
  x.allocate();
  uint32_t step = 0;
  Adam<double> adam(*ops, x, {}, {0.1, 0.96, 3}, 9, &step);
  const std::vector<double> one = {1};
  double before = 0;
  for (size_t t = 0; t < 9; ++t) {
    upload(*ops, x.gradients(), one);
    ++step;
    adam.begin_step({});
    adam.step({});
    const double now = x.values().at[0];
    EXPECT_NEAR((before - now) / (0.1 * std::pow(0.96, static_cast<double>(t / 3) / 50)), 1, 1e-6);
    before = now;
  }
}

}  // namespace
}  // namespace bm3::test
