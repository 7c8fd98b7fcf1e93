// What the program refuses: one line, exit status 1, nothing written.
#include "cli.h"

namespace bm3::test {
namespace {

TEST_F(Cli, RefusesTheCommandLine) {
  write_file(folder_ / "file", "");
  fs::create_directories(folder_ / "mine/baby");
  const std::string here = fs::canonical(folder_.path()).string();
  const std::string no_folder = ": expected the name of a folder in the data folder (--data)",
                    lacks = ".inter (see data/README.md; --data says where)",
                    taken = "): expected a new or empty one (no mount point) where files can be "
                            "written";
  const std::pair<Words, std::string> cases[] = {
      {{}, "no data set: expected its NAME, as in `bm3 baby`"},
      {{"toy", "--epochs", "many"},
       "--epochs is 'many': expected a whole number from 1 to 1000000"},
      {{"t\noy"}, "the data set's name is 't oy'" + no_folder},  // in one line, whatever it holds
      {{"synth", "\033[2J"}, "the data set's name is ' [2J'" + no_folder},
      {{"toy", "--out", "file/a\nb"},
       "cannot make the folder " + here + "/file/a b (Not a directory" + taken},
      {short_run("run", {"--modalities", "image,sound"}),
       "--modalities names 'sound': expected all, none or some of image,text"},
      {short_run("run", {"--losses", "align,mask", "--modalities", "none"}),
       "--losses is 'align,mask': expected rec, too, where there are no modalities"},
      {{"nothing", "--out", "run"}, "no data set data/nothing: expected a folder with nothing" + lacks},
      // The stand-in is for those who have no data, not for those who say where it is.
      {{"baby", "--data", "nowhere", "--out", "run"}, "no folder nowhere: expected --data to hold baby"},
      {{"baby", "--data", "mine/baby", "--out", "run"},
       "no data set mine/baby/baby: expected a folder with baby" + lacks},
      {{"baby", "--data", "mine", "--out", "run"},
       "cannot open mine/baby/baby.inter (No such file or directory): expected an .inter file to "
       "read"},
      {{"synth", "toy"},
       "cannot make the folder " + here + "/data/toy (Directory not empty" + taken},
      {{"synth", "new", "--users", "5"},
       "cannot make 160792 interactions of 5 users and 7050 items: expected at least 10 users, "
       "40 items, five interactions for each, and at most users * items / 4"},
      {{"eval", "none"},
       "cannot open none/config.json (No such file or directory): expected the folder that a run "
       "of bm3 left"}};
  for (const auto& [command, words] : cases) expect_refused(command, words);
  fs::create_symlink("nowhere", folder_ / "data/baby");
  expect_refused({"baby", "--out", "run"}, "cannot open data/baby/baby.inter (No such file or "
                                           "directory): expected an .inter file to read");
}

/// Nothing tells before the end that these embeddings overflow.
TEST_F(Cli, RefusesEmbeddingsThatAreNotFinite) {
  const Words before = names_below(folder_.path());
  const Outcome outcome = run({"toy", "--epochs", "1", "--lr", "1e38", "--out", "run"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(lines_of(outcome.err).back(),
            "bm3: the embeddings after epoch 1 are not finite: try a smaller --lr, or look at the "
            "features' scale");
  EXPECT_EQ(names_below(folder_.path()), before);
}

/// OpenBLAS would wait forever for memory.
TEST_F(Cli, RefusesThreadsThatCannotRun) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs more than any limit";
#endif
  const std::string line = "ulimit -v 2000000; exec " + std::string(BM3_PROGRAM) +
                           " toy --epochs 1 --device cpu --threads 32 --out run";
  const Outcome outcome = finish(start({"-c", line}, "/bin/sh"));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err.find("bm3: cannot start 32 threads, only "), 0U) << outcome.err;
  EXPECT_EQ(lines_of(outcome.err).size(), 1U);
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

/// Files of a data set; their parsers have more tests of their own.
TEST_F(Cli, RefusesTheData) {
  const std::string inter = "data/toy/toy.inter", head = "userID\titemID\tx_label\n";
  const std::string right = read_file(folder_ / inter),
                    last = ":" + std::to_string(lines_of(right).size() + 1);
  const auto no_user = [](const std::string& part) {
    return "no user of toy's " + part +
           " split is in its training split: expected some, for the figures";
  };
  const std::string image = "data/toy/image_feat.npy";
  std::string features = read_file(folder_ / image);
  features.replace(128 + (31 * 12 + 7) * 4, 4, std::string("\x00\x00\xc0\x7f", 4));  // NaN
  const struct {
    std::string file, bytes, words;
  } cases[] = {
      {"toy.inter", "", inter + " is empty: expected a header line and interactions"},
      {"toy.inter", right + "1\tseven\t0\n",
       inter + last + ": itemID is 'seven': expected a whole number from 0 to 5509 (999 + 10 * 451 "
                      "interactions)"},
      {"toy.inter", head + "0\t0\t0\n1\t0\t1\n0\t1\t2\n", no_user("validation")},
      {"toy.inter", head + "0\t0\t0\n0\t1\t1\n1\t0\t2\n", no_user("test")},
      {"image_feat.npy", "", image + " is not an .npy file: expected it to start with \\x93NUMPY"},
      {"image_feat.npy", features,
       image + ": row 31, column 7: expected a finite float32 number"}};
  for (const auto& [file, bytes, words] : cases) expect_refused_file(file, bytes, words);
  for (const std::string name : {"none", "a\nb"}) {
    const std::string shown = one_line(name);
    expect_refused_file(name + "_feat.npy", features,
                        "data/toy/" + shown + "_feat.npy: a modality is named '" + shown +
                            "': expected neither all nor none nor a comma, which --modalities "
                            "could not name");
    fs::remove(folder_ / ("data/toy/" + name + "_feat.npy"));
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
      {"config.json", "\"format\"", "\"form\"", lacks("format")},
      {"config.json", "bm3-run-2", "bm3-run-1", " is of another version: expected bm3-run-2"},
      {"config.json", "\"users\": 60", "\"users\": \"60\"", wrong_type},
      {"config.json", "\"name\": \"toy\"", "\"name\": null", wrong_type},
      {"config.json", "\"tf32\": false", "\"tf32\": 0", wrong_type},
      {"config.json", "\"folder\"", "\"path\"", lacks("folder")},
      {"config.json", "\"recall@5\"", "\"recall@4\"", lacks("recall@5")},
      {"config.json", "\"users\": 60", "\"users\": -60",
       "one/user_embedding.npy is 60 x 64: expected -60 x 64, as in the run's other files"},
      {"config.json", "\"items\": 50", "\"items\": 2147483648",
       "one/item_embedding.npy is 50 x 64: expected 2147483648 x 64"},
      {"config.json", "\"model\": \"bm3\"", "\"model\": \"x\"", "--model is 'x': expected bm3 or"},
      {"item_embedding.npy", "(50, 64)", "(64, 50)",
       "one/item_embedding.npy is 64 x 50: expected 50 x 64"},
      {"top_k.tsv", "\n3\t", "\n4\t", ":5 is damaged: expected user 3 and 50 items below 50"},
      {"top_k.tsv", "\n0\t", "\n0\t50\t", ":2 is damaged: expected user 0 and 50 items below 50"},
      {"top_k.tsv", "\n59\t", "\n59\t-", ":61 is damaged: expected user 59"}};
  for (const auto& [file, from, to, words] : edits) {
    const fs::path path = folder_ / "one" / file;
    const std::string right = read_file(path);
    ASSERT_NE(right.find(from), std::string::npos) << from;
    write_file(path, std::string(right).replace(right.find(from), from.size(), to));
    const bool named = words.find("one/") == 0 || words.find("--") == 0;
    for (const Words& command : {Words{"eval", "one"}, {"recommend", "one", "--user", "0"}}) {
      const Outcome outcome = run(command);
      EXPECT_EQ(outcome.status, 1);
      EXPECT_EQ(outcome.out, "");
      EXPECT_EQ(outcome.err.find("bm3: " + (named ? "" : "one/" + file) + words), 0U)
          << outcome.err;
      EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    }
    write_file(path, right);
  }
  expect_refused({"recommend", "one", "--user", "60"}, "--user is 60: expected a number below 60");
  expect_refused({"eval", "one/config.json"},
                 "cannot open one/config.json/config.json (Not a directory): expected the folder "
                 "that a run of bm3 left");
  fs::remove(folder_ / "one/top_k.tsv");
  expect_refused({"eval", "one"}, "cannot open one/top_k.tsv (No such file or directory): expected "
                                  "a run's best items");
}

}  // namespace
}  // namespace bm3::test
