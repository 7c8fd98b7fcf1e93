// What each model is, entered twice: the code's tables of settings and of published figures agree
// with the text below.
#include <gtest/gtest.h>

#include <map>

#include "text.h"
#include "train.h"

namespace bm3::test {
namespace {

/// A model's name; whether it draws negatives, reads features, needs them; its settings with their
/// other names, ranges, defaults, and defaults for data or a recipe; published R@10, R@20, N@10 and
/// N@20. Of the training's settings those that differ from the first model's; of a model's own,
/// those that are as in the last model that has them, by name.
const char* const models = R"(
bm3 (Zhou et al., WWW 2023) features
  lr learning-rate: above 0, in float32's range, 0.001
  lr-decay: above 0, in float32's range, 1
  batch train-batch-size: from 1 to 1000000, 2048
  epochs: from 1 to 1000000, 1000
  patience stopping-step: from 1 to 1000000, 20
  seed: from 0 to 18446744073709551615, 999
  split-seed: from 0 to 18446744073709551615, 999
  recipe: released or paper, released
  layers n-layers: from 0 to 8, 1, elec 2
  dropout: from 0 to below 1, 0.5, elec 0.3
  reg reg-weight: from 0, in float32's range, 0.1, sports 0.01
  reg-form: norm or squared, norm, paper squared
  mm-weight cl-weight: from 0, in float32's range, 2, paper 1
  features: frozen or tuned, frozen
  losses: list of rec or align or mask, rec,align,mask
  dim embedding-size: from 1 to 1024, 64
  baby 0.0564 0.0883 0.0301 0.0383
  sports 0.0656 0.098 0.0355 0.0438
  elec 0.0437 0.0648 0.0247 0.0302
bpr (Rendle et al., UAI 2009) negatives
  reg reg-weight: from 0, in float32's range, 0.1
  pair-form: epsilon or plain, epsilon, paper plain
  again: recipe reg-form dim
  baby 0.0357 0.0575 0.0192 0.0249
  sports 0.0432 0.0653 0.0241 0.0298
  elec 0.0235 0.0367 0.0127 0.0161
lightgcn (He et al., SIGIR 2020) negatives
  layers n-layers: from 0 to 8, 4
  reg reg-weight: from 0, in float32's range, 0.01
  again: recipe reg-form pair-form dim
  baby 0.0479 0.0754 0.0257 0.0328
  sports 0.0569 0.0864 0.0311 0.0387
  elec 0.0363 0.054 0.0204 0.025
buir (Lee et al., SIGIR 2021)
  layers n-layers: from 0 to 8, 3
  dropout: from 0 to 1, 0, paper 0.2
  momentum: from 0 to 1, 0.995
  again: recipe dim
vbpr (He and McAuley, AAAI 2016) negatives features
  reg reg-weight: from 0, in float32's range, 0.1
  again: recipe reg-form pair-form dim
  baby 0.0423 0.0663 0.0223 0.0284
  sports 0.0558 0.0856 0.0307 0.0384
  elec 0.0293 0.0458 0.0159 0.0202
mmgcn (Wei et al., MM 2019) negatives features needed
  lr learning-rate: above 0, in float32's range, 0.0005
  tables: frozen or trained, frozen, paper trained
  latent: from 1 to 4096, 256
  reg reg-weight: from 0, in float32's range, 0.001
  again: recipe dim
  baby 0.0378 0.0615 0.02 0.0261
  sports 0.037 0.0605 0.0193 0.0254
  elec 0.0213 0.0343 0.0112 0.0146
grcn (Wei et al., ACM MM 2020) negatives features
  routing: from 0 to 8, 0, paper 3
  reg-users: all or batch, all, paper batch
  again: recipe reg dim
  baby 0.0539 0.0833 0.0288 0.0363
  sports 0.0598 0.0915 0.0332 0.0414
  elec 0.0389 0.059 0.0216 0.0268
dualgnn (Wang et al., TMM 2021) negatives features needed
  lr learning-rate: above 0, in float32's range, 0.0001
  fusion: aliased or separate, aliased, paper separate
  neighbours: from 1 to 1000, 40
  hidden: from 1 to 4096, 256
  again: recipe reg dim
  baby 0.0448 0.0716 0.024 0.0309
  sports 0.0568 0.0859 0.031 0.0385
  elec 0.0365 0.0542 0.0206 0.0252
lattice (Zhang et al., MM 2021) negatives features
  lr learning-rate: above 0, in float32's range, 0.0005
  lr-decay: above 0, in float32's range, 0.96
  layers n-ui-layers: from 0 to 8, 2
  neighbours knn-k: from 1 to 64, 10
  raw-weight lambda-coeff: from 0 to 1, 0.9
  build: epoch or batch, epoch, paper batch
  reg reg-weight: from 0, in float32's range, 0.00001
  again: recipe features dim
  baby 0.0547 0.085 0.0292 0.037
  sports 0.062 0.0953 0.0335 0.0421
freedom (Zhou and Shen, MM 2023) negatives features
  item-layers n-mm-layers: from 1 to 8, 1
  rho: from 0 to below 1, 0.8
  image-weight mm-image-weight: from 0 to 1, 0.1
  mm-weight reg-weight: from 0, in float32's range, 0.001
  again: layers neighbours features dim
  baby 0.0627 0.0992 0.033 0.0424
  sports 0.0717 0.1089 0.0385 0.0481
  elec 0.0396 0.0601 0.022 0.0273
)";

std::string line_of(const Setting& s) {
  std::string out = "  " + s.name;
  for (const auto& alias : s.aliases) out += " " + alias;
  out += std::string(": ") + (s.range.kind == Range::list ? "list of " : "") + s.range.words +
         ", " + s.fallback;
  for (const auto& [name, value] : s.best) out += ", " + name + " " + value;
  EXPECT_NE(s.words, "") << out;
  if (s.range.kind == Range::real && s.range.words == "from 0 to 1") {
    EXPECT_EQ(std::pair(s.range.least, s.range.most), std::pair(0.0, 1.0)) << out;
  }
  return out + "\n";
}

TEST(Models, HaveTheseSettingsAndPublishedFigures) {
  std::string found = "\n", of_training;
  std::map<std::string, std::string> last;  // line of each setting
  for (const ModelKind& model : all_models()) {
    found += model.name + " (" + model.words + ")" + (model.draws_negatives ? " negatives" : "") +
             (model.reads_features ? " features" : "") + (model.needs_features ? " needed" : "") +
             "\n";
    std::string training;
    for (const Setting& setting : training_settings(model)) {
      const std::string line = line_of(setting);
      if (of_training.find(line) == std::string::npos) found += line;
      training += line;
    }
    if (of_training.empty()) of_training = training;
    std::string again;
    for (const Setting& setting : model.settings) {
      const std::string line = line_of(setting);
      const bool same = std::exchange(last[setting.name], line) == line;
      same ? again += " " + setting.name : found += line;
    }
    if (!again.empty()) found += "  again:" + again + "\n";
    for (const Published& p : model.published) {
      found += std::string("  ") + p.data;
      for (const double x : p.figures)
        found += " " + shortest(x);
      found += "\n";
    }
  }
  EXPECT_EQ(found, models);
}

}  // namespace
}  // namespace bm3::test
