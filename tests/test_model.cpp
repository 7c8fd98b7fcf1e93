// The whole loss [Eq. 12]: against the equations one pair at a time, its gradients against finite
// differences, zero where the gradient stops, and a worked example.
#include "backends.h"
#include "error.h"
#include "ops/cpu/cpu_ops.h"
#include "plain_model.h"

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
/// dropout, its weight and frozen or tuned features take turns. Returns the number of cases.
template <class Check>
size_t for_each_case(const Check& check) {
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
  return seed;
}
constexpr size_t n_cases = 4 * 4 * 4 * 2;

template <class Backend>
class ModelTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(ModelTest, Backends64, BackendName);

/// dL/d(every parameter and tuned feature), masks and targets frozen [Eq. 1-12]
TYPED_TEST(ModelTest, WholeLossMatchesFiniteDifferences) {
  Agreement all;
  const size_t cases = for_each_case([&](const ModelCase& c, const std::string& words) {
    for (const auto& [name, agreement] : check_model(*this->ops, c)) {
      EXPECT_TRUE(agreement.within(gradient_bound)) << words << ", " << name << ": " << agreement;
      all += agreement;
    }
  });
  std::cout << cases << " cases, " << all << " (bound " << gradient_bound << ")\n";
  EXPECT_EQ(cases, n_cases);
}

/// Each part of L, and the scores, as the equations say, to the rounding of double [Eq. 1-13]
TYPED_TEST(ModelTest, LossesMatchTheEquations) {
  Agreement all;
  const size_t cases = for_each_case([&](const ModelCase& c, const std::string& words) {
    CaseOnDevice<double> at(*this->ops, c);
    const LossParts got = at.step();
    const PlainModel plain(c, at);
    const LossParts want = plain.losses(CaseOnDevice<double>::step_number);
    const auto parts = [](const LossParts& loss) {
      return std::vector<double>{loss.rec, loss.align, loss.mask, loss.reg};
    };
    const Agreement agreement = compare(parts(got), parts(want), 1);
    EXPECT_TRUE(agreement.within(1e-13)) << words << ": " << agreement;
    all += agreement;

    const size_t d = c.config.d, users = at.model.n_users(), items = at.model.n_items();
    std::vector<double> h((users + items) * d), scores, expected;
    this->ops->download(h.data(), at.model.predict_all(), h.size() * sizeof(double));
    for (size_t u = 0; u < users; ++u)
      for (size_t i = 0; i < items; ++i) {
        expected.push_back(plain.score(u, i));
        scores.push_back(0);
        for (size_t k = 0; k < d; ++k) scores.back() += h[u * d + k] * h[(users + i) * d + k];
      }
    EXPECT_TRUE(compare(scores, expected, 1).within(1e-13)) << words;
  });
  std::cout << cases << " cases, " << all << "\n";
  EXPECT_EQ(cases, n_cases);
}

/// The stopped side gets exactly zero: with L_align or L_mask alone no gradient reaches users,
/// items (targets of Eq. 10); with L_rec alone none reaches a modality. [Eq. 9-11]
TYPED_TEST(ModelTest, StoppedGradientsAreExactlyZero) {
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed)
    for (const Losses& losses : each_loss)
      for (RegForm form : {RegForm::norm, RegForm::squared}) {
        ModelCase c = random_case(seed % 4, 2, seed);
        choose(c, losses, form, 0);
        CaseOnDevice<double> at(*this->ops, c);
        at.step();
        const std::vector<double> gradients = at.model.gradients().host();
        for (const ParameterSlot& s : at.model.slots()) {
          const bool modality = s.name[0] == 'm', predictor = s.name[0] == 'p';
          const bool reached = predictor || (modality ? losses.align || losses.mask : losses.rec);
          const double largest = largest_magnitude(slice(gradients, s));
          EXPECT_TRUE(reached ? largest > 0 : largest == 0)
              << losses.name << ", " << s.name << ": " << largest;
          ++compared;
        }
        for (size_t m = 0; m < 2; ++m)
          EXPECT_EQ(largest_magnitude(at.feature_gradient(m)) > 0, losses.align || losses.mask);
      }
  EXPECT_EQ(compared, 8u * 4 * 2 * 8);
}

/// A check that forgets to freeze the targets disagrees: what it would differentiate is another
/// function. [Eq. 9-11]
TYPED_TEST(ModelTest, ThawedTargetsAreCaught) {
  for (const Losses& losses : each_loss) {
    ModelCase c = random_case(1, 2, 5);
    choose(c, losses, RegForm::norm, 0.1);
    c.config.dropout = 0.3;
    CaseOnDevice<double> at(*this->ops, c);
    at.step();
    const std::vector<double> gradients = at.model.gradients().host();
    const Agreement agreement =
        check_gradient(gradients, at.model.values().host(), [&](const auto& x) {
          at.model.values().upload(x);
          at.model.encode(at.batch);
          at.model.losses(at.batch, false);
          return at.model.take_losses().total();
        });
    EXPECT_TRUE(agreement.count > 0 && agreement.error > gradient_bound) << losses.name;
  }
}

/// The CPU's operations with batches padded to whole eights.
class PaddedOps : public CpuOps<double> {
 public:
  PaddedOps() : CpuOps<double>(1) {}
  size_t row_padding() const override { return 8; }
};

/// Rows of padding change neither a loss nor a gradient.
TEST(Padding, ChangesNothing) {
  PaddedOps padded;
  const auto plain = make_cpu_ops<double>(1);
  size_t rows_of_padding = 0;
  const size_t cases = for_each_case([&](const ModelCase& c, const std::string& words) {
    CaseOnDevice<double> a(padded, c), b(*plain, c);
    const double loss_a = a.step().total(), loss_b = b.step().total();
    EXPECT_LE(std::abs(loss_a - loss_b), 1e-13 * std::abs(loss_b)) << words;
    EXPECT_TRUE(compare(a.model.gradients().host(), b.model.gradients().host(), gradient_floor)
                    .within(1e-12))
        << words;
    for (size_t m = 0; m < c.modalities.size() && c.config.tuned; ++m)
      EXPECT_TRUE(
          compare(a.feature_gradient(m), b.feature_gradient(m), gradient_floor).within(1e-12))
          << words;
    EXPECT_EQ(a.batch.n_users % 8 + a.batch.n_items % 8, 0u);
    rows_of_padding += a.batch.n_users - b.batch.n_users + a.batch.n_items - b.batch.n_items;
  });
  EXPECT_EQ(cases, n_cases);
  EXPECT_GT(rows_of_padding, cases);
}

// --------------------------------------------------------------------------------- worked example

template <class Backend>
class WorkedExample : public OnBackend<Backend> {};
TYPED_TEST_SUITE(WorkedExample, Backends, BackendName);

/// Users 0 and 1 have items 0 and 1: every degree is 2, so D^-1/2 A D^-1/2 is 1/2 at each edge.
/// User 2 and item 2 are isolated. L = 1, d = 2, p = 0, W_p = 1, b_p = 0, so that h~ = h' = h.
///
///   E_u = (1, 1/2), (-1, -1/2), (11/4, 0)        E_i = (2, 0), (0, 2), (0, 1)
///   H^1: users 0, 1: (E_i0 + E_i1)/2 = (1, 1);  items 0, 1: (E_u0 + E_u1)/2 = (0, 0);  else (0, 0)
///   H_u = (E_u + H^1)/2       = (1, 3/4), (0, 1/4), (11/8, 0)      [Eq. 4]
///   H_i = (E_i + H^1)/2 + E_i = (3, 0), (0, 3), (0, 3/2)
///
/// Batch (0,0), (0,1), (1,1), (2,2). The cosines of H_u and H_i are 4/5, 3/5, 1, 0, and each counts
/// twice: L_rec = 2 (1/5 + 2/5 + 0 + 1)/4 = 4/5.                    [Eq. 9]
/// One modality, e = (0, 0, 1), W_m = (4/3, 0), b_m = (0, 1): h_m = (0, 1), (0, 1), (4/3, 1). Its
/// cosines with H_i are 0, 1, 3/5: L_align = (1 + 0 + 0 + 2/5)/4 = 7/20, with weight 2 7/10;
/// L_mask = 0, since h~_m = h'_m.                                   [Eq. 10, 11]
/// |H_u|_F^2 = 25/16 + 1/16 + 121/64 = (15/8)^2, |H_i|_F^2 = 9 + 9 + 9/4 = (9/2)^2, so with
/// lambda = 4/5 the norm form is 4/5 (15/8 + 9/2)/3 = 17/10; the squared form is
/// 4/5 (25/16 + 9 + 25/16 + 9 + 1/16 + 9 + 121/64 + 9/4)/4 = 4/5 2197/256. [Eq. 12]
/// s(0, 1) = (1, 3/4) . (0, 3) = 9/4.                               [Eq. 13]
TYPED_TEST(WorkedExample, ByHand) {
  using T = typename TypeParam::Real;
  const double bound = sizeof(T) == 8 ? 1e-15 : 3e-7;
  for (RegForm form : {RegForm::norm, RegForm::squared}) {
    ModelCase c{3, 3, {{0, 0}, {0, 1}, {1, 0}, {1, 1}}, {{0, 0}, {0, 1}, {1, 1}, {2, 2}},
                {}, {{"image", 1}}, 1};
    c.config.d = 2;
    c.config.dropout = 0;
    c.config.reg_weight = 0.8;
    c.config.reg_form = form;
    CaseOnDevice<T> at(*this->ops, c);
    at.model.values().upload({1, T(0.5), -1, T(-0.5), T(2.75), 0,  // E_u
                              2, 0, 0, 2, 0, 1,                    // E_i
                              1, 0, 0, 1, 0, 0,                    // W_p, b_p
                              T(4) / 3, 0, 0, 1});                 // W_m, b_m
    at.model.modalities()[0].features.upload({0, 0, 1});
    const LossParts loss = at.step();
    EXPECT_LE(std::abs(loss.rec - 0.8), bound);
    EXPECT_LE(std::abs(loss.align - 0.7), bound);
    EXPECT_LE(std::abs(loss.mask), bound);
    EXPECT_LE(std::abs(loss.reg - (form == RegForm::norm ? 1.7 : 0.8 * 2197 / 256)), 8 * bound);
    std::vector<T> h(12);
    this->ops->download(h.data(), at.model.predict_all(), 12 * sizeof(T));
    const std::vector<double> by_hand = {1, 0.75, 0, 0.25, 1.375, 0, 3, 0, 0, 3, 0, 1.5};
    EXPECT_TRUE(compare(h, by_hand, 1).within(bound));
    EXPECT_LE(std::abs(static_cast<double>(h[0] * h[8] + h[1] * h[9]) - 2.25), 8 * bound);
  }
}

// --------------------------------------------------------------------------------- initial values

/// Embeddings uniform within Xavier's bound, W normal with Xavier's deviation, biases uniform
/// within 1/sqrt(fan-in): ranges, and second moments within five standard deviations.
TEST(InitialValues, AreXavier) {
  const auto ops = make_cpu_ops<double>(1);
  ModelCase c{400, 300, {{0, 0}}, {{0, 0}}, {}, {{"image", 700}, {"text", 40}}, 1};
  CaseOnDevice<double> at(*ops, c);
  at.model.initialise(3);
  const std::vector<double> values = at.model.values().host();
  for (const ParameterSlot& s : at.model.slots()) {
    const auto x = slice(values, s);
    const double fan = static_cast<double>(s.rows + s.cols), n = static_cast<double>(s.size());
    const bool embedding = s.name.find("embedding") != std::string::npos;
    const bool weight = s.name.find("weight") != std::string::npos;
    const double fan_in = s.name == "image.bias" ? 700 : s.name == "text.bias" ? 40 : 64;
    const double range = embedding ? std::sqrt(6 / fan) : 1 / std::sqrt(fan_in);
    const double variance = weight ? 2 / fan : range * range / 3;
    double squares = 0;
    for (double value : x) squares += value * value;
    const double kurtosis = weight ? 3 : 9.0 / 5;  // of the normal, the uniform distribution
    EXPECT_LE(std::abs(squares / (n * variance) - 1), 5 * std::sqrt((kurtosis - 1) / n)) << s.name;
    EXPECT_TRUE(weight || largest_magnitude(x) <= range) << s.name;
  }
  at.model.initialise(3);
  EXPECT_EQ(at.model.values().host(), values);
  at.model.initialise(4);
  EXPECT_NE(at.model.values().host(), values);
  EXPECT_THROW(at.model.slot("audio.weight"), Error);
}

}  // namespace
}  // namespace bm3::test
