// GRCN's own: what attention, pruning and routing must be, whatever the parameters.
#include "backends.h"
#include "model_case.h"

namespace bm3::test {
namespace {

template <class Backend>
class GrcnTest : public OnBackend<Backend, 1> {
 protected:
  /// Calls check(device, trace by name) after the forward pass of random cases.
  template <class Check>
  void for_each_pass(const char* routing, const Check& check) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      ModelCase c = random_case(model_kind("grcn"), 1 + seed % 3, seed);
      c.settings.set("routing", routing);
      CaseOnDevice<double> at(*this->ops, c);
      at.model->forward(at.batch);
      std::map<std::string, std::vector<double>> out;
      for (Trace& t : at.model->trace(at.batch)) out[t.name] = std::move(t.values);
      for (const auto& v : variables(*this->ops, *at.model, at.batch))
        out[v.name] = host<double>(*this->ops, v.value);
      check(at, c.modalities, out);
    }
  }
};
TYPED_TEST_SUITE(GrcnTest, Backends64, BackendName);

/// Shares of a target add up to 1; the largest of their products with the source's confidence is
/// the edge's weight, or 0 where none is positive; the edge is then pruned.
TYPED_TEST(GrcnTest, SharesAddUpToOneAndNoWeightIsNegative) {
  size_t edges = 0, pruned = 0;
  this->for_each_pass("0", [&](const auto& at, const auto& modalities, auto& out) {
    const auto begin = at.graph.begin.host();
    const auto source = at.graph.neighbour.host();
    const size_t M = modalities.size();
    for (size_t t = 0; t + 1 < begin.size(); ++t) {
      std::vector<double> sums(M);
      for (auto e = static_cast<size_t>(begin[t]); e < static_cast<size_t>(begin[t + 1]); ++e) {
        double most = 0;
        for (size_t m = 0; m < M; ++m) {
          const double alpha = out["alpha." + modalities[m].name][e];
          sums[m] += alpha;
          most = std::max(most,
                          alpha * out["confidence"][static_cast<size_t>(source[e]) * M + m]);
        }
        EXPECT_GE(out["w"][e], 0);
        EXPECT_NEAR(out["w"][e], most, 1e-15);
        pruned += out["w"][e] == 0;
        ++edges;
      }
      for (double sum : sums)
        EXPECT_NEAR(sum, begin[t + 1] > begin[t] ? 1 : 0, 1e-14) << "target " << t;
    }
  });
  EXPECT_GT(pruned, edges / 10);
  EXPECT_LT(pruned, edges);
}

/// The rows of x have length 1. Without routing, users' rows are their preferences at that length;
/// with it they move, and items' rows stay where they were.
TYPED_TEST(GrcnTest, RoutingMovesUsersAndNoItem) {
  std::vector<std::vector<double>> before;
  for (const char* routing : {"0", "2"}) {
    size_t k = 0;
    this->for_each_pass(routing, [&](const auto& at, const auto& modalities, auto& out) {
      const size_t d = at.model->parameters().all()[0].cols, of_users = at.graph.n_users * d;
      for (const auto& m : modalities) {
        const std::vector<double>& x = out["x." + m.name];
        const std::vector<double>& P = out[m.name + ".preference"];
        double moved = 0;
        for (size_t r = 0; r < x.size(); r += d) {
          double xx = 0, xp = 0, pp = 0;
          for (size_t c = r; c < r + d; ++c) {
            xx += x[c] * x[c];
            if (c < of_users) xp += x[c] * P[c], pp += P[c] * P[c];
          }
          EXPECT_NEAR(xx, 1, 1e-14);
          if (r < of_users) moved = std::max(moved, 1 - xp / std::sqrt(pp));
        }
        if (*routing == '0') {
          EXPECT_LE(moved, 1e-14);
          before.push_back(x);
        } else {
          EXPECT_GT(moved, 1e-3);
          EXPECT_TRUE(std::equal(x.begin() + static_cast<std::ptrdiff_t>(of_users), x.end(),
                                 before[k].begin() + static_cast<std::ptrdiff_t>(of_users)));
          ++k;
        }
      }
    });
  }
}

/// The same parameters give the same vectors whatever the batch was: scores are fresh.
TYPED_TEST(GrcnTest, RanksByTheVectorsOfTheForwardPass) {
  this->for_each_pass("1", [&](auto& at, const auto& modalities, auto& out) {
    const Embeddings<double> h = at.model->embeddings();
    const size_t d = at.model->parameters().all()[0].cols;
    ASSERT_EQ(h.user.cols, (1 + modalities.size()) * d);
    for (const auto& rows : {h.user, h.item}) {
      const auto values = host<double>(*this->ops, rows);
      const size_t first = rows.at == h.user.at ? 0 : at.graph.n_users;
      for (size_t k = 0; k < values.size(); ++k) {
        const size_t part = k % rows.cols / d, at_node = (first + k / rows.cols) * d + k % d;
        const std::string name = part == 0 ? "Z" : "Rep." + modalities[part - 1].name;
        EXPECT_EQ(values[k], out[name][at_node]) << name;
      }
    }
  });
}

}  // namespace
}  // namespace bm3::test
