// Runs that are interrupted, killed and resumed, and data with fewer splits than three.
#include <random>

#include "cli.h"

namespace bm3::test {
namespace {

class CliResume : public Cli {
 protected:
  /// How many lines a program has printed on standard error.
  size_t lines_on_the_way() const {
    const fs::path err = streams_ / "err";
    return fs::exists(err) ? lines_of(read_file(err)).size() : 0;
  }
};

Words long_run(const std::string& out, const std::string& features) {
  return {"toy", "--epochs", "60", "--patience", "60", "--batch", "10", "--features", features,
          "--out", out};
}

/// What an interrupted run has left: a folder with the best epoch so far, if there is one, and a
/// checkpoint.
void expect_interrupted(const Outcome& outcome, const fs::path& run) {
  EXPECT_PRED2(has, outcome.err, "\ninterrupted in epoch ");
  EXPECT_PRED2(has, outcome.err, "; to go on from the last checkpoint: bm3 --resume run\n");
  EXPECT_TRUE(fs::exists(run.string() + ".checkpoint"));
  EXPECT_EQ(has(outcome.out, "results in run\n"), fs::exists(run)) << outcome.out;
  if (!fs::exists(run)) return;
  EXPECT_EQ(names_below(run), run_files);
  EXPECT_PRED2(has, read_file(run / "config.json"), "\"ended\": \"interrupted\"");
  EXPECT_PRED2(has, outcome.out, "\nvalidation ");
}

/// A signal or a kill at random moments, and --resume each time.
TEST_F(CliResume, ResumedRunsEndWithTheSameBytes) {
  for (const std::string features : {"frozen", "tuned"}) {
    SCOPED_TRACE(features);
    ASSERT_EQ(run(long_run("whole", features)).status, 0);
    std::mt19937 random(2);
    const int signals[] = {SIGINT, SIGKILL, SIGTERM, SIGKILL, SIGHUP};
    size_t interrupted = 0;
    Words command = long_run("run", features);
    for (int k = 0;; ++k) {
      for (const char* stream : {"out", "err"}) write_file(streams_ / stream, "");
      const pid_t child = start(command);
      const size_t lines = random() % 25;  // the last ones are epochs'
      wait_until([&] { return lines_on_the_way() >= lines; }, child);
      usleep(static_cast<useconds_t>(random() % 5000));
      const int signal = signals[k % 5];
      if (k < 20) kill(child, signal);
      const Outcome outcome = finish(child);
      if (outcome.status == 0) break;
      ASSERT_EQ(outcome.status, 128 + signal) << outcome.err;
      if (fs::exists(folder_ / "run")) {  // whole, also after a kill
        EXPECT_EQ(names_below(folder_ / "run"), run_files);
      }
      if (has(outcome.err, "\ninterrupted in ")) {
        ++interrupted;
        expect_interrupted(outcome, folder_ / "run");
      }
      if (fs::exists(folder_ / "run.checkpoint") || fs::exists(folder_ / "run"))
        command = {"--resume", "run"};
    }
    EXPECT_GE(interrupted, 2U);
    for (const auto& file : run_files) {
      if (file == "timing.csv") continue;  // the only one that measures
      EXPECT_TRUE(read_file(folder_ / ("run/" + file)) == read_file(folder_ / ("whole/" + file)))
          << file;
    }
    EXPECT_FALSE(fs::exists(folder_ / "run.checkpoint"));
    const Outcome again = run({"--resume", "run"});
    EXPECT_EQ(again.out, "results in run, complete\n");
    EXPECT_EQ(again.status, 0) << again.err;
    for (const char* out : {"run", "whole"}) fs::remove_all(folder_ / out);
  }
}

TEST_F(CliResume, RefusesWhatIsInTheWayOfARunThatWasStopped) {
  const pid_t child = start(long_run("run", "frozen"));
  wait_until([&] { return lines_on_the_way() >= 20; }, child);
  kill(child, SIGTERM);
  expect_interrupted(finish(child), folder_ / "run");
  const std::string checkpoint = (fs::canonical(folder_.path()) / "run.checkpoint").string();
  expect_refused(long_run("run", "frozen"),
                 checkpoint + " is there, of a run that was stopped: expected --resume run, or "
                              "another --out");
  expect_refused({"--resume", "run", "--data", "nowhere"},
                 "no data set nowhere/toy: expected a folder with toy.inter (data/README.md says "
                 "where to get data and how to bring your own, --data where they are)");
  write_file(folder_ / "run/curve.png", "");
  expect_refused({"--resume", "run"}, "run/curve.png is in the way of the results, which replace "
                                      "an interrupted run's: expected it elsewhere");
  fs::remove(folder_ / "run/curve.png");
  fs::create_directory(folder_ / "new");
  fs::rename(folder_ / "data/toy", folder_ / "new/toy");
  const Outcome moved = run({"--resume", "run", "--data", "new", "--threads", "1"});
  EXPECT_EQ(moved.status, 0) << moved.err;
  expect_refused({"--resume", "none"},
                 "cannot open " + (fs::canonical(folder_.path()) / "none.checkpoint").string() +
                     " (No such file or directory): expected the checkpoint of a run that was "
                     "stopped");
}

/// A later epoch's loss overflows.
TEST_F(CliResume, ALossThatIsNotFiniteLeavesTheBestEpochSoFar) {
  const Outcome outcome = run({"toy", "--model", "bpr", "--lr", "1e18", "--out", "run"});
  EXPECT_EQ(outcome.status, 1);
  const std::string last = lines_of(outcome.err).back();
  EXPECT_EQ(last.find("bm3: the loss of epoch "), 0U) << last;
  EXPECT_PRED2(has, last, " is not finite: try a smaller --lr, or look at the features' scale; the "
                          "results are of the best epoch before it");
  EXPECT_PRED2(has, outcome.out, "\nvalidation ");
  EXPECT_EQ(names_below(folder_ / "run"), run_files);
  EXPECT_PRED2(has, read_file(folder_ / "run/config.json"), "\"ended\": \"the loss of epoch ");
  EXPECT_FALSE(fs::exists(folder_ / "run.checkpoint"));
}

TEST_F(CliResume, TrainsWithoutValidationOrTest) {
  const std::string none = "none, the data have no such split\n", last = ",,,1";
  for (const std::string labels : {"0", "01", "02"}) {
    SCOPED_TRACE(labels);
    std::string text;
    for (const auto& line : lines_of(read_file(folder_ / "data/toy/toy.inter")))
      if (text.empty() || has(labels, line.substr(line.size() - 1))) text += line + "\n";
    write_file(folder_ / "data/some/some.inter", text);
    const bool valid = has(labels, "1"), test = has(labels, "2");
    if (!valid)
      expect_refused({"some", "--out", "run"},
                     "some has no validation split, which would end the training: expected "
                     "--epochs to say when");
    const Outcome outcome = run({"some", "--epochs", "3", "--out", "run"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    for (const auto& [name, there] : {std::pair{"\nvalidation ", valid}, {"\ntest ", test}}) {
      const size_t at = outcome.out.find(name);
      ASSERT_NE(at, outcome.out.npos) << outcome.out;
      EXPECT_EQ(has(outcome.out.substr(at, outcome.out.find('\n', at + 1) + 1 - at), none), !there);
    }
    EXPECT_EQ(names_below(folder_ / "run"), run_files);
    const std::string line = lines_of(read_file(folder_ / "run/log.csv")).back();
    EXPECT_EQ(line.substr(line.size() - last.size()) == last, !valid) << line;
    const Outcome eval = run({"eval", "run"});
    EXPECT_EQ(eval.status, 0) << eval.err;
    EXPECT_PRED2(has, eval.out, valid || test ? "figures: equal to the run's" : "figures: none");
    EXPECT_EQ(run({"recommend", "run", "--user", "3"}).status, 0);
    fs::remove_all(folder_ / "run");
  }
}

}  // namespace
}  // namespace bm3::test
