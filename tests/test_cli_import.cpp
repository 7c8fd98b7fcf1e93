// A person's own data: import, answers by original ids, other interactions to evaluate.
#include "cli.h"

namespace bm3::test {
namespace {

class CliImport : public Cli {
 protected:
  /// The ratings of the data set toy as a CSV file by ids, with features of all items but one.
  void write_ratings() {
    const Dataset toy = load_dataset(folder_ / "data", "toy", 1);
    std::string ratings = "user,item,time\n", sound = "item,a,b\n";
    int time = 0;
    for (const auto* part : {&toy.interactions.train, &toy.interactions.valid,
                             &toy.interactions.test})
      for (const auto& [user, item] : *part)
        ratings += "u " + std::to_string(user) + ",\"i\"\"" + std::to_string(item) + "\"," +
                   std::to_string(time++ % 7) + "\n";
    for (int i = 1; i < 50; ++i) sound += "\"i\"\"" + std::to_string(i) + "\",1,2\n";
    write_file(folder_ / "ratings.csv", ratings);
    write_file(folder_ / "sound.csv", sound);
  }
  Outcome import(const std::string& name, const Words& more = {}) {
    Words words = {"import", name, "--ratings", "ratings.csv", "--core", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
};

TEST_F(CliImport, TrainsAndAnswersByOriginalIds) {
  write_ratings();
  const Outcome imported = import("mine", {"--features", "sound=sound.csv", "--split", "time"});
  ASSERT_EQ(imported.status, 0) << imported.err;
  EXPECT_EQ(imported.out, "wrote data/mine\n");
  EXPECT_TRUE(has(imported.err, "\nfeatures     sound: 2-d; 1 of 50 items without"))
      << imported.err;
  EXPECT_EQ(names_below(folder_ / "data/mine"),
            (Words{"item_ids.tsv", "mine.inter", "sound_feat.npy", "user_ids.tsv"}));
  ASSERT_EQ(run({"mine", "--epochs", "2", "--out", "one"}).status, 0);
  EXPECT_EQ(lines_of(run({"eval", "one"}).out).back(),
            "figures: equal to the run's; lists: 0 of 60 users' differ");

  const Dataset data = load_dataset(folder_ / "data", "mine", 1);
  const Words lists = lines_of(read_file(folder_ / "one/top_k.tsv"));
  EXPECT_EQ(lists[0].substr(0, 36), "userID\tuser_id\ttop_1\tid_1\ttop_2\tid_2");
  const Words of_7 = split(lists[1 + 7], '\t');
  EXPECT_EQ(of_7[0], "7");
  EXPECT_EQ(of_7[1], data.user_ids[7]);
  const Words printed =
      lines_of(run({"recommend", "one", "--user", data.user_ids[7], "-k", "5"}).out);
  ASSERT_EQ(printed.size(), 6U);
  for (size_t k = 1; k <= 5; ++k) {
    const std::string id = data.item_ids.at(std::stoul(of_7[2 * k]));
    const std::string field = "\"i\"\"" + id.substr(2) + "\"";  // i"42 between tabs
    EXPECT_EQ(of_7[2 * k + 1], field);
    EXPECT_EQ(split(printed[k], '\t')[1], field);
  }
  expect_refused({"recommend", "one", "--user", "7"},
                 "--user is '7': expected the original id of one of the run's users");
}

/// Of the run's training, and of held-out pairs that are others.
TEST_F(CliImport, EvalRanksOtherInteractions) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  const std::string own = read_file(folder_ / "data/toy/toy.inter");
  std::string swapped;  // validation and test
  for (const auto& line : lines_of(own)) {
    const char label = line.back();
    swapped += line.substr(0, line.size() - 1) + (label == '1' ? '2' : label == '2' ? '1' : label) +
               "\n";
  }
  write_file(folder_ / "data/later/later.inter", swapped);
  write_file(folder_ / "other/toy/toy.inter", swapped);
  const Words before = lines_of(run({"eval", "one"}).out);
  for (const std::string folder : {"data/later", "other"}) {
    const Outcome outcome = run({"eval", "one", "--data", folder});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    const Words lines = lines_of(outcome.out);
    EXPECT_EQ(lines[1].substr(30), before[2].substr(30));
    EXPECT_EQ(lines[2].substr(30), before[1].substr(30));
    EXPECT_EQ(lines.back(),
              "other interactions than the run's: there are no figures to compare with");
  }
  write_file(folder_ / "data/later/later.inter", swapped + "60\t1\t0\n");
  expect_refused({"eval", "one", "--data", "data/later"},
                 "data/later has 61 users and 50 items: expected those of the run, 60 and 50");
  write_file(folder_ / "data/toy/toy.inter", swapped);
  const std::string toy = fs::canonical(folder_ / "data/toy").string();
  expect_refused({"eval", "one"},
                 toy + " is not the data that the run was trained on: expected it as it was, or "
                       "--data");
}

/// By the same numbers, other users.
TEST_F(CliImport, EvalRefusesOtherIds) {
  write_ratings();
  ASSERT_EQ(import("mine").status, 0);
  ASSERT_EQ(run({"mine", "--epochs", "1", "--out", "one"}).status, 0);
  std::string ratings = read_file(folder_ / "ratings.csv");
  const size_t first = ratings.find('\n') + 1, second = ratings.find("u 1,");
  std::swap_ranges(ratings.begin() + static_cast<ptrdiff_t>(first),
                   ratings.begin() + static_cast<ptrdiff_t>(first + 3),
                   ratings.begin() + static_cast<ptrdiff_t>(second));
  write_file(folder_ / "ratings.csv", ratings);
  ASSERT_EQ(import("later").status, 0);
  expect_refused({"eval", "one", "--data", "data/later"},
                 "user 0 is 'u 1', but in the run 'u 0': expected the same users and items by the "
                 "same numbers");
}

TEST_F(Cli, TellsItsVersionAndItsOptions) {
  const Outcome help = run({"recommend", "--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.err, "");
  EXPECT_TRUE(has(help.out, "bm3 recommend"));
  const Outcome outcome = run({"--version"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out.find("bm3 "), 0U);
  ASSERT_EQ(run(short_run("one")).status, 0);
  const std::string version = outcome.out.substr(4, outcome.out.size() - 5);
  const std::string config = read_file(folder_ / "one/config.json");
  EXPECT_TRUE(has(config, "\"version\": \"" + version + "\"")) << config;
  EXPECT_TRUE(has(config, "\"products\": \"")) << config;
}

}  // namespace
}  // namespace bm3::test
