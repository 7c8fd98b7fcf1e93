// What the program refuses: one line, exit status 1, nothing written. Where results go.
#include <regex>

#include "cli.h"

namespace bm3::test {
namespace {

TEST_F(Cli, RefusesTheCommandLine) {
  write_file(folder_ / "file", "");
  fs::create_directories(folder_ / "mine/baby");
  const std::string here = fs::canonical(folder_.path()).string();
  const std::string lacks = ".inter (data/README.md says where to get data and how to bring your "
                            "own, --data where they are)",
                    is_here = " is the folder that you are in: expected --out to be a new or empty "
                              "folder elsewhere";
  const std::pair<Words, std::string> cases[] = {
      {{}, "no data set: expected its NAME, as in `bm3 baby`"},
      {{"synth", "\033[2J\n"},
       "the data set's name is ' [2J ': expected the name of a folder in the data folder (--data)"},
      {{"toy", "--out", "file/a\nb"}, cannot_make(here + "/file/a b", "Not a directory")},
      {short_run("run", {"--modalities", "image,sound"}),
       "--modalities is 'sound': expected all or none or image or text"},
      {short_run("run", {"--losses", "align,mask", "--modalities", "none"}),
       "--losses is 'align,mask': expected rec, too, where there are no modalities"},
      {{"nothing", "--out", "run"},
       "no data set data/nothing: expected a folder with nothing" + lacks},
      // The stand-in is for those who have no data, not for those who say where it is.
      {{"baby", "--data", "nowhere", "--out", "run"},
       "no data set nowhere/baby: expected a folder with baby" + lacks},
      {{"elec"}, "no data set data/elec: expected a folder with elec" + lacks},
      {{"babby"}, "no data set data/babby: did you mean `bm3 baby`?"},
      {{"tony"}, "no data set data/tony: did you mean `bm3 toy`?"},
      {{"help"}, "no data set data/help: did you mean `bm3 --help`?"},
      {{"toy", "--data", "data/toy"},
       "no data set data/toy/toy: did you mean `bm3 toy --data data`?"},
      {{"--data", "data/toy"}, "no data set: expected its NAME, as in `bm3 toy --data data`"},
      {{"--data", "data"}, "no data set: expected its NAME, as in `bm3 baby`"},
      {{"baby", "--data", "mine/baby", "--out", "run"},
       "no data set mine/baby/baby: expected a folder with baby" + lacks},
      {{"baby", "--data", "mine", "--out", "run"},
       "cannot open mine/baby/baby.inter (No such file or directory): expected an .inter file to "
       "read"},
      {{"synth", "toy"}, cannot_make(here + "/data/toy", "Directory not empty")},
      // It would be replaced: who is in it would see an empty folder.
      {{"toy", "--out", "."}, "." + is_here},
      {{"toy", "--out", "data/.."}, "data/.." + is_here},
      {{"eval", "none"},
       "cannot open none/config.json (No such file or directory): expected the folder that a run "
       "of bm3 left"}};
  for (const auto& [command, words] : cases) expect_refused(command, words);
  fs::create_symlink("nowhere", folder_ / "data/baby");
  expect_refused({"baby", "--out", "run"}, "cannot open data/baby/baby.inter (No such file or "
                                           "directory): expected an .inter file to read");
}

/// Nothing tells before the end that these embeddings, or only their products, overflow.
TEST_F(Cli, RefusesScoresThatAreNotFinite) {
  const Words before = names_below(folder_.path());
  for (const auto& [model, lr] : {std::pair("bm3", "1e38"), std::pair("bpr", "1e19")}) {
    const Outcome outcome =
        run({"toy", "--model", model, "--epochs", "1", "--lr", lr, "--out", "run"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(lines_of(outcome.err).back(),
              "bm3: the scores after epoch 1 are not finite: try a smaller --lr, or look at the "
              "features' scale");
    EXPECT_EQ(names_below(folder_.path()), before);
  }
}

/// OpenMP would end the program. Each thread's stack has a place in the address space.
TEST_F(Cli, RefusesThreadsThatCannotRun) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs more than any limit";
#endif
  const std::regex words("bm3: cannot start 32 threads, only [1-9][0-9]?: expected a smaller "
                         "--threads, or higher limits of processes and of memory \\(ulimit -u, "
                         "ulimit -v\\)\n");
  for (const auto& [variable, option] : {std::pair("", " --threads 32"),
                                         std::pair("OMP_NUM_THREADS=32 ", "")}) {
    const Outcome outcome =
        run_in_shell(std::string("ulimit -s 131072; ulimit -v 2000000; ") + variable,
                     std::string("toy --epochs 1 --device cpu --out run") + option);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(std::regex_match(outcome.err, words)) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

/// Files of a data set, one instead of another; their parsers have tests of their own.
TEST_F(Cli, RefusesTheData) {
  const std::string inter = "data/toy/toy.inter", image = "data/toy/image_feat.npy",
                    head = "userID\titemID\tx_label\n", features = read_file(folder_ / image);
  const auto no_user = [](const std::string& part) {
    return "no user of toy's " + part +
           " split is in its training split: expected some, for the figures";
  };
  const struct {
    std::string file, bytes, words;
  } cases[] = {
      {inter, read_file(folder_ / inter) + "1\tseven\t0\n",
       inter + ":452: itemID is 'seven': expected a whole number from 0"},
      {inter, head + "0\t0\t0\n1\t0\t1\n0\t1\t2\n", no_user("validation")},
      {inter, head + "0\t0\t0\n0\t1\t1\n1\t0\t2\n", no_user("test")},
      {image, std::string(features).replace(128 + (31 * 12 + 7) * 4, 4, 4, '\xff'),
       image + ": row 31, column 7: expected a finite float32 number"},
      {"data/toy/a\nb_feat.npy", features,
       "data/toy/a b_feat.npy: a modality is named 'a b': expected a name without "
       "commas and slashes, neither all nor none"},
      {"data/toy/\xe9_feat.npy", features,
       "the names of 'toy' and its modalities: expected UTF-8"}};
  for (const auto& [file, bytes, words] : cases) {
    const fs::path path = folder_ / file;
    const std::string right = fs::exists(path) ? read_file(path) : "";
    write_file(path, bytes);
    expect_refused(short_run("run"), words);
    write_file(path, right);
    if (right.empty()) fs::remove(path);
  }
}

/// What `eval` and `recommend` read of a run: an edit of a file, and how their message begins.
TEST_F(Cli, RefusesADamagedRun) {
  ASSERT_EQ(run(short_run("one", {"--device", "cpu"})).status, 0);
  const std::string damaged = " is damaged: ", wrong_type = damaged + "[json.exception.type_error";
  const auto lacks = [&](const std::string& key) {
    return damaged + "[json.exception.out_of_range.403] key '" + key + "' not found";
  };
  const struct {
    std::string file, from, to, words;
  } edits[] = {
      {"config.json", "{", "", damaged + "[json.exception.parse_error.101]"},
      {"config.json", "bm3-run-3", "bm3-run-2", " is of another version: expected bm3-run-3"},
      {"config.json", "\"users\": 60", "\"users\": \"60\"", wrong_type},
      {"config.json", "\"tf32\": false", "\"tf32\": 0", wrong_type},
      {"config.json", "\"folder\"", "\"path\"", lacks("folder")},
      {"config.json", "\"recall@5\"", "\"recall@4\"", lacks("recall@5")},
      {"config.json", "\"users\": 60", "\"users\": -60",
       "one/user_embedding.npy is 60 x 64: expected 18446744073709551556 x 64, as in the run's "
       "other files"},
      {"config.json", "\"items\": 50", "\"items\": 2147483648",
       "one/item_embedding.npy is 50 x 64: expected 2147483648 x 64"},
      {"config.json", "\"model\": \"bm3\"", "\"model\": \"x\"", "--model is 'x': expected bm3 or"},
      {"top_k.tsv", "\n3\t", "\n4\t", ":5 is damaged: expected user 3 and 50 items below 50"},
      {"top_k.tsv", "\n0\t", "\n0\t50\t", ":2: has 52 fields: expected 51, as in the first line"},
      {"top_k.tsv", "\n59\t", "\n59\t-", ":61 is damaged: expected user 59"}};
  for (const auto& [file, from, to, words] : edits) {
    const fs::path path = folder_ / "one" / file;
    const std::string right = read_file(path);
    ASSERT_NE(right.find(from), std::string::npos) << from;
    write_file(path, std::string(right).replace(right.find(from), from.size(), to));
    const bool named = words.find("one/") == 0 || words.find("--") == 0;
    const Outcome outcome = run({"eval", "one"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.find("bm3: " + (named ? "" : "one/" + file) + words), 0U)
        << outcome.err;
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    write_file(path, right);
  }
  expect_refused({"recommend", "one", "--user", "60"},
                 "--user is '60': expected a number below 60");
  expect_refused({"eval", "one/config.json"},
                 "cannot open one/config.json/config.json (Not a directory): expected the folder "
                 "that a run of bm3 left");
  fs::remove(folder_ / "one/top_k.tsv");
  expect_refused({"recommend", "one", "--user", "0"},
                 "cannot open one/top_k.tsv (No such file or directory): expected a run's best "
                 "items");
}

/// Runs that name their folders themselves.
TEST_F(Cli, RunsOfOneSecondDoNotMix) {
  pid_t children[6];
  for (pid_t& child : children) child = start({"toy", "--epochs", "1"});
  for (pid_t child : children) {
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
  }
  size_t folders = 0;
  for (const auto& run : fs::directory_iterator(folder_ / "runs")) {
    EXPECT_EQ(run.path().filename().string().find("toy-bm3-999-20"), 0U) << run;
    EXPECT_EQ(names_below(run), run_files) << run;
    ++folders;
  }
  EXPECT_EQ(folders, std::size(children));
}

}  // namespace
}  // namespace bm3::test
