// Sweeps: which runs values make, what their figures come to, and that a sweep which was killed
// goes on.
#include "sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "cli.h"

namespace bm3::test {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Sweep planned(const std::string& words) {
  return plan({"toy", "", "S", false, words.empty() ? Words{} : split(words, ' ')});
}

// --------------------------------------------------------------------------------------- plan

struct Product {
  const char* words;
  Words columns, folders;
};

const Product products[] = {
    {"", {}, {"bm3_seed=999"}},
    {"--seed 2 1", {}, {"bm3_seed=2", "bm3_seed=1"}},
    {"--seed 9007199254740992 9007199254740993", {},
     {"bm3_seed=9007199254740992", "bm3_seed=9007199254740993"}},
    {"--seed=3 4 --layers 2", {}, {"bm3_seed=3", "bm3_seed=4"}},
    // In the order of the words, but seeds innermost.
    {"--seed 1 2 --dropout 0.3 0 --reg-weight 1e-2 1", {"dropout", "reg"},
     {"bm3_dropout=0.3_reg=1e-2_seed=1", "bm3_dropout=0.3_reg=1e-2_seed=2",
      "bm3_dropout=0.3_reg=1_seed=1", "bm3_dropout=0.3_reg=1_seed=2",
      "bm3_dropout=0_reg=1e-2_seed=1", "bm3_dropout=0_reg=1e-2_seed=2",
      "bm3_dropout=0_reg=1_seed=1", "bm3_dropout=0_reg=1_seed=2"}},
    // A model goes without what only others have.
    {"--model bpr bm3 --layers 1 2 --modalities none image", {"layers", "modalities"},
     {"bpr_seed=999", "bm3_layers=1_modalities=none_seed=999",
      "bm3_layers=1_modalities=image_seed=999", "bm3_layers=2_modalities=none_seed=999",
      "bm3_layers=2_modalities=image_seed=999"}},
    {"--model lightgcn --layers 1 2 --device cpu --threads 1 2", {"layers", "threads"},
     {"lightgcn_layers=1_threads=1_seed=999", "lightgcn_layers=1_threads=2_seed=999",
      "lightgcn_layers=2_threads=1_seed=999", "lightgcn_layers=2_threads=2_seed=999"}}};

TEST(Sweep, RunsAreTheProductOfValues) {
  for (const auto& [words, columns, folders] : products) {
    SCOPED_TRACE(words);
    const Sweep sweep = planned(words);
    EXPECT_EQ(sweep.columns, columns);
    Words found;
    for (const SweepRun& run : sweep.runs) {
      found.push_back(run.options.out.filename().string());
      EXPECT_EQ(run.options.out.parent_path(), "S");
      EXPECT_EQ(run.values.size(), columns.size());
    }
    EXPECT_EQ(found, folders);
  }
}

/// README's lines for the paper's tables and figures are sweeps as they stand.
TEST(Sweep, TheLinesOfTheReadmeAreSweeps) {
  const std::string begin = "\n./bm3 sweep ", readme = read_file(BM3_SOURCE "/README.md");
  size_t n_lines = 0, n_runs = 0;
  for (size_t at = readme.find(begin); at != std::string::npos; at = readme.find(begin, at)) {
    std::string line;
    for (bool goes_on = true; goes_on;) {
      const size_t end = readme.find('\n', ++at);
      line += readme.substr(at, end - at);
      at = end;
      goes_on = line.back() == '\\';
      if (goes_on) line.back() = ' ';
    }
    Words words;
    const size_t first = begin.size() - 1;
    for (const auto& word : split(line.substr(first, line.find('#') - first), ' '))
      if (!word.empty()) words.push_back(word);
    const auto out = std::find(words.begin(), words.end(), "--out");
    if (out != words.end()) words.erase(out, out + 2);  // --out and its value
    n_runs += plan({words[0], "", "S", false, {words.begin() + 1, words.end()}}).runs.size();
    ++n_lines;
  }
  EXPECT_GE(n_lines, 10U);
  EXPECT_GE(n_runs, 150U);
}

TEST(Sweep, RunsAreCommandLines) {
  const Sweep sweep = plan({"toy", "a b", "S", false, {"--model", "bm3", "bpr", "--tf32",
                                                       "--layers", "2", "--seed", "1", "7"}});
  ASSERT_EQ(sweep.runs.size(), 4U);
  EXPECT_EQ(join(sweep.runs[1].words, "|"),
            "toy|--model|bm3|--tf32|--layers|2|--seed|7|--data|a b|--out|S/bm3_seed=7");
  EXPECT_EQ(join(sweep.runs[2].words, "|"),
            "toy|--model|bpr|--tf32|--seed|1|--data|a b|--out|S/bpr_seed=1");
}

TEST(Sweep, RefusesWhatNoRunCanHave) {
  const std::pair<const char*, const char*> refused[] = {
      {"--layers 1 9", "--layers is '9': expected a whole number from 0 to 8"},
      {"--layers 1 -1", "--layers is '-1': expected a whole number from 0 to 8"},
      {"--seed 1 2 1", "--seed names '1' twice: expected different names"},
      {"--seed 1 2 01", "--seed names '1' twice: expected different names"},
      {"--lr 0.5 5e-1", "--lr names '0.5' twice: expected different names"},
      {"--version", "--version stands after sweep: expected options of training"},
      {"--reg 1 --reg-weight 2", "--reg stands twice: expected all its values after one"},
      {"--model --seed 1", "--model stands without a value: expected the models' names"},
      {"more --seed 1", "the argument 'more' was not expected: `bm3 sweep` takes one data set's "
                        "NAME, and options with their values"}};
  for (const auto& [words, message] : refused) EXPECT_ERROR(planned(words), message);
  for (const char* words : {"--model bm3 x", "--model bpr --layers 1 2", "--no 1 2",
                            "--layers", "--tf32 1"})
    EXPECT_NE(error_of([&] { planned(words); }), "") << words;
}

// ------------------------------------------------------------------------------------ summary

TEST(Summary, MeanAndDeviationOfASample) {
  const Mean one = mean_of({3}), none = mean_of({nan}), some = mean_of({2, nan, 4, 9});
  EXPECT_EQ(one.mean, 3);
  EXPECT_TRUE(std::isnan(one.deviation) && std::isnan(none.mean) && std::isnan(none.deviation));
  EXPECT_EQ(some.mean, 5);
  EXPECT_DOUBLE_EQ(some.deviation, std::sqrt(13));  // (9 + 1 + 16) / 2
}

Figures figures(double valid, double test) {
  Figures out;
  out.fill(nan);
  out[valid_recall20] = valid;
  out[recall20] = test;
  return out;
}

/// A sweep whose runs have these figures.
Sweep finished(const std::string& words, const std::vector<std::optional<Figures>>& figures) {
  Sweep sweep = planned(words);
  EXPECT_EQ(sweep.runs.size(), figures.size());
  for (size_t k = 0; k < figures.size(); ++k) sweep.runs[k].figures = figures[k];
  return sweep;
}

/// Whether each row is the best by validation and by test.
std::string marks(const std::vector<SummaryRow>& rows) {
  std::string out;
  for (const SummaryRow& row : rows)
    out += std::string(row.best_by_validation ? "v" : "-") + (row.best_by_test ? "t " : "- ");
  return out;
}

/// Two models of two settings, one of a setting alone; a run of two has no figures yet.
TEST(Summary, MarksTheBestOfEachModel) {
  const Sweep sweep = finished(
      "--model bm3 lightgcn bpr --layers 1 2 --seed 1 2",
      {figures(0.1, 0.5), figures(0.3, 0.7), figures(0.2, 0.1), figures(0.4, 0.3),
       figures(0.9, 0.1), std::nullopt, figures(0.1, 0.1), figures(0.2, 0.3), std::nullopt,
       figures(1, 1)});
  const auto rows = summarise(sweep);
  EXPECT_EQ(marks(rows), "-t v- v- -t -- ");
  EXPECT_DOUBLE_EQ(rows[0].means[recall20].mean, 0.6);
  EXPECT_DOUBLE_EQ(rows[0].means[recall20].deviation, std::sqrt(0.02));
  EXPECT_EQ(rows[2].runs.size(), 1U);
  EXPECT_EQ(rows[4].runs[0]->values, Words{""});
  EXPECT_EQ(rows[4].runs[0]->options.out, "S/bpr_seed=2");
  // Among models of one setting each, one is the best.
  EXPECT_EQ(marks(summarise(finished("--model bm3 lightgcn bpr",
                                     {figures(0.1, 0.5), figures(nan, nan), figures(0.2, 0.1)}))),
            "-t -- v- ");
}

/// Published figures stand below a model's last row, for real data only.
TEST(Summary, HasPublishedFiguresOfRealData) {
  const Sweep sweep = finished("--model bm3 bpr --layers 1 2 --seed 1 2",
                               {figures(0.1, 0.5), figures(0.3, 0.7), figures(0.2, 0.1),
                                figures(0.4, 0.3), figures(0.2, 0.1), std::nullopt});
  const auto rows = summarise(sweep);
  Dataset data;
  data.name = "baby";
  data.interactions.n_users = 19445;
  data.interactions.n_items = 7050;
  data.interactions.train.resize(160792);
  const ScratchFolder folder;
  for (const bool made_up : {false, true}) {
    data.synthetic = made_up;
    testing::internal::CaptureStdout();
    print_summary(sweep, rows, data);
    const Words lines = lines_of(testing::internal::GetCapturedStdout());
    ASSERT_GE(lines.size(), 7U);
    EXPECT_EQ(lines[3].find("bm3             1       2     -       0.6000 ± 0.1414"),
              made_up ? std::string::npos : 0U) << lines[3];
    EXPECT_EQ(has(join(lines, "\n"), "\nbm3, published                0.0564  0.0883"), !made_up)
        << join(lines, "\n");
    EXPECT_EQ(has(join(lines, "\n"), "made-up stand-in"), made_up);
    write_summary(folder.path(), sweep, rows, data);
    EXPECT_EQ(names_below(folder.path()), (Words{"summary.json", "summary.tsv"}));
    EXPECT_EQ(has(read_file(folder / "summary.json"), "0.0564"), !made_up);
  }
  const Words table = lines_of(read_file(folder / "summary.tsv"));
  ASSERT_EQ(table.size(), 4U);
  for (const auto& line : table) EXPECT_EQ(split(line, '\t').size(), 21U) << line;
  EXPECT_EQ(table[3].substr(0, 12), "bpr\t\t1\t\t\t0.1");
}

// ---------------------------------------------------------------------------------- the program

/// What the runs of two sweeps left is the same.
void expect_same_runs(const fs::path& a, const fs::path& b) {
  ASSERT_EQ(names_below(a), names_below(b));
  for (const auto& entry : fs::directory_iterator(a)) {
    if (!entry.is_directory()) continue;
    for (const char* file : {"config.json", "log.csv", "user_embedding.npy", "top_k.tsv"})
      EXPECT_TRUE(read_file(entry.path() / file) ==
                  read_file(b / entry.path().filename() / file)) << entry.path() << " " << file;
  }
}

class SweepCli : public Cli {
 protected:
  static Words sweep(const std::string& out, const Words& more = {}) {
    Words words = {"sweep", "toy",     "--seed", "1",   "2",     "3",     "--epochs", "40",
                   "--patience", "40", "--batch", "50", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void wait_for(const std::string& file) const {
    for (int k = 0; k < 2000 && !fs::exists(folder_ / file); ++k)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(fs::exists(folder_ / file));
  }
};

TEST_F(SweepCli, RunsWhatIsNotFinished) {
  const Outcome dry = run(sweep("all", {"--dry-run"}));
  EXPECT_EQ(dry.status, 0) << dry.err;
  EXPECT_EQ(lines_of(dry.out)[2], "bm3 toy --model bm3 --epochs 40 --patience 40 --batch 50 --seed "
                                  "3 --out all/bm3_seed=3");
  EXPECT_FALSE(fs::exists(folder_ / "all"));
  const Outcome all = run(sweep("all"));
  ASSERT_EQ(all.status, 0) << all.err;
  EXPECT_TRUE(has(all.err, "\nrun 3 of 3, about ")) << all.err;
  EXPECT_EQ(lines_of(all.out)[3].substr(0, 5), "bm3  ");
  // One that is gone is run again, alone.
  fs::rename(folder_ / "all/bm3_seed=2", folder_ / "away");
  EXPECT_EQ(lines_of(run(sweep("all", {"--dry-run"})).out)[0].substr(0, 12), "# finished: ");
  const Outcome again = run(sweep("all"));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_TRUE(has(again.err, "2 of 3 runs are finished\n\nrun 2 of 3\n")) << again.err;
  EXPECT_FALSE(has(again.err, "run 3 of 3"));
  EXPECT_EQ(read_file(folder_ / "all/bm3_seed=2/log.csv"), read_file(folder_ / "away/log.csv"));
  expect_refused(sweep("all", {"--layers", "2"}),
                 "all/bm3_seed=1 is of another run, its settings/layers is 1: expected 2, or "
                 "another --out");
  expect_refused(sweep("all", {"--modalities", "none"}),
                 "all/bm3_seed=1 is of another run, its data/modalities/image is 12: expected "
                 "null, or another --out");
}

TEST_F(SweepCli, GoesOnAfterAKill) {
  ASSERT_EQ(run(sweep("whole")).status, 0);
  for (const int signal : {SIGKILL, SIGTERM}) {
    const std::string out = "killed" + std::to_string(signal);
    const pid_t child = start(sweep(out));
    wait_for(out + "/bm3_seed=1/config.json");
    kill(child, signal);
    const Outcome killed = finish(child);
    EXPECT_EQ(killed.status, 128 + signal) << killed.err;
    EXPECT_EQ(killed.out, "");
    Outcome again = run(sweep(out));
    for (int k = 0; k < 500 && has(again.err, "works in"); ++k) {  // its run is about to end
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      again = run(sweep(out));
    }
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_FALSE(has(again.err, "\nrun 1 of 3")) << again.err;
    expect_same_runs(folder_ / "whole", folder_ / out);
  }
}

TEST_F(SweepCli, RefusesAStoppedRunOfOtherSettings) {
  const pid_t child = start({"toy", "--seed", "1", "--epochs", "1000000", "--patience", "1000000",
                             "--batch", "50", "--out", "other/bm3_seed=1"});
  wait_for("other/bm3_seed=1.checkpoint");
  kill(child, SIGKILL);
  finish(child);
  expect_refused(sweep("other"), "other/bm3_seed=1 is of another run, its settings/epochs is "
                                 "1000000: expected 40, or another --out");
}

TEST_F(SweepCli, OneWorksInAFolder) {
  const pid_t child = start(sweep("one"));
  wait_for("one/bm3_seed=1/config.json");
  const ScratchFolder other;
  const std::string words = join(sweep("one"), " ");
  const Outcome second = finish(start({"-c", "exec " BM3_PROGRAM " " + words + " 2>" +
                                       (other / "err").string()}, "/bin/sh"));
  EXPECT_EQ(second.status, 1);
  EXPECT_EQ(read_file(other / "err"), "bm3: another sweep, or a run that it began, works in one: "
                                      "expected another --out, or its end\n");
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

/// A run that fails does not take the others with it.
TEST_F(SweepCli, GoesOnAfterAFailure) {
  write_file(folder_ / "s/bm3_seed=2", "in the way");
  const Outcome outcome = run(sweep("s"));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(has(outcome.err, "\nbm3: cannot make the folder ")) << outcome.err;
  EXPECT_EQ(lines_of(outcome.err).back(),
            "bm3: 1 of 3 runs failed (bm3_seed=2): the same line tries them again");
  EXPECT_TRUE(has(outcome.out, "\nbm3  2     ")) << outcome.out;
  fs::remove(folder_ / "s/bm3_seed=2");
  EXPECT_EQ(run(sweep("s")).status, 0);
}

/// A sweep reads the data once for each split that it draws, and finds the runs of each again.
TEST_F(SweepCli, DrawsSplits) {
  std::string text = read_file(folder_ / "data/toy/toy.inter");
  write_file(folder_ / "data/toy/toy.inter", text.replace(text.find("x_label"), 7, "part"));
  const Words words = {"sweep", "toy", "--split-seed", "1", "2", "--epochs", "1", "--out", "s"};
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.out, "split-seed")) << outcome.out;
  EXPECT_EQ(run(words).status, 0);
}

/// Seconds and memory; what is damaged or was interrupted.
TEST_F(SweepCli, ReadsWhatRunsLeft) {
  const Words words = {"sweep", "toy", "--epochs", "2", "--device", "cpu", "--out", "s"};
  ASSERT_EQ(run(words).status, 0);
  const fs::path timing = folder_ / "s/bm3_seed=999/timing.csv";
  const std::string columns = "epoch,train_seconds,valid_seconds,allocated_mib,process_mib";
  write_file(timing, columns + "\n1,2,9,5,30\n2,4,9,600,20\n");
  const Words lines = lines_of(run(words).out);
  ASSERT_GE(lines.size(), 4U);
  EXPECT_TRUE(has(lines[3], "  2       3.000    30")) << lines[3];
  write_file(timing, columns + "\n1,2\n");
  expect_refused(words, "s/bm3_seed=999/timing.csv:2: has 2 fields: expected 5, as in the first "
                        "line");
  const fs::path config = folder_ / "s/bm3_seed=999/config.json";
  const std::string right = read_file(config);
  write_file(config, std::string(right).replace(right.find("complete"), 8, "interrupted"));
  EXPECT_EQ(lines_of(run({"sweep", "toy", "--out", "s", "--dry-run"}).err).back(),
            "0 of 1 runs are finished");
  write_file(config, right.substr(9));
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(has(outcome.err, "bm3: s/bm3_seed=999/config.json is damaged: ")) << outcome.err;
}

/// Pictures of a run, of two, and of sweeps of every kind.
TEST_F(SweepCli, IsDrawn) {
  const auto shell = [&](const std::string& words) {
    return finish(start({"-c", words}, "/bin/sh"));
  };
  if (shell("python3 -c 'import matplotlib'").status != 0)
    GTEST_SKIP() << "python3 has no matplotlib";
  const Words options[] = {{"--model", "bm3", "bpr"}, {"--layers", "1", "2"},
                           {"--layers", "1", "2", "--reg", "1e-4", "1e-1"},
                           {"--modalities", "none", "image"}};
  std::string folders[] = {"models", "lines", "map", "bars"};
  for (size_t k = 0; k < 4; ++k) {
    Words words = {"sweep", "toy", "--epochs", "2", "--out", folders[k]};
    words.insert(words.end(), options[k].begin(), options[k].end());
    ASSERT_EQ(run(words).status, 0);
  }
  write_file(folder_ / "draw.py", "import runpy, sys\n"
                                  "for words in sys.argv[2:]:\n"
                                  "    out = words.replace('/', '-') + '.png'\n"
                                  "    sys.argv[1:] = [*words.split(), '--out', 'drawn/' + out]\n"
                                  "    runpy.run_path('" BM3_SOURCE "/ref/plot.py', "
                                  "run_name='__main__')\n");
  const Outcome drawn = shell("python3 draw.py . models lines map bars models/bpr_seed=999 "
                              "'models/bpr_seed=999 models/bm3_seed=999'");
  EXPECT_EQ(drawn.status, 0) << drawn.err;
  const Words pictures = names_below(folder_ / "drawn");
  EXPECT_EQ(pictures.size(), 6U) << drawn.out;
  for (const auto& name : pictures)
    EXPECT_EQ(read_file(folder_ / "drawn" / name).substr(1, 3), "PNG");
  EXPECT_EQ(shell("python3 " BM3_SOURCE "/ref/plot.py data").status, 1);
}

}  // namespace
}  // namespace bm3::test
