// Runs that succeed: what they print, what they leave, and what answers from that.
#include <cmath>

#include "cli.h"

namespace bm3::test {
namespace {

/// The items that `recommend` prints are those of the user's list, by falling scores.
void expect_best(const Words& printed, const Words& list, size_t user) {
  ASSERT_EQ(printed.size(), 11U);
  EXPECT_EQ(list[0], std::to_string(user));
  double last = INFINITY;
  for (size_t k = 1; k <= 10; ++k) {
    const Words fields = split(printed[k], '\t');
    ASSERT_EQ(fields.size(), 3U) << printed[k];
    EXPECT_EQ(fields[0], std::to_string(k));
    EXPECT_EQ(fields[1], list[k]);
    EXPECT_TRUE(std::stod(fields[2]) <= last) << printed[k];
    last = std::stod(fields[2]);
  }
}

/// Each model, with the columns of its losses.
TEST_F(Cli, TrainsAndAnswers) {
  for (const auto& [model, losses] : {std::pair<std::string, std::string>{"bm3", "rec,align,mask"},
                                      {"bpr", "bpr"},
                                      {"lightgcn", "bpr"},
                                      {"grcn", "bpr"}}) {
    SCOPED_TRACE(model);
    const std::string out = "runs/" + model;
    const Outcome trained = run(short_run(out, {"--model", model}));
    ASSERT_EQ(trained.status, 0) << trained.err;
    EXPECT_EQ(names_below(folder_ / out), run_files);
    for (const std::string& text : {trained.out, trained.err})
      EXPECT_EQ(text.find_first_of("\r\033"), std::string::npos) << text;  // plain lines in a pipe
    EXPECT_PRED2(has, trained.out, "results in " + out + "\n");
    EXPECT_EQ(has(trained.err, "\n             " + model + " reads no features\n"),
              model != "bm3" && model != "grcn");
    EXPECT_PRED2(has, trained.err, "\nmodel        " + model + " (");
    EXPECT_PRED2(has, trained.err, "epochs 3, patience 20, seed 999, split-seed 999\n");
    const Words log = lines_of(read_file(folder_ / out / "log.csv"));
    EXPECT_EQ(log.size(), 4U);
    EXPECT_EQ(log[0], "epoch,loss," + losses + ",reg,valid_recall@20,valid_ndcg@20,best");
    const Words timing = lines_of(read_file(folder_ / out / "timing.csv"));
    ASSERT_EQ(timing.size(), 4U);
    EXPECT_EQ(timing[0], "epoch,train_seconds,valid_seconds,allocated_mib,process_mib");
    for (size_t epoch = 1; epoch <= 3; ++epoch) {
      const Words x = split(timing[epoch], ',');
      EXPECT_EQ(x[0], std::to_string(epoch));
      for (size_t c = 1; c <= 4; ++c)
        EXPECT_TRUE(std::stod(x.at(c)) > 0 && std::stod(x[c]) < 4000) << timing[epoch];
    }

    const Outcome again = run({"eval", out});
    EXPECT_EQ(again.status, 0) << again.err;
    const Words before = lines_of(trained.out), after = lines_of(again.out);
    EXPECT_EQ(after.back(), "figures: equal to the run's; lists: 0 of 60 users' differ");
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 3, after.begin())) << again.out;

    const Words lists = lines_of(read_file(folder_ / out / "top_k.tsv"));
    ASSERT_EQ(lists.size(), 61U);
    for (size_t user : {size_t{0}, size_t{42}, size_t{59}}) {
      const Outcome best = run({"recommend", out, "--user", std::to_string(user), "-k", "10"});
      EXPECT_EQ(best.status, 0) << best.err;
      expect_best(lines_of(best.out), split(lists[1 + user], '\t'), user);
    }
  }
}


/// Lists that differ; figures that differ by as little as where another processor's rounding swaps
/// two items whose scores are nearly equal; figures that differ by more.
TEST_F(Cli, EvalTellsWhatDiffers) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  const fs::path lists = folder_ / "one/top_k.tsv", users = folder_ / "one/user_embedding.npy",
                 config = folder_ / "one/config.json";
  const auto last_line = [&] {
    const Outcome outcome = run({"eval", "one"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return lines_of(outcome.out).back();
  };
  const std::string right = read_file(lists), of_3 = lines_of(right)[4], start = "\n" + of_3 + "\n";
  std::string other = right;
  other.replace(other.find(start) + 3, 1, of_3[2] == '1' ? "2" : "1");
  write_file(lists, other);
  EXPECT_EQ(last_line(), "figures: equal to the run's; lists: 1 of 60 users' differ");

  write_file(lists, right);
  std::string text = read_file(config);
  const std::string name = "\"map@50\": ";
  const size_t at = text.rfind(name) + name.size(), end = text.find_first_of(",\n", at);
  const double run_had = std::stod(text.substr(at, end - at));
  write_file(config, text.replace(at, end - at, shortest(run_had + 0.0009765625)));
  const std::string words = last_line();
  EXPECT_EQ(words.find("figures: equal to the run's but for rounding, by which processors and "
                       "libraries differ (by 0.0009765625 at most)"), 0U) << words;

  std::string bytes = read_file(users);
  for (size_t k = 128; k + 3 < bytes.size(); k += 4)
    bytes[k + 3] = static_cast<char>(bytes[k + 3] ^ '\x80');
  write_file(users, bytes);  // every value with the other sign
  const Outcome outcome = run({"eval", "one"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_PRED2(has, outcome.err, " figures differ by up to 0.");
  EXPECT_PRED2(has, outcome.out, "\nvalidation ");
}

/// The folder is whole, though its name could not be printed.
TEST_F(Cli, NamesTheFolderWhereFiguresCannotBePrinted) {
  const std::string full = "bm3: cannot write to the standard output: is the disk full?";
  for (const std::string to : {" >&-", " > /dev/full"}) {
    fs::remove_all(folder_ / "one");
    const Outcome outcome = run_in_shell("", "toy --epochs 1 --out one" + to);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(lines_of(outcome.err).back(), full + " The results are in one");
    EXPECT_EQ(names_below(folder_ / "one"), run_files);
  }
  const Outcome outcome = run_in_shell("", "recommend one --user 3 > /dev/full");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, full + "\n");
}

/// Figures that took hours are printed before the folder is written, of which nothing stays but the
/// checkpoint.
TEST_F(Cli, PrintsFiguresWhereTheFolderCannotBeWritten) {
  Words names = names_below(folder_.path());
  names.push_back("one.checkpoint");
  const Outcome outcome = run_in_shell("ulimit -f 4; ", "toy --epochs 1 --out one");  // 2 KiB
  EXPECT_EQ(outcome.status, 1);
  EXPECT_PRED2(has, outcome.out, "\nvalidation ");
  const std::string part = (fs::canonical(folder_.path()) / "one.part1/").string(),
                    message = lines_of(outcome.err).back();
  EXPECT_EQ(message.find("bm3: cannot write " + part), 0U) << message;
  EXPECT_TRUE(has(message, " (File too large): expected room for it")) << message;
  EXPECT_EQ(names_below(folder_.path()), names);
}

/// The memory of what started the program is not its own.
TEST_F(Cli, MemoryOfThisProgramAlone) {
  const std::vector<char> held(size_t{600} << 20, 1);
  const Outcome outcome = run(short_run("run"));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string words : {"memory of the process ", "MiB allocated, "}) {
    ASSERT_TRUE(has(outcome.err, words)) << outcome.err;
    const double mib = std::stod(outcome.err.substr(outcome.err.find(words) + words.size()));
    EXPECT_TRUE(mib > 1 && mib < 500 && held.back() == 1) << outcome.err;
  }
}

/// Users and items without training interactions, which number 0 is where numbers start at 1; a
/// split that a misspelt column led to; features that are not read.
TEST_F(Cli, TellsWhatTheDataAre) {
  const Outcome outcome = run(short_run("one"));
  for (const char* start : {"\nisolated     ", "\nsplit        ", "\nnot read     "})
    EXPECT_FALSE(has(outcome.err, start)) << outcome.err;
  write_file(folder_ / "data/gap/gap.inter",
             "userID\titemID\tx_label\n1\t1\t0\n1\t2\t1\n1\t4\t2\n");
  const std::string gap = run({"gap", "--epochs", "1", "--out", "gap"}).err;
  EXPECT_PRED2(has, gap, "\nisolated     1 of the users, 4 of the items: no training interactions; "
                         "such items are ranked, too\n");
  std::string text = read_file(folder_ / "data/toy/toy.inter");
  write_file(folder_ / "data/toy/toy.inter", text.replace(text.find("x_label"), 7, "part"));
  write_file(folder_ / "data/toy/sound.npy", "");
  const auto popularity = [](const std::string& out) {  // figures that the split alone decides
    const size_t at = out.find("\nby popularity");
    return out.substr(at, out.find('\n', at + 1) - at);
  };
  const Outcome drawn = run(short_run("two"));
  EXPECT_PRED2(has, drawn.err, "\nsplit        8:1:1 for each user, drawn by --split-seed: the "
                               "file has no column x_label\n");
  EXPECT_PRED2(has, drawn.err, "\nnot read     sound.npy: features are read from sound_feat.npy\n");
  EXPECT_EQ(popularity(run(short_run("three", {"--seed", "2"})).out), popularity(drawn.out));
  EXPECT_NE(popularity(run(short_run("four", {"--split-seed", "3"})).out), popularity(drawn.out));
  EXPECT_EQ(run({"eval", "four"}).status, 0);
  for (const std::string modalities : {"none", "text", "image,text"})
    EXPECT_EQ(run(short_run(modalities, {"--modalities", modalities})).status, 0) << modalities;
}

/// `eval` finds data that have moved where --data says. It reads no features.
TEST_F(Cli, EvalOfDataThatMoved) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  fs::remove(folder_ / "data/toy/image_feat.npy");
  EXPECT_EQ(run({"eval", "one"}).status, 0);
  fs::create_directory(folder_ / "new");
  const std::string before = fs::canonical(folder_ / "data/toy").string();
  fs::rename(before, folder_ / "new/toy");
  expect_refused({"eval", "one"},
                 "no data set " + before + ": expected a folder with toy.inter (data/README.md "
                 "says where to get data and how to bring your own, --data where they are)");
  expect_refused({"eval", "one", "--data", "new/none"},
                 "no data set new/none/toy: expected --data to hold it, or to be the folder of "
                 "another");
  for (const std::string folder : {"new", "new/toy", "new/toy/"})
    EXPECT_EQ(lines_of(run({"eval", "one", "--data", folder}).out).back(),
              "figures: equal to the run's; lists: 0 of 60 users' differ");
}

TEST_F(Cli, Synth) {
  const Outcome made = run({"synth", "new", "--users", "41", "--items", "40", "--interactions",
                            "300", "--modality", "sound:3:1", "--modality", "more:2:2.5"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.out, "wrote data/new\n");
  EXPECT_EQ(names_below(folder_ / "data/new"),
            (Words{"MADE_UP.txt", "more_feat.npy", "new.inter", "sound_feat.npy"}));
  EXPECT_EQ(lines_of(read_file(folder_ / "data/new/MADE_UP.txt")).back(),
            "bm3 synth new --users 41 --items 40 --interactions 300 --modality sound:3:1 "
            "more:2:2.5 --seed 2023");
  EXPECT_EQ(run({"new", "--epochs", "1", "--out", "run"}).status, 0);
}

/// The names and sizes of the paper's data are not enough to be shown with its figures.
TEST_F(Cli, MadeUpDataIsCalledSo) {
  const std::string of_baby = "This baby is a made-up stand-in, not Amazon's data",
                    bpr = "bpr, published, test                0.0357  0.0575  0.0192  0.0249\n";
  const auto expect = [&](const Words& words, const std::string& said, bool real) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_PRED2(has, outcome.out, said);
    EXPECT_EQ(has(outcome.out, ", published"), real) << outcome.out;
    EXPECT_EQ(has(outcome.out, "made"), !real) << outcome.out;
  };
  const auto baby = [&](const std::string& out, const Words& more) {
    Words words = {"baby", "--epochs", "1", "--batch", "30000", "--dim", "2", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  expect(short_run("toys"), "The data set toy is made up", false);
  // Built in, then of the same sizes from a folder.
  expect(baby("in", {"--modalities", "none"}), of_baby, false);
  ASSERT_EQ(run({"synth", "baby", "--data", "made", "--modality", "image:2:3"}).status, 0);
  expect(baby("out", {"--data", "made"}), of_baby, false);
  for (const std::string folder : {"in", "out"}) expect({"eval", folder}, of_baby, false);
  EXPECT_EQ(run({"eval", "in", "--data", "data"}).status, 1);  // where there is no baby
  // Without the mark, they are what the paper's figures are for.
  fs::remove(folder_ / "made/baby/MADE_UP.txt");
  expect(baby("bpr", {"--data", "made", "--model", "bpr"}), bpr, true);
}

}  // namespace
}  // namespace bm3::test
