// BM3 alone: its views' masks, gradients that stop, and an example worked by hand.
#include "backends.h"
#include "model_case.h"

namespace bm3::test {
namespace {

const ModelKind& bm3() { return model_kind("bm3"); }

template <class Backend>
class Bm3Test : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(Bm3Test, Backends64, BackendName);

/// Each view has a mask of its own: Philox of the table's stream, and of row and column, where
/// users and items are one table. Entries drop with probability p. [Eq. 5]
TYPED_TEST(Bm3Test, MasksAreDrawnByTableRowAndColumn) {
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const ModelCase c = random_case(bm3(), seed % 4, seed, {{"dropout", "0.3"}});
    CaseOnDevice<double> at(*this->ops, c);
    at.step();
    uint32_t table = 0;
    for (const Mask& m : at.model->masks(at.batch)) {
      const bool of_node = m.name == "user" || m.name == "item";
      if (!of_node) ++table;
      const auto rows = host<int32_t>(*this->ops, {m.rows.at, 1, m.rows.n});
      const auto mask = host<uint8_t>(*this->ops, m.mask);
      for (size_t k = 0; k < mask.size(); ++k) {
        const int32_t row = rows[k / m.mask.cols];
        const uint64_t first = m.name == "item" ? c.n_users : 0, column = k % m.mask.cols;
        if (row < 0) continue;  // padding
        const Random4 random =
            philox(c.seed, static_cast<uint32_t>(Stream::view) + table,
                   CaseOnDevice<double>::step_number,
                   (first + static_cast<uint64_t>(row)) << 32 | column / 4);
        EXPECT_EQ(mask[k] != 0, random.x[column % 4] / 4294967296.0 >= 0.3) << m.name << " " << k;
        ++compared;
      }
    }
    EXPECT_EQ(table, c.modalities.size());
  }
  EXPECT_GT(compared, 400u);
}

constexpr const char* each_loss[] = {"rec", "align", "mask", "rec,align,mask"};

/// The stopped side gets exactly zero: with L_align or L_mask alone no gradient reaches users,
/// items (targets of Eq. 10); with L_rec alone none reaches a modality. [Eq. 9-11]
TYPED_TEST(Bm3Test, StoppedGradientsAreExactlyZero) {
  const char* const layers[] = {"0", "1", "2", "3"};
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed)
    for (const char* losses : each_loss)
      for (const char* form : {"norm", "squared"}) {
        const ModelCase c = random_case(
            bm3(), 2, seed, {{"layers", layers[seed % 4]}, {"losses", losses}, {"reg-form", form},
                             {"reg", "0"}});
        CaseOnDevice<double> at(*this->ops, c);
        at.step();
        const bool rec = c.settings.has("losses", "rec");
        const bool mm = c.settings.has("losses", "align") || c.settings.has("losses", "mask");
        for (const auto& [name, gradient] : at.gradients()) {
          const bool modality = name.rfind("image", 0) == 0 || name[0] == 'm' || name[0] == 'f';
          const bool reached = name[0] == 'p' || (modality ? mm : rec);
          const double largest = largest_magnitude(gradient);
          EXPECT_TRUE(reached ? largest > 0 : largest == 0)
              << losses << ", " << name << ": " << largest;
          ++compared;
        }
      }
  EXPECT_EQ(compared, 8u * 4 * 2 * 10);
}

/// A check that forgets to freeze the targets disagrees: what it would differentiate is another
/// function. [Eq. 9-11]
TYPED_TEST(Bm3Test, TargetsThatMoveAreCaught) {
  for (const char* losses : each_loss) {
    const ModelCase c = random_case(bm3(), 2, 5, {{"losses", losses}, {"dropout", "0.3"}});
    double worst = 0;
    for (const auto& [name, agreement] : check_model(*this->ops, c, true))
      worst = std::max(worst, agreement.error);
    EXPECT_GT(worst, gradient_bound) << losses;
  }
}

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
/// cosines with H_i are 0, 1, 3/5: L_align = (1 + 0 + 0 + 2/5)/4 = 7/20;
/// L_mask = 0, since h~_m = h'_m.                                   [Eq. 10, 11]
/// |H_u|_F^2 = 25/16 + 1/16 + 121/64 = (15/8)^2, |H_i|_F^2 = 9 + 9 + 9/4 = (9/2)^2, so the norm
/// form is (15/8 + 9/2)/3 = 17/8; the squared form is
/// (25/16 + 9 + 25/16 + 9 + 1/16 + 9 + 121/64 + 9/4)/4 = 2197/256. [Eq. 12]
/// With w = 2 and lambda = 4/5, L = 4/5 + 2 7/20 + 4/5 17/8 = 16/5. s(0, 1) = (1, 3/4) . (0, 3) =
/// 9/4.                                                             [Eq. 12, 13]
TYPED_TEST(WorkedExample, ByHand) {
  using T = typename TypeParam::Real;
  const double bound = sizeof(T) == 8 ? 1e-15 : 3e-7;
  for (const char* form : {"norm", "squared"}) {
    ModelCase c{&bm3(), 3, 3, {{0, 0}, {0, 1}, {1, 0}, {1, 1}}, {{0, 0}, {0, 1}, {1, 1}, {2, 2}},
                {}, {{"image", 1}}, Settings(bm3().settings), 1};
    for (const auto& [name, value] : {std::pair{"dim", "2"}, {"dropout", "0"}, {"reg", "0.8"}})
      c.settings.set(name, value);
    c.settings.set("reg-form", form);
    CaseOnDevice<T> at(*this->ops, c);
    upload(at.ops, at.model->parameters().values(), {1, T(0.5), -1, T(-0.5), T(2.75), 0,  // E_u
                                                     2, 0, 0, 2, 0, 1,                    // E_i
                                                     1, 0, 0, 1, 0, 0,                // W_p, b_p
                                                     T(4) / 3, 0, 0, 1});             // W_m, b_m
    upload(at.ops, at.model->features()[0].value, {0, 0, 1});
    const std::vector<Loss> loss = at.step();
    const bool norm = form == std::string("norm");
    const std::vector<double> expected = {0.8, 0.35, 0, norm ? 17.0 / 8 : 2197.0 / 256};
    for (size_t k = 0; k < 4; ++k)
      EXPECT_LE(std::abs(loss[k].value - expected[k]), bound * (k == 3 ? 16 : 1)) << loss[k].name;
    EXPECT_LE(std::abs(total(loss) - (norm ? 3.2 : 1.5 + 0.8 * 2197 / 256)), 32 * bound);
    const Embeddings<T> h = at.model->embeddings();
    const auto user = host<T>(*this->ops, h.user), item = host<T>(*this->ops, h.item);
    EXPECT_TRUE(compare(user, std::vector{1.0, 0.75, 0.0, 0.25, 1.375, 0.0}, 1).within(bound));
    EXPECT_TRUE(compare(item, std::vector{3.0, 0.0, 0.0, 3.0, 0.0, 1.5}, 1).within(bound));
    EXPECT_LE(std::abs(static_cast<double>(user[0] * item[2] + user[1] * item[3]) - 2.25),
              8 * bound);
  }
}

}  // namespace
}  // namespace bm3::test
