// The program as a person runs it: exit status, what it prints and what it leaves on the disk.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <cmath>
#include <set>
#include <thread>

#include "data/dataset.h"
#include "data/npy.h"
#include "scratch.h"
#include "text.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Outcome {
  int status;  // of exit, or 128 + the signal
  std::string out, err;
};

Words lines_of(const std::string& text) {
  Words lines = split(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

/// The program in a folder of its own, with a small data set data/toy.
class Cli : public testing::Test {
 protected:
  void SetUp() override {
    SyntheticSpec spec;
    spec.n_users = 60;
    spec.n_items = 50;
    spec.n_interactions = 450;
    spec.modalities = {{"image", 12, 1}, {"text", 5, 1}};
    write_dataset(synthetic_dataset(spec, "toy"), folder_ / "data");
  }

  /// Starts `program` in the folder; its output goes to files beside the folder.
  pid_t start(const Words& words, const std::string& program = BM3_PROGRAM,
              bool as_nobody = false) {
    std::vector<char*> argv = {const_cast<char*>("bm3")};
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string out = streams_ / "out", err = streams_ / "err";
    const pid_t child = fork();
    if (child != 0) return child;
    setenv("OMP_WAIT_POLICY", "passive", 1);  // other tests want the processors, too
    const bool ready = dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1) == 1 &&
                       dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) == 2 &&
                       chdir(folder_.path().c_str()) == 0 && (!as_nobody || setuid(65534) == 0);
    if (ready) execv(program.c_str(), argv.data());
    _exit(99);
  }

  Outcome finish(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            read_file(streams_ / "out"), read_file(streams_ / "err")};
  }

  Outcome run(const Words& words) { return finish(start(words)); }

  /// Exit status 1, one line on standard error with `words`, and no file or folder more or less.
  void expect_refused(const Words& command, const std::string& words) {
    expect_refused([&] { return run(command); }, join(command, " "), words, true);
  }
  template <class Run>
  void expect_refused(const Run& run_it, const std::string& trace, const std::string& words,
                      bool at_once) {
    SCOPED_TRACE(trace);
    const Words before = names_below(folder_.path());
    const Outcome outcome = run_it();
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.out, "");
    const Words lines = lines_of(outcome.err);
    ASSERT_FALSE(lines.empty());
    EXPECT_TRUE(!at_once || lines.size() == 1) << outcome.err;
    EXPECT_EQ(lines.back(), "bm3: " + words);
    EXPECT_EQ(names_below(folder_.path()), before);
  }

  /// The command `toy` with this in place of the file data/toy/NAME.
  void expect_refused_file(const std::string& name, const std::string& bytes,
                           const std::string& words, bool at_once = true) {
    const fs::path path = folder_ / ("data/toy/" + name);
    const std::string right = fs::exists(path) ? read_file(path) : "";
    write_file(path, bytes);
    expect_refused([&] { return run(short_run("run")); }, name, words, at_once);
    write_file(path, right);
  }

  static Words short_run(const std::string& out, const Words& more = {}) {
    Words words = {"toy", "--epochs", "3", "--batch", "100", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  const ScratchFolder folder_, streams_;
};

const Words run_files = {"config.json", "item_embedding.npy", "log.csv", "top_k.tsv",
                         "user_embedding.npy"};

// ------------------------------------------------------------------------------- what a run leaves

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

TEST_F(Cli, NamesItsFolderItself) {
  ASSERT_EQ(run({"toy", "--epochs", "1"}).status, 0);
  const Words names = names_below(folder_ / "runs");
  ASSERT_EQ(names.size(), 1 + run_files.size());
  EXPECT_EQ(names[0].find("toy-20"), 0U) << names[0];
  EXPECT_EQ(names[0].size(), std::string("toy-YYYYMMDD-HHMMSS").size());
}

TEST_F(Cli, MemoryWithoutTraining) {
  for (const std::string device : {"cpu", "cuda"}) {  // the table needs no GPU
    const Outcome table = run({"toy", "--device", device, "--memory"});
    EXPECT_EQ(table.status, 0) << table.err;
    EXPECT_NE(table.out.find("\nin all "), std::string::npos) << table.out;
  }
  EXPECT_FALSE(fs::exists(folder_ / "runs"));
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
  EXPECT_EQ(names_below(folder_ / "data/new"), (Words{"new.inter", "sound_feat.npy"}));
  EXPECT_EQ(run({"new", "--epochs", "1", "--out", "run"}).status, 0);
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

// -------------------------------------------------------------------------------------- refused

TEST_F(Cli, RefusesTheCommandLine) {
  const Words before = names_below(folder_.path());
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
  expect_refused({"synth", "toy"}, "data/toy is there already: remove it or choose another name");
  expect_refused(
      {"synth", "new", "--users", "5"},
      "cannot make 160792 interactions of 5 users and 7050 items: expected at least 10 users, "
      "40 items, five interactions for each, and at most users * items / 4");
  expect_refused({"eval", "none"},
                 "cannot open none/config.json: expected the folder that a run of bm3 left");
  const Outcome unknown = run(short_run("run", {"--frobnicate"}));
  EXPECT_EQ(unknown.status, 1);
  EXPECT_EQ(lines_of(unknown.err).size(), 1U) << unknown.err;
  EXPECT_NE(unknown.err.find("--frobnicate"), std::string::npos);
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
                      file + last + "itemID is 'seven': expected a whole number");
  expect_refused_file("toy.inter", right + "-1\t7\t0\n",
                      file + last + "userID is '-1': expected a number from 0 to 2147483647");
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
                      file + " has 2527 bytes: expected 2528 by its header; it is truncated");
  std::string other = right;
  other.replace(other.find("<f4"), 3, ">f4");
  expect_refused_file(name, other,
                      file +
                          " has dtype '>f4': expected little-endian float16, float32 or float64 "
                          "(<f2, <f4, <f8)");
  other.replace(other.find(">f4"), 3, "<i4");
  expect_refused_file(
      name, other, file + " has dtype '<i4': expected float16, float32 or float64 (<f2, <f4, <f8)");
  other = right.substr(0, size - 12 * 4);
  other.replace(other.find("(50, "), 5, "(49, ");
  expect_refused_file(name, other, file + " has 49 rows: expected one for each of the 50 items");
  for (const char* value : {"\x00\x00\xc0\x7f", "\x00\x00\x80\xff"}) {  // NaN, -Inf
    other = right;
    other.replace(128 + (31 * 12 + 7) * 4, 4, std::string(value, 4));
    expect_refused_file(name, other, file + ": row 31, column 7: expected a finite float32 number",
                        false);
  }
}

TEST_F(Cli, RefusesTheOutputFolder) {
  write_file(folder_ / "file", "mine");
  write_file(folder_ / "full/notes", "mine");
  fs::create_directory(folder_ / "locked");
  const auto there = [](const std::string& out) {
    return out + " is there already: expected --out to be a new or empty folder";
  };
  expect_refused(short_run("file"), there("file"));
  expect_refused(short_run("full"), there("full"));
  const Outcome under = run(short_run("file/run"));
  EXPECT_EQ(under.status, 1);
  EXPECT_EQ(lines_of(under.err).size(), 1U) << under.err;
  EXPECT_NE(under.err.find("bm3: cannot write to "), std::string::npos) << under.err;

  // Root may write everywhere: then another user runs a copy of the program.
  const std::string program = folder_ / "bm3";
  fs::copy_file(BM3_PROGRAM, program);
  for (const char* path : {"", "data", "data/toy"})
    ASSERT_EQ(chmod((folder_ / path).c_str(), 0755), 0);
  ASSERT_EQ(chmod((folder_ / "locked").c_str(), 0555), 0);
  const bool root = geteuid() == 0;
  expect_refused([&] { return finish(start(short_run("locked/run"), program, root)); }, "locked",
                 "cannot write to " + fs::canonical(folder_ / "locked").string() +
                     ": expected --out locked/run to lie in a folder that can be written to",
                 true);
}

// ---------------------------------------------------------------------------------- interrupted

TEST_F(Cli, InterruptedRunLeavesNothingHalfWritten) {
  const Words before = names_below(folder_.path());
  const auto began = std::chrono::steady_clock::now();
  ASSERT_EQ(run(short_run("run")).status, 0);
  const auto whole = std::chrono::steady_clock::now() - began;
  fs::remove_all(folder_ / "run");
  size_t interrupted = 0;
  for (int k = 0; k <= 12; ++k) {  // from before the first epoch to about the end
    const pid_t child = start(short_run("run"));
    std::this_thread::sleep_for(whole * k / 12);
    const int signal = k % 2 ? SIGINT : SIGTERM;
    kill(child, signal);
    const Outcome outcome = finish(child);
    if (outcome.status != 0) {
      ++interrupted;
      EXPECT_EQ(outcome.status, 128 + signal) << outcome.err;
    }
    if (fs::exists(folder_ / "run")) {
      EXPECT_EQ(names_below(folder_ / "run"), run_files);
    } else {
      EXPECT_NE(outcome.status, 0);
    }
    fs::remove_all(folder_ / "run");
    EXPECT_EQ(names_below(folder_.path()), before);
  }
  EXPECT_GT(interrupted, 0U);
}

TEST_F(Cli, InterruptedSynthLeavesNoDataSet) {
  const pid_t child = start({"synth", "big"});
  while (!fs::exists(folder_ / "data/big.part/image_feat.npy.part"))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  kill(child, SIGTERM);
  EXPECT_EQ(finish(child).status, 128 + SIGTERM);
  EXPECT_FALSE(fs::exists(folder_ / "data/big"));
}

}  // namespace
}  // namespace bm3::test
