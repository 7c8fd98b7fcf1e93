// Runs that succeed: what they print, what they leave, and what answers from that.
#include <cmath>

#include "cli.h"

namespace bm3::test {
namespace {

TEST_F(Cli, TrainsAndAnswers) {
  const Outcome trained = run(short_run("runs/one"));
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(names_below(folder_ / "runs/one"), run_files);
  EXPECT_EQ(names_below(folder_ / "runs").size(), 1 + run_files.size());
  for (const std::string& text : {trained.out, trained.err})
    EXPECT_EQ(text.find_first_of("\r\033"), std::string::npos) << text;  // plain lines in a pipe
  size_t epochs = 0;
  for (const auto& line : lines_of(trained.err)) epochs += line.find("epoch    ") == 0;
  EXPECT_EQ(epochs, 3U);
  EXPECT_NE(trained.out.find("results in runs/one\n"), std::string::npos);

  const Outcome again = run({"eval", "runs/one"});
  EXPECT_EQ(again.status, 0) << again.err;
  const Words before = lines_of(trained.out), after = lines_of(again.out);
  size_t figures = 0;
  for (const std::string start : {"validation", "test"})
    for (const auto& line : before)
      if (line.find(start) == 0) {
        ++figures;
        EXPECT_EQ(std::count(after.begin(), after.end(), line), 1) << line;
      }
  EXPECT_EQ(figures, 2U);

  // The items of `recommend` are those of the lists, by falling scores, none of the user's
  // training.
  const Dataset data = load_dataset(folder_ / "data", "toy", 1);
  const Words lists = lines_of(read_file(folder_ / "runs/one/top_k.tsv"));
  ASSERT_EQ(lists.size(), 61U);
  for (size_t user : {size_t{0}, size_t{42}, size_t{59}}) {
    const Outcome best = run({"recommend", "runs/one", "--user", std::to_string(user), "-k", "10"});
    EXPECT_EQ(best.status, 0) << best.err;
    const Words rows = lines_of(best.out), list = split(lists[1 + user], '\t');
    ASSERT_EQ(rows.size(), 11U);
    EXPECT_EQ(list[0], std::to_string(user));
    double last = INFINITY;
    for (size_t k = 1; k <= 10; ++k) {
      const Words fields = split(rows[k], '\t');
      ASSERT_EQ(fields.size(), 3U) << rows[k];
      EXPECT_EQ(fields[0], std::to_string(k));
      EXPECT_EQ(fields[1], list[k]);
      EXPECT_TRUE(std::stod(fields[2]) <= last) << rows[k];
      last = std::stod(fields[2]);
      for (const auto& pair : data.interactions.train)
        EXPECT_FALSE(pair.user == static_cast<int32_t>(user) &&
                     std::to_string(pair.item) == fields[1]);
    }
  }
}

TEST_F(Cli, EvalNoticesAnotherEmbedding) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  const fs::path path = folder_ / "one/user_embedding.npy";
  std::string bytes = read_file(path);
  for (size_t k = 128; k + 3 < bytes.size(); k += 4)
    bytes[k + 3] = static_cast<char>(bytes[k + 3] ^ '\x80');
  write_file(path, bytes);  // every value with the other sign
  const Outcome outcome = run({"eval", "one"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
}

TEST_F(Cli, EvalNoticesAnotherList) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  const fs::path path = folder_ / "one/top_k.tsv";
  const std::string right = read_file(path), of_3 = lines_of(right)[4], start = "\n" + of_3 + "\n";
  std::string other = right;
  other.replace(other.find(start) + 3, 1, of_3[2] == '1' ? "2" : "1");
  write_file(path, other);
  const Outcome outcome = run({"eval", "one"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, "bm3: one/top_k.tsv:5: not the list that the embeddings give for user 3: "
                         "expected the file as the run left it\n");
  write_file(path, right.substr(0, right.find(start)));
  EXPECT_EQ(run({"eval", "one"}).status, 1);
  fs::remove(path);
  EXPECT_EQ(run({"eval", "one"}).status, 1);
}

TEST_F(Cli, RecommendPrintsAllOrNothing) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  write_file(folder_ / "one/top_k.tsv", "userID\ttop_1\ttop_2\n3\t7\t50\n");
  expect_refused({"recommend", "one", "--user", "3"},
                 "one/top_k.tsv:2: '50' is not an item's number: expected one below 50");
  expect_refused({"recommend", "one", "--user", "4"}, "one/top_k.tsv has no user 4");
  expect_refused({"recommend", "one", "--user", "60"},
                 "--user is 60: expected a number below 60");
  const std::string line = std::string(BM3_PROGRAM) + " recommend one --user 3 -k 1 > /dev/full";
  expect_refused([&] { return finish(start({"-c", line}, "/bin/sh")); }, line,
                 "cannot write to the standard output: is the disk full?");
}

/// The folder is whole, though its name could not be printed.
TEST_F(Cli, NamesTheFolderWhereFiguresCannotBePrinted) {
  for (const std::string to : {"> /dev/full", ">&-"}) {
    const std::string line = std::string(BM3_PROGRAM) + " toy --epochs 1 --out one " + to;
    const Outcome outcome = finish(start({"-c", line}, "/bin/sh"));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(lines_of(outcome.err).back(),
              "bm3: cannot write to the standard output: is the disk full? The results are in one");
    EXPECT_EQ(names_below(folder_ / "one"), run_files);
    fs::remove_all(folder_ / "one");
  }
}

TEST_F(Cli, SameSeedSameBytes) {
  const struct {
    const char *out, *threads, *seed;
  } runs[] = {{"one", "1", "7"},
              {"again", "1", "7"},
              {"two", "2", "7"},
              {"four", "4", "7"},
              {"other", "2", "8"}};
  for (const auto& [out, threads, seed] : runs)
    ASSERT_EQ(
        run(short_run(out, {"--threads", threads, "--seed", seed, "--features", "tuned"})).status,
        0);
  for (const auto& file : run_files) {
    const std::string bytes = read_file(folder_ / ("one/" + file));
    EXPECT_GT(bytes.size(), 100U);
    for (const std::string out : {"again", "two", "four"})
      EXPECT_TRUE(read_file(folder_ / (out + "/" + file)) == bytes) << out << " " << file;
    EXPECT_FALSE(read_file(folder_ / ("other/" + file)) == bytes) << file;
  }
}

TEST_F(Cli, MemoryWithoutTraining) {
  for (const std::string device : {"cpu", "cuda"}) {  // the table needs no GPU
    const Outcome table = run({"toy", "--device", device, "--memory"});
    EXPECT_EQ(table.status, 0) << table.err;
    EXPECT_NE(table.out.find("\nin all "), std::string::npos) << table.out;
  }
  EXPECT_FALSE(fs::exists(folder_ / "runs"));
}

/// The memory of what started the program is not its own.
TEST_F(Cli, MemoryOfThisProgramAlone) {
  const std::vector<char> held(size_t{600} << 20, 1);
  const Outcome outcome = run(short_run("run"));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  size_t figures = 0;
  for (const std::string words : {"memory of the process ", "most memory "}) {
    const size_t at = outcome.err.find(words);
    ASSERT_NE(at, std::string::npos) << outcome.err;
    const double mib = std::stod(outcome.err.substr(at + words.size()));
    EXPECT_TRUE(mib > 1 && mib < 500) << outcome.err;
    figures += held[held.size() / 2];
  }
  EXPECT_EQ(figures, 2U);
}

/// Users and items without training interactions are counted: number 0 where numbers start at 1.
TEST_F(Cli, CountsWhatTheTrainingLacks) {
  const std::string start = "\nisolated     ";
  EXPECT_EQ(run(short_run("one")).err.find(start), std::string::npos);
  write_file(folder_ / "data/gap/gap.inter",
             "userID\titemID\tx_label\n1\t1\t0\n1\t2\t1\n1\t4\t2\n");
  const Outcome outcome = run({"gap", "--epochs", "1", "--out", "gap"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.err.find(start + "1 of the users, 4 of the items: no training interactions; "
                                     "such items are ranked, too\n"),
            std::string::npos)
      << outcome.err;
}

/// Nothing else would tell that a misspelt column led to another split.
TEST_F(Cli, TellsThatTheSplitIsDrawn) {
  const std::string start = "\nsplit        8:1:1 for each user, drawn by --seed";
  EXPECT_EQ(run(short_run("one")).err.find(start), std::string::npos);
  const fs::path path = folder_ / "data/toy/toy.inter";
  std::string text = read_file(path);
  write_file(path, text.replace(text.find("x_label"), 7, "x_lable"));
  const Outcome outcome = run(short_run("two"));
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.err.find(start + ": the file has no column x_label\n"), std::string::npos)
      << outcome.err;
}

/// `eval` finds data that have moved where --data says.
TEST_F(Cli, EvalOfDataThatMoved) {
  ASSERT_EQ(run(short_run("one")).status, 0);
  fs::create_directory(folder_ / "new");
  const std::string before = fs::canonical(folder_ / "data/toy").string();
  fs::rename(before, folder_ / "new/toy");
  const std::string where = ": expected --data to say where it is now";
  expect_refused({"eval", "one"}, "no data set " + before + where);
  expect_refused({"eval", "one", "--data", "new/toy"}, "no data set new/toy/toy" + where);
  EXPECT_EQ(run({"eval", "one", "--data", "new"}).status, 0);
}

TEST_F(Cli, WarnsOfFeaturesThatItDoesNotRead) {
  write_file(folder_ / "data/toy/sound.npy", "");
  const Outcome outcome = run(short_run("run"));
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.err.find("\nnot read     sound.npy: features are read from sound_feat.npy\n"),
            std::string::npos)
      << outcome.err;
}

TEST_F(Cli, FewerModalities) {
  for (const std::string modalities : {"none", "text", "image,text"})
    EXPECT_EQ(run(short_run("run-" + modalities, {"--modalities", modalities})).status, 0)
        << modalities;
}

TEST_F(Cli, Synth) {
  const Outcome made = run({"synth", "new", "--users", "40", "--items", "40", "--interactions",
                            "300", "--modality", "sound:3:1"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.out, "wrote data/new\n");
  EXPECT_EQ(names_below(folder_ / "data/new"),
            (Words{"MADE_UP.txt", "new.inter", "sound_feat.npy"}));
  EXPECT_EQ(lines_of(read_file(folder_ / "data/new/MADE_UP.txt")).back(),
            "bm3 synth new --users 40 --items 40 --interactions 300 --modality sound:3:1 "
            "--seed 2023");
  EXPECT_EQ(run({"new", "--epochs", "1", "--out", "run"}).status, 0);
}

/// The names and sizes of the paper's data are not enough to be shown beside its figures.
TEST_F(Cli, MadeUpDataIsCalledSo) {
  const std::string paper = "paper's BM3", of_toy = "The data set toy is made up",
                    of_baby = "This baby is a made-up stand-in, not Amazon's data";
  const auto said = [&](const Outcome& outcome, const std::string& words) {
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    for (const std::string& text : {outcome.out, outcome.err})
      EXPECT_NE(text.find(words), std::string::npos) << text;
    return outcome.out.find(paper) == std::string::npos;
  };
  EXPECT_TRUE(said(run(short_run("toys")), of_toy));
  const Words quick = {"--epochs", "1", "--batch", "30000", "--dim", "2", "--out"};
  const auto baby = [&](const std::string& out, const Words& more) {
    Words words = {"baby"};
    words.insert(words.end(), quick.begin(), quick.end());
    words.push_back(out);
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  // Built in, then of the same sizes from a folder.
  EXPECT_TRUE(said(baby("in", {"--modalities", "none"}), of_baby));
  ASSERT_EQ(run({"synth", "baby", "--data", "made", "--modality", "image:2:3"}).status, 0);
  EXPECT_TRUE(said(baby("out", {"--data", "made"}), of_baby));
  for (const std::string folder : {"in", "out"}) {
    const Outcome again = run({"eval", folder});
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_NE(again.out.find(of_baby), std::string::npos) << again.out;
    EXPECT_EQ(again.out.find(paper), std::string::npos) << again.out;
  }
  EXPECT_EQ(run({"eval", "in", "--data", "data"}).status, 1);  // where there is no baby
  // Without the mark, they are what the paper's figures are for.
  fs::remove(folder_ / "made/baby/MADE_UP.txt");
  const Outcome real = baby("real", {"--data", "made"});
  EXPECT_EQ(real.status, 0) << real.err;
  EXPECT_EQ((real.out + real.err).find("made-up"), std::string::npos);
  EXPECT_NE(real.out.find(paper), std::string::npos) << real.out;
}

TEST_F(Cli, Help) {
  for (const Words& command : {Words{}, {"synth"}, {"recommend"}, {"eval"}}) {
    Words words = command;
    words.push_back("--help");
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_NE(outcome.out.find(command.empty() ? "--recipe" : "bm3 " + command[0]),
              std::string::npos)
        << outcome.out;
  }
}

}  // namespace
}  // namespace bm3::test
