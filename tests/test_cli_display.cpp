// What a person sees of a run and of its evaluation: the table of epochs, colours, remarks, and
// the metrics of each user.
#include <algorithm>
#include <thread>

#include "cli.h"
#include "evaluate.h"

namespace bm3::test {
namespace {

class CliDisplay : public Cli {
 protected:
  /// Returns the row of a printed table that begins with these words, as words.
  static Words row(const std::string& text, const std::string& start) {
    for (const auto& line : lines_of(text))
      if (line.find(start) == 0) {
        Words words;
        for (const auto& word : split(line, ' '))
          if (!word.empty()) words.push_back(word);
        return words;
      }
    return {};
  }
};

/// With as many losses as a model has, at the largest numbers. The log has the same losses: their
/// sum with the weights is the first.
TEST_F(CliDisplay, EpochsAreATableWithin80Columns) {
  const Outcome outcome =
      run({"toy", "--epochs", "12", "--batch", "100", "--mm-weight", "9e4", "--out", "one"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Words lines = lines_of(outcome.err);
  const auto header = std::find(lines.begin(), lines.end(),
                                "epoch   loss    rec  align   mask    reg   R@20   N@20 train  "
                                "eval since   left");
  ASSERT_NE(header, lines.end()) << outcome.err;
  const Words log = lines_of(read_file(folder_ / "one/log.csv"));
  ASSERT_EQ(log.size(), 13U);
  size_t best = 0;
  for (size_t epoch = 1; epoch <= 12; ++epoch) {
    const std::string line = *(header + static_cast<long>(epoch));
    EXPECT_EQ(line.size(), header->size()) << line;
    EXPECT_LE(line.size(), 80U);
    const Words shown = row(line, ""), logged = split(log[epoch], ',');
    ASSERT_EQ(shown.size(), 12U) << line;
    EXPECT_EQ(shown[0], std::to_string(epoch));
    std::vector<double> x = {0};
    for (size_t c = 1; c <= 7; ++c) {
      x.push_back(std::stod(logged[c]));
      EXPECT_NEAR(std::stod(shown[c]), x[c], 1e-4 * std::max(1.0, x[c])) << line;
    }
    EXPECT_NEAR(x[1], x[2] + 9e4 * (x[3] + x[4]) + 0.1 * x[5], 1e-12 * x[1]);
    if (logged[8] == "1") best = epoch;
    EXPECT_EQ(shown[10], best == epoch ? "*" : std::to_string(epoch - best)) << line;
  }
}

TEST_F(CliDisplay, LossesThatAreOffAreNotShown) {
  const std::string rec = run(short_run("one", {"--losses", "rec"})).err;
  EXPECT_PRED2(has, rec, "\nepoch   loss    rec    reg   R@20 ");
  const std::string bare = run(short_run("two", {"--losses", "align", "--reg", "0"})).err;
  EXPECT_PRED2(has, bare, "\nepoch   loss  align   R@20 ");
}

/// A batch in a hundred steps, so that the bar is drawn, too.
TEST_F(CliDisplay, ColoursOnlyATerminalThatWantsThem) {
  const auto colours = [&](const std::string& first, const std::string& out) {
    const std::string words = "exec script -qec '" BM3_PROGRAM " toy --epochs 1 --batch 4 --out " +
                              out + "' /dev/null";  // on a terminal
    const Outcome outcome = finish(start({"-c", first + words}, "/bin/sh"));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    const std::string& sent = outcome.out;
    EXPECT_EQ(has(sent, "\repoch    1 [####"), first.find("dumb") == first.npos) << sent;
    return has(sent, "\033[32m*");
  };
  EXPECT_TRUE(colours("export TERM=xterm; unset NO_COLOR; ", "one"));
  EXPECT_TRUE(colours("export TERM=xterm NO_COLOR=; ", "two"));
  EXPECT_FALSE(colours("export TERM=xterm NO_COLOR=1; ", "three"));
  EXPECT_FALSE(colours("export TERM=dumb; unset NO_COLOR; ", "four"));
}

TEST_F(CliDisplay, SaysWhyTheTrainingStopped) {
  const std::string last = run(short_run("one")).err;
  EXPECT_PRED2(has, last, "\nstopped      after the last of 3 epochs (--epochs)\n");
  const std::string patient =
      run({"toy", "--patience", "2", "--epochs", "500", "--out", "two"}).err;
  EXPECT_PRED2(has, patient, "\nstopped      2 epochs brought no better validation R@20 "
                             "(--patience)\n");
}

/// A remark where a run has not trained, and none where it has.
TEST_F(CliDisplay, SaysWhatToTry) {
  const std::string one_step = "note: a batch holds all 328 training interactions",
                    below = "note: this is below the ranking by popularity";
  const Dataset toy = load_dataset(folder_ / "data", "toy", 1);
  ASSERT_EQ(toy.interactions.train.size(), 328U);
  const Outcome untrained = run({"toy", "--epochs", "1", "--batch", "328", "--out", "one"});
  EXPECT_PRED2(has, untrained.err, one_step);
  EXPECT_FALSE(has(run({"toy", "--epochs", "1", "--batch", "327", "--out", "two"}).err, one_step));
  for (const std::string epochs : {"1", "40"}) {
    const Outcome outcome =
        run({"toy", "--epochs", epochs, "--batch", "16", "--lr", "0.01", "--out", "e" + epochs});
    const double test = std::stod(row(outcome.out, "test ")[2]),
                 popularity = std::stod(row(outcome.out, "by popularity, test ")[4]);
    EXPECT_EQ(has(outcome.err, below), test < popularity) << outcome.out;
  }
  EXPECT_PRED2(has, untrained.err, below);
}

/// Users' metrics have the printed means.
TEST_F(CliDisplay, EvalPrintsTheMetricsOfEachUser) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  const Outcome table = run({"eval", "one"}), each = run({"eval", "one", "--each-user"});
  ASSERT_EQ(each.status, 0) << each.err;
  const Words lines = lines_of(each.out), head = split(lines[0], '\t');
  ASSERT_EQ(head.size(), 2 + n_metrics);
  EXPECT_EQ(head[2], "recall@5");
  EXPECT_EQ(head.back(), "map@50");
  const auto at_20 = std::find(head.begin(), head.end(), "recall@20") - head.begin();
  double items = 0, recall = 0;
  for (size_t k = 1; k < lines.size(); ++k) {
    const Words fields = split(lines[k], '\t');
    ASSERT_EQ(fields.size(), head.size());
    items += std::stod(fields[1]);
    recall += std::stod(fields[static_cast<size_t>(at_20)]) / static_cast<double>(lines.size() - 1);
  }
  EXPECT_EQ(items, static_cast<double>(
                       load_dataset(folder_ / "data", "toy", 1).interactions.test.size()));
  EXPECT_NEAR(recall, std::stod(row(table.out, "test ")[2]), 5.1e-5);
  EXPECT_PRED2(has, each.err, "figures: equal to the run's; lists: 0 of 60 users' differ\n");
}

/// Nothing before the program's threads start binds them all to where the first one is.
TEST_F(CliDisplay, BoundThreadsHaveProcessorsOfTheirOwn) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "needs two processors";
  const Outcome outcome = run_in_shell(
      "export OMP_PROC_BIND=true OMP_DISPLAY_AFFINITY=true OMP_AFFINITY_FORMAT='%n on %A'; ",
      "toy --epochs 1 --threads 2 --device cpu --out one");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Words first = row(outcome.err, "0 on "), second = row(outcome.err, "1 on ");
  ASSERT_EQ(first.size(), 3U) << outcome.err;
  ASSERT_EQ(second.size(), 3U) << outcome.err;
  EXPECT_NE(first[2], second[2]);
}

}  // namespace
}  // namespace bm3::test
