// What the program refuses: one line, exit status 1, nothing written.
#include "cli.h"

namespace bm3::test {
namespace {

TEST_F(Cli, RefusesTheCommandLine) {
  expect_refused({}, "no data set: expected its NAME, as in `bm3 baby`");
  expect_refused(short_run("run", {"--dropout", "1.5"}),
                 "--dropout is '1.5': expected a number from 0 to below 1");
  expect_refused({"toy", "--epochs", "many"},
                 "--epochs is 'many': expected a whole number from 1 to 1000000");
  expect_refused(short_run("run", {"--modalities", "image,sound"}),
                 "--modalities names 'sound': expected all, none or some of image,text");
  expect_refused(
      {"nothing", "--out", "run"},
      "no data set data/nothing: expected a folder with nothing.inter (see data/README.md; "
      "--data says where)");
  expect_refused({"synth", "toy"},
                 "cannot make the folder " + fs::canonical(folder_ / "data/toy").string() +
                     " (Directory not empty): expected a new or empty one (no mount point) "
                     "where files can be written");
  expect_refused(
      {"synth", "new", "--users", "5"},
      "cannot make 160792 interactions of 5 users and 7050 items: expected at least 10 users, "
      "40 items, five interactions for each, and at most users * items / 4");
  expect_refused({"eval", "none"},
                 "cannot open none/config.json (No such file or directory): expected the folder "
                 "that a run of bm3 left");
  expect_refused(short_run("run", {"--bogus", "3"}),
                 "there is no option '--bogus' (bm3 --help lists what there is)");
  expect_refused({"synth", "new", "more"},
                 "the argument 'more' was not expected (bm3 synth --help lists what there is)");
}

/// Errors of one line, whatever a name holds.
TEST_F(Cli, RefusesControlCharacters) {
  const std::string folder = ": expected the name of a folder in the data folder (--data)";
  expect_refused({"t\noy"}, "the data set's name is 't oy'" + folder);
  expect_refused({"synth", "\033[2J"}, "the data set's name is ' [2J'" + folder);
  write_file(folder_ / "file", "");
  expect_refused(short_run("file/a\nb"),
                 "cannot make the folder " + fs::canonical(folder_ / "file").string() +
                     "/a b (Not a directory): expected a new or empty one (no mount point) "
                     "where files can be written");
}

TEST_F(Cli, RefusesCombinations) {
  expect_refused(short_run("run", {"--losses", "align,mask", "--modalities", "none"}),
                 "--losses is 'align,mask': expected rec, too, where there are no modalities");
  expect_refused(short_run("run", {"--modalities", "image,image"}),
                 "--modalities names 'image' twice: expected different names");
}

/// The stand-in is for those who have no data, not for those who say where it is.
TEST_F(Cli, RefusesAFolderThatIsNotThere) {
  expect_refused({"baby", "--data", "nowhere", "--out", "run"},
                 "no folder nowhere: expected --data to hold baby");
  fs::create_directories(folder_ / "mine/baby");
  expect_refused({"baby", "--data", "mine/baby", "--out", "run"},
                 "no data set mine/baby/baby: expected a folder with baby.inter (see "
                 "data/README.md; --data says where)");
  fs::create_symlink("nowhere", folder_ / "data/baby");
  expect_refused({"baby", "--out", "run"},
                 "cannot open data/baby/baby.inter (No such file or directory): expected an .inter "
                 "file to read");
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

TEST_F(Cli, RefusesTheInteractions) {
  const std::string file = "data/toy/toy.inter", head = "userID\titemID\tx_label\n";
  const std::string right = read_file(folder_ / file),
                    next = std::to_string(lines_of(right).size() + 1);
  const std::string last = ":" + next + ": ";
  expect_refused_file("toy.inter", "", file + " is empty: expected a header line and interactions");
  expect_refused_file("toy.inter", "userID\tx_label\n0\t0\n",
                      file +
                          ":1: no column itemID in the header 'userID x_label': expected "
                          "tab-separated names with userID and itemID");
  expect_refused_file("toy.inter", right + "1\tseven\t0\n",
                      file + last +
                          "itemID is 'seven': expected a whole number from 0 to 2147483647");
  expect_refused_file("toy.inter", right + "-1\t7\t0\n",
                      file + last + "userID is '-1': expected a whole number from 0 to 2147483647");
  expect_refused_file("toy.inter", right + "1\t2000000000\t0\n",
                      file + last +
                          "itemID is 2000000000: with 451 interactions, expected a number "
                          "below 5510");
  const std::string repeated = lines_of(right)[1], user = split(repeated, '\t')[0],
                    item = split(repeated, '\t')[1];
  expect_refused_file("toy.inter", right + repeated + "\n",
                      file + last + "user " + user + " and item " + item +
                          " stand in line 2 already: expected each pair once");
  expect_refused_file(
      "toy.inter", head + "0\t0\t0\n0\t1\t1\n",
      file + " leaves the test (x_label 2) split empty: expected at least one interaction");
  for (const auto& [rows, part] : {std::pair{"0\t0\t0\n1\t0\t1\n0\t1\t2\n", "validation"},
                                   {"0\t0\t0\n0\t1\t1\n1\t0\t2\n", "test"}})
    expect_refused_file("toy.inter", head + rows,
                        std::string("no user of toy's ") + part +
                            " split is in its training split: expected some, for the figures");
  fs::remove(folder_ / file);
  expect_refused(
      short_run("run"),
      "cannot open " + file + " (No such file or directory): expected an .inter file to read");
}

TEST_F(Cli, RefusesTheFeatures) {
  const std::string name = "image_feat.npy", file = "data/toy/" + name;
  const std::string right = read_file(folder_ / file);
  const size_t size = 128 + 50 * 12 * 4;
  ASSERT_EQ(right.size(), size);
  expect_refused_file(name, "",
                      file + " is not an .npy file: expected it to start with \\x93NUMPY");
  expect_refused_file(name, right.substr(0, size - 1),
                      file + " has 2527 bytes: expected 128 + 50 * 12 * 4 by its header");
  std::string other = right;
  other.replace(other.find("<f4"), 3, ">f4");
  const std::string floats =
      ": expected little-endian float16, float32 or float64 ('<f2', '<f4', '<f8')";
  expect_refused_file(name, other, file + " has dtype '>f4'" + floats);
  other.replace(other.find(">f4"), 3, "<i4");
  expect_refused_file(name, other, file + " has dtype '<i4'" + floats);
  other = right.substr(0, size - 12 * 4);
  other.replace(other.find("(50, "), 5, "(49, ");
  expect_refused_file(name, other,
                      file + " has 49 rows: expected one for each itemID from 0 to 49");
  for (const char* value : {"\x00\x00\xc0\x7f", "\x00\x00\x80\xff"}) {  // NaN, -Inf
    other = right;
    other.replace(128 + (31 * 12 + 7) * 4, 4, std::string(value, 4));
    expect_refused_file(name, other, file + ": row 31, column 7: expected a finite float32 number");
  }
}

/// What `eval` and `recommend` read of a run, value by value.
TEST_F(Cli, RefusesTheConfig) {
  ASSERT_EQ(run(short_run("one", {"--device", "cpu"})).status, 0);
  const fs::path path = folder_ / "one/config.json";
  const std::string right = read_file(path);
  const auto refuse = [&](const std::string& words) {
    for (const Words& command : {Words{"eval", "one"}, {"recommend", "one", "--user", "0"}})
      expect_refused(command, "one/config.json" + words);
  };
  for (const char* text : {"", "{", "userID\n", "{\"format\": 1e999}"}) {
    write_file(path, text);
    refuse(" is not JSON: expected the file as a run of bm3 left it");
  }
  for (const char* text : {"[]", "null", "{\"name\": 1}"}) {
    write_file(path, text);
    refuse(" lacks /format: expected bm3-run-1");
  }
  const std::string counts = "expected a whole number from 1 to 2147483647";
  const struct {
    std::string from, to, words;
  } edits[] = {
      {"bm3-run-1", "bm3-run-9", ": /format is '\"bm3-run-9\"': expected bm3-run-1"},
      {"\"dim\": 64", "\"dim\": 64.5", ": /model/dim is '64.5': " + counts},
      {"\"dim\": 64", "\"dim\": \"64\"", ": /model/dim is '\"64\"': " + counts},
      {"\"dim\": 64", "\"dim\": 0", ": /model/dim is '0': " + counts},
      {"\"model\"", "\"mode\"", " lacks /model/dim: " + counts},
      {"\"users\": 60", "\"users\": -60", ": /data/users is '-60': " + counts},
      {"\"items\": 50", "\"items\": 2147483648", ": /data/items is '2147483648': " + counts},
      {"\"seed\": 999", "\"seed\": -1",
       ": /training/seed is '-1': expected a whole number from 0 to 18446744073709551615"},
      {"\"device\": \"cpu\"", "\"device\": \"tpu\"",
       ": /training/device is '\"tpu\"': expected cpu or cuda"},
      {"\"tf32\": false", "\"tf32\": 0", ": /training/tf32 is '0': expected true or false"},
      {"\"name\": \"toy\"", "\"name\": null", ": /data/name is 'null': expected a text"},
      {"\"folder\"", "\"path\"", " lacks /data/folder: expected a text"},
      {"\"best_epoch\"", "\"best\"", " lacks /best_epoch: " + counts},
      {"\"recall@5\": ", "\"recall@5\": 1.5, \"\": ",
       ": /valid/recall@5 is '1.5': expected a number from 0 to 1"},
  };
  for (const auto& [from, to, words] : edits) {
    const size_t at = right.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_file(path, std::string(right).replace(at, from.size(), to));
    refuse(words);
  }
  write_file(path, right);
  expect_refused({"eval", "one/config.json"},
                 "cannot open one/config.json/config.json (Not a directory): expected the folder "
                 "that a run of bm3 left");
  fs::remove(path);
  fs::create_directory(path);
  refuse(" is not a file: expected the folder that a run of bm3 left");
}

TEST_F(Cli, RefusesNamesOfModalities) {
  for (const std::string name : {"all", "none", "a,b", "a\nb"}) {
    const fs::path path = folder_ / ("data/toy/" + name + "_feat.npy");
    fs::copy_file(folder_ / "data/toy/image_feat.npy", path);
    const std::string shown = name == "a\nb" ? "a b" : name;
    expect_refused(short_run("run"), "data/toy/" + shown + "_feat.npy: a modality is named '" +
                                         shown + "': expected neither all nor none nor a comma, " +
                                         "which --modalities could not name");
    fs::remove(path);
  }
}

}  // namespace
}  // namespace bm3::test
