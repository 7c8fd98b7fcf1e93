// DualGNN alone: the graph of users and its draws, both fusions, and its loss at zero scores.
#include <cmath>

#include "backends.h"
#include "layers/user_graph.h"
#include "model_case.h"
#include "scratch.h"

namespace bm3::test {
namespace {

/// User 0 has items 0, 1, 2 and in common with users 1, 2, 3 and 4 one, two, two and three of them;
/// user 5 has item 4 alone.
const std::vector<Interaction> edges{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {2, 0}, {2, 1}, {3, 1},
                                     {3, 2}, {4, 0}, {4, 1}, {4, 2}, {5, 4}};
UserGraph graph(size_t k) { return UserGraph(6, 5, edges, k); }

/// The list of a user out of all lists of k.
std::vector<int32_t> list(const std::vector<int32_t>& lists, size_t user, size_t k) {
  return {lists.begin() + static_cast<std::ptrdiff_t>(user * k),
          lists.begin() + static_cast<std::ptrdiff_t>((user + 1) * k)};
}

TEST(UserGraph, HasTheMostCommonUsersFirst) {
  EXPECT_EQ(list(graph(3).draw(1, 1), 0, 3), (std::vector<int32_t>{4, 2, 3}));
  EXPECT_EQ(list(graph(2).draw(1, 1), 0, 2), (std::vector<int32_t>{4, 2}));
  EXPECT_EQ(list(graph(4).draw(1, 1), 0, 4), (std::vector<int32_t>{4, 2, 3, 1}));
  EXPECT_EQ(list(graph(4).draw(1, 1), 5, 4), (std::vector<int32_t>(4, 0)));
}

/// The rest of a list are copies of its members, by (seed, epoch) alone; the current copies count,
/// so that of two members each share of a list is as likely as any other (Polya's urn).
TEST(UserGraph, FillsListsWithCopies) {
  const UserGraph of = graph(40);
  EXPECT_EQ(of.draw(1, 1), of.draw(1, 1));
  EXPECT_NE(of.draw(1, 1), of.draw(1, 2));
  EXPECT_NE(of.draw(1, 1), of.draw(2, 1));
  const UserGraph two(3, 2, {{0, 0}, {1, 0}, {2, 0}}, 40);
  std::vector<size_t> quarters(4);
  for (size_t epoch = 1; epoch <= 4000; ++epoch) {
    const auto drawn = list(two.draw(1, epoch), 0, 40);
    EXPECT_EQ(drawn[0], 1);
    EXPECT_EQ(drawn[1], 2);
    const auto ones = std::count(drawn.begin(), drawn.end(), 1);
    EXPECT_EQ(ones + std::count(drawn.begin(), drawn.end(), 2), 40);
    ++quarters[std::min<size_t>(3, static_cast<size_t>((ones - 1) * 4 / 39))];
  }
  for (size_t n : quarters) EXPECT_NEAR(static_cast<double>(n), 1000, 150);
}

/// Weights are a softmax of the counts, copies apart; without neighbours they are 0.
TEST(UserGraph, WeighsByTheSoftmaxOfCounts) {
  const UserGraph of = graph(3);
  const auto entries = of.entries(of.draw(1, 1));
  ASSERT_EQ(entries.size(), 18u);
  const double sum = std::exp(3) + 2 * std::exp(2);
  for (size_t e : {0, 1, 2})
    EXPECT_NEAR(entries[e].weight, std::exp(e == 0 ? 3 : 2) / sum, 1e-15) << e;
  for (size_t e : {15, 16, 17}) EXPECT_EQ(entries[e].weight, 0) << e;
  for (size_t user = 0; user < 5; ++user)
    EXPECT_NEAR(entries[3 * user].weight + entries[3 * user + 1].weight +
                    entries[3 * user + 2].weight, 1, 1e-15);
  EXPECT_ERROR(of.entries(std::vector<int32_t>(18, 1)),
               "user 1 is none of the neighbours of user 0: expected one of the 3 with the most "
               "items in common");
}

ModelCase case_of(const std::vector<ModalityShape>& modalities, const char* fusion,
                  uint64_t seed) {
  ModelCase c = random_case(model_kind("dualgnn"), 0, seed);
  c.modalities = modalities;
  c.settings.set("fusion", fusion);
  return c;
}
const std::vector<ModalityShape> image{{"image", 5}}, both{{"audio", 3}, {"image", 5}};

template <class Backend>
class DualGnnTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(DualGnnTest, Backends64, BackendName);

TYPED_TEST(DualGnnTest, LossIsOneAtZeroScores) {
  CaseOnDevice<double> at(*this->ops, case_of(both, "separate", 5));
  this->ops->zero(at.model->parameters().values().at,
                  at.model->parameters().values().size() * sizeof(double));
  EXPECT_NEAR(total(at.step()), 1, 1e-15);  // log2 of 2
}

/// The visual modality stands for the sum, whatever its place; items do not depend on the fusion,
/// and of one modality the sum is itself.
TYPED_TEST(DualGnnTest, AliasedImagesStandForTheSum) {
  const auto output = [&](const std::vector<ModalityShape>& modalities, const char* fusion) {
    CaseOnDevice<double> at(*this->ops, case_of(modalities, fusion, 6));
    auto w = host<double>(*this->ops, at.model->parameters().at("user_weight").value);
    const size_t n = modalities.size();
    for (size_t k = 0; k < w.size(); ++k) w[k] = k % n == 0 ? 1 : 0;  // of images alone
    upload(*this->ops, at.model->parameters().at("user_weight").value, w);
    const Embeddings<double> h = at.model->embeddings();
    return std::pair(host<double>(*this->ops, h.user), host<double>(*this->ops, h.item));
  };
  EXPECT_EQ(output(image, "aliased"), output(image, "separate"));
  const auto aliased = output(both, "aliased"), separate = output(both, "separate");
  EXPECT_NE(aliased.first, separate.first);
  EXPECT_EQ(aliased.second, separate.second);
}

/// Another epoch has other copies, in the same memory; the same one has the same.
TYPED_TEST(DualGnnTest, AnEpochDrawsItsNeighbours) {
  ModelCase c = case_of(both, "aliased", 7);
  c.n_users = c.n_items = 8;
  c.train = edges;
  c.settings.set("neighbours", "40");
  CaseOnDevice<double> at(*this->ops, c);
  const auto users = [&](size_t epoch) {
    at.model->begin_epoch(c.seed, epoch);
    return host<double>(*this->ops, at.model->embeddings().user);
  };
  const size_t allocated = this->ops->allocated();
  const auto first = users(1);
  EXPECT_NE(users(2), first);
  EXPECT_EQ(users(1), first);
  EXPECT_EQ(this->ops->allocated(), allocated);
}

}  // namespace
}  // namespace bm3::test
