#pragma once
// The program as a person runs it, in a folder of its own: exit status, what it prints and what it
// leaves on the disk.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "data/dataset.h"
#include "scratch.h"
#include "text.h"

namespace bm3::test {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Outcome {
  int status;  // of exit, or 128 + the signal
  std::string out, err;
};

inline const Words run_files = {"config.json", "item_embedding.npy", "log.csv", "timing.csv",
                                "top_k.tsv", "user_embedding.npy"};

inline Words lines_of(const std::string& text) {
  Words lines = split(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

inline bool has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

/// The program in a folder of its own, with a small data set data/toy.
class Cli : public testing::Test {
 protected:
  void SetUp() override {
    write_dataset({60, 50, 450, {{"image", 12, 1}, {"text", 5, 1}}}, "toy", folder_ / "data");
  }

  /// Starts `program` in the folder; its output goes to files elsewhere.
  pid_t start(const Words& words, const std::string& program = BM3_PROGRAM) {
    std::vector<char*> argv = {const_cast<char*>("bm3")};
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string out = streams_ / "out", err = streams_ / "err";
    const pid_t child = fork();
    if (child != 0) return child;
    setenv("OMP_WAIT_POLICY", "passive", 1);  // other tests want the processors, too
    const bool ready = dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1) == 1 &&
                       dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) == 2 &&
                       chdir(folder_.path().c_str()) == 0;
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
  /// Runs the program by a shell, after `first` and with `words`.
  Outcome run_in_shell(const std::string& first, const std::string& words) {
    return finish(start({"-c", first + "exec " BM3_PROGRAM " " + words}, "/bin/sh"));
  }

  /// Exit status 1, one line on standard error with `words`, and no file or folder more or less.
  void expect_refused(const Words& command, const std::string& words) {
    SCOPED_TRACE(join(command, " "));
    const Words before = names_below(folder_.path());
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "bm3: " + words + "\n");
    EXPECT_EQ(names_below(folder_.path()), before);
  }

  static Words short_run(const std::string& out, const Words& more = {}) {
    Words words = {"toy", "--epochs", "3", "--batch", "100", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  const ScratchFolder folder_, streams_;
};

}  // namespace bm3::test
