// Data sets: loading, the made ones, and writing.
#include <omp.h>

#include <cmath>

#include "data/dataset.h"
#include "data/npy.h"
#include "scratch.h"

namespace bm3::test {
namespace {

void expect_same(const Interactions& a, const Interactions& b) {
  EXPECT_EQ(a.n_users, b.n_users);
  EXPECT_EQ(a.n_items, b.n_items);
  EXPECT_EQ(inter_text(a), inter_text(b));
}

/// All features of a modality, in pieces of `piece` items.
std::vector<float> features(const Modality& modality, size_t n_items, size_t piece = 256) {
  std::vector<float> out(n_items * modality.dim, NAN);
  for (size_t first = 0; first < n_items; first += piece)
    modality.read_rows(first, std::min(piece, n_items - first), out.data() + first * modality.dim);
  return out;
}

constexpr const char* inter = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n";

void write_matrix(const std::filesystem::path& path, const std::vector<float>& values,
                  size_t rows, size_t cols) {
  write_file(path, npy_header(rows, cols) + std::string(npy_bytes(values.data(), values.size())));
}

TEST(LoadDataset, MakesEveryFeatureFileAModality) {
  const ScratchFolder folder;
  write_file(folder / "toy/toy.inter", inter);
  write_matrix(folder / "toy/b_feat.npy", {7, 8, 9, 10}, 4, 1);  // a row too many
  write_matrix(folder / "toy/a_feat.npy", {1, 2, 3, 4, 5, 6}, 3, 2);
  for (const std::string other : {"a.npy", "b_feat.csv", "user_graph_dict.npy", "README"})
    write_file(folder / ("toy/" + other), "something else");
  const Dataset data = load_dataset(folder.path(), "toy", 1);
  EXPECT_EQ(data.name, "toy");
  EXPECT_FALSE(data.synthetic);
  EXPECT_EQ(data.unread, std::vector<std::string>());
  EXPECT_EQ(data.interactions.n_items, 3U);
  ASSERT_EQ(data.modalities.size(), 2U);
  EXPECT_EQ(data.modalities[0].name, "a");
  EXPECT_EQ(data.modalities[0].dim, 2U);
  EXPECT_EQ(features(data.modalities[0], 3, 2), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(data.modalities[1].name, "b");
  EXPECT_EQ(features(data.modalities[1], 3), (std::vector<float>{7, 8, 9}));
}

TEST(LoadDataset, NamesFilesThatLookLikeFeatures) {
  const ScratchFolder folder;
  write_file(folder / "toy/toy.inter", inter);
  const std::pair<const char*, const char*> files[] = {
      {"Image-Feat.npy", "Image_feat.npy"},     {"_feat.npy", "NAME_feat.npy"},
      {"audio_feat.npy.bak", "audio_feat.npy"}, {"features.npz", "NAME_feat.npy"},
      {"sound.npy", "sound_feat.npy"},          {"text_feat.csv", "text_feat.npy"},
      {"text_feats.npz", "text_feat.npy"}};
  std::vector<std::string> expected;
  for (const auto& [file, needed] : files) {
    write_file(folder / ("toy/" + std::string(file)), "");
    expected.push_back(file + std::string(": features are read from ") + needed);
  }
  const Dataset data = load_dataset(folder.path(), "toy", 1);
  EXPECT_EQ(data.unread, expected);
  EXPECT_TRUE(data.modalities.empty());
}

TEST(LoadDataset, ReadsTheMapsOfMmrec) {
  const ScratchFolder folder;
  write_file(folder / "toy/toy.inter", inter);
  write_file(folder / "toy/u_id_mapping.csv", "user_id\tuserID\nA0\t0\n");
  write_file(folder / "toy/i_id_mapping.csv", "asin\titemID\nB2\t2\nB0\t0\nB1\t1\n");
  const Dataset data = load_dataset(folder.path(), "toy", 1);
  EXPECT_EQ(data.user_ids, std::vector<std::string>{"A0"});
  EXPECT_EQ(data.item_ids, (std::vector<std::string>{"B0", "B1", "B2"}));
  std::filesystem::remove(folder / "toy/i_id_mapping.csv");
  EXPECT_EQ(load_dataset(folder.path(), "toy", 1).user_ids.size(), 0U);  // one alone is of no use
}

TEST(LoadDataset, RefusesWhatIsNoDataSet) {
  const ScratchFolder folder;
  const std::string inter_path = (folder / "toy/toy.inter").string(),
                    feature_path = (folder / "toy/a_feat.npy").string();
  const auto expect = [&](const std::string& words) {
    EXPECT_ERROR(load_dataset(folder.path(), "toy", 1), words);
  };
  expect("cannot open " + inter_path +
         " (No such file or directory): expected an .inter file to read");
  write_file(inter_path, inter);
  write_matrix(feature_path, {1, 2, 3, 4}, 2, 2);
  expect(feature_path + " has 2 rows: expected one for each itemID from 0 to 2");
  std::filesystem::remove(feature_path);
  std::filesystem::create_directory(feature_path);
  expect(feature_path + " is not a file: expected an .npy file to read");
}

SyntheticSpec spec_of(size_t users, size_t items, size_t interactions) {
  return {users, items, interactions, {{"image", 33, 3}, {"text", 5, 1}}, 2023};
}
const SyntheticSpec small_spec = spec_of(300, 100, 2500);

TEST(Synthetic, HasTheSizesAskedForUpToTheLimits) {
  const SyntheticSpec limits[] = {{},  // the stand-in
                                  spec_of(200, 40, 1000), spec_of(40, 200, 1000),
                                  spec_of(20, 40, 200), spec_of(50, 40, 500),
                                  spec_of(1000, 1000, 5000)};
  for (const SyntheticSpec& spec : limits) {
    SCOPED_TRACE(testing::Message() << spec.n_users << " users, " << spec.n_items << " items");
    const Interactions data = synthesise(spec);
    EXPECT_EQ(data.n_users, spec.n_users);
    EXPECT_EQ(data.n_items, spec.n_items);
    EXPECT_EQ(data.size(), spec.n_interactions);
    std::vector<int> users(data.n_users), items(data.n_items);
    for (const auto* part : {&data.train, &data.valid, &data.test})
      for (const auto& [user, item] : *part) {
        ++users.at(static_cast<size_t>(user));
        ++items.at(static_cast<size_t>(item));
      }
    EXPECT_GE(*std::min_element(users.begin(), users.end()), 5);
    EXPECT_GE(*std::min_element(items.begin(), items.end()), 5);
    const ScratchFolder folder;  // no pair occurs twice
    EXPECT_ERROR(read_inter(write_file(folder / "made", inter_text(data)), 1), "");
  }
}

TEST(Synthetic, RefusesImpossibleSizes) {
  for (const SyntheticSpec& spec : {spec_of(9, 100, 500), spec_of(300, 39, 2500),
                                    spec_of(300, 100, 1499), spec_of(50, 400, 1999),
                                    spec_of(300, 100, 7501)})
    EXPECT_ERROR(synthesise(spec),
                 "cannot make " + std::to_string(spec.n_interactions) + " interactions of " +
                     std::to_string(spec.n_users) + " users and " + std::to_string(spec.n_items) +
                     " items: expected at least 10 users, 40 items, five interactions for each, "
                     "and at most users * items / 4");
}

TEST(Synthetic, IsDrawnBySeedAlone) {
  SyntheticSpec spec = small_spec;
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Dataset one = synthetic_dataset(spec, "toy");
  const auto image = features(one.modalities[0], 100), text = features(one.modalities[1], 100);
  for (int n : {2, 3, 4}) {
    omp_set_num_threads(n);
    const Dataset many = synthetic_dataset(spec, "toy");
    expect_same(one.interactions, many.interactions);
    EXPECT_EQ(features(many.modalities[0], 100, 7), image);
    EXPECT_EQ(features(many.modalities[1], 100, 7), text);
  }
  omp_set_num_threads(threads);
  ++spec.seed;
  const Dataset other = synthetic_dataset(spec, "toy");
  EXPECT_NE(inter_text(one.interactions), inter_text(other.interactions));
  EXPECT_NE(features(other.modalities[1], 100), text);
}

/// Mean correlation of the features of two items that one user has, or of items of two users.
double likeness(const Dataset& data, const Modality& modality, bool of_one_user) {
  auto values = features(modality, data.interactions.n_items);
  const size_t dim = modality.dim, n = values.size() / dim;
  for (size_t c = 0; c < dim; ++c) {
    float mean = 0;
    for (size_t i = 0; i < n; ++i) mean += values[i * dim + c] / static_cast<float>(n);
    for (size_t i = 0; i < n; ++i) values[i * dim + c] -= mean;
  }
  double sum = 0, count = 0;
  const auto& pairs = data.interactions.train;  // in the order of users
  for (size_t k = 1; k < pairs.size(); ++k) {
    const Interaction other = of_one_user ? pairs[k - 1] : pairs[(k * 7919) % pairs.size()];
    if ((other.user == pairs[k].user) != of_one_user) continue;
    double ab = 0, aa = 0, bb = 0;
    for (size_t c = 0; c < dim; ++c) {
      const double a = static_cast<double>(values[static_cast<size_t>(pairs[k].item) * dim + c]);
      const double b = static_cast<double>(values[static_cast<size_t>(other.item) * dim + c]);
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    sum += ab / std::sqrt(aa * bb);
    ++count;
  }
  EXPECT_GT(count, 1000);
  return sum / count;
}

TEST(Synthetic, HasThePlantedStructure) {
  SyntheticSpec spec = spec_of(1000, 400, 10000);
  spec.modalities = {{"image", 256, 3}, {"text", 256, 1}};
  const Dataset data = synthetic_dataset(spec, "toy");
  // A user's items are alike in content, in the less noisy modality more so.
  const auto planted = [&](size_t m) {
    return likeness(data, data.modalities[m], true) - likeness(data, data.modalities[m], false);
  };
  EXPECT_GT(planted(0), 0.005);
  EXPECT_GT(planted(1), 4 * planted(0));
  // Popularity has a long tail: a fifth of the items has more than two fifths of the interactions.
  std::vector<size_t> count(400);
  for (const auto& pair : data.interactions.train) ++count[static_cast<size_t>(pair.item)];
  std::sort(count.rbegin(), count.rend());
  size_t of_the_popular = 0;
  for (size_t k = 0; k < 80; ++k) of_the_popular += count[k];
  EXPECT_GT(5 * of_the_popular, 2 * data.interactions.train.size());
}

TEST(WriteDataset, LoadsAsTheSame) {
  const ScratchFolder folder;
  const Dataset made = synthetic_dataset(small_spec, "toy");
  write_dataset(small_spec, "toy", folder / "new/data");
  EXPECT_EQ(names_below(folder / "new"),
            (std::vector<std::string>{"data", "data/toy", "data/toy/MADE_UP.txt",
                                      "data/toy/image_feat.npy", "data/toy/text_feat.npy",
                                      "data/toy/toy.inter"}));
  const Dataset loaded = load_dataset(folder / "new/data", "toy", 1);
  EXPECT_TRUE(loaded.synthetic);
  EXPECT_EQ(loaded.folder, folder / "new/data");
  expect_same(loaded.interactions, made.interactions);
  ASSERT_EQ(loaded.modalities.size(), 2U);
  for (size_t m = 0; m < 2; ++m) {
    EXPECT_EQ(loaded.modalities[m].name, made.modalities[m].name);
    EXPECT_EQ(loaded.modalities[m].dim, made.modalities[m].dim);
    EXPECT_EQ(features(loaded.modalities[m], 100), features(made.modalities[m], 100));
  }
}

}  // namespace
}  // namespace bm3::test
