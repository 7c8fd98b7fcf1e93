// Where results go: folders that cannot be, that are taken, and runs that are interrupted.
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "cli.h"

namespace bm3::test {
namespace {

std::string cannot_make(const std::string& folder, const char* reason) {
  return "cannot make the folder " + folder + " (" + reason +
         "): expected a new or empty one (no mount point) where files can be written";
}

TEST_F(Cli, RefusesTheOutputFolder) {
  write_file(folder_ / "file", "mine");
  write_file(folder_ / "full/notes", "mine");
  fs::create_directory(folder_ / "locked");
  // It would be replaced: who is in it would see an empty folder.
  for (const std::string out : {".", "full/.."})
    expect_refused({"baby", "--out", out}, out + " is the folder that you are in: expected --out "
                                                 "to be a new or empty folder elsewhere");
  const fs::path here = fs::canonical(folder_.path());
  const bool root = geteuid() == 0;
  const std::pair<std::string, const char*> cases[] = {
      {"file", "Not a directory"},
      {"full", "Directory not empty"},
      {"file/run", "Not a directory"},
      {std::string(300, 'x'), "File name too long"},
      {"/proc/run", root ? "No such file or directory" : "Permission denied"}};
  for (const auto& [out, reason] : cases)
    expect_refused(short_run(out), cannot_make(here / out, reason));

  // Root may write everywhere: then another user runs a copy of the program.
  const fs::path program = BM3_PROGRAM, copy = folder_ / program.filename();
  for (const fs::path& part : {program, program.parent_path() / "libbm3_program.so"})
    fs::copy_file(part, folder_ / part.filename());
  for (const char* path : {"", "data", "data/toy"})
    ASSERT_EQ(chmod((folder_ / path).c_str(), 0755), 0);
  ASSERT_EQ(chmod((folder_ / "locked").c_str(), 0555), 0);
  for (const std::string out : {"locked/run", "locked/new/run"})
    expect_refused(short_run(out), cannot_make(here / out, "Permission denied"), copy, root);
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

TEST_F(Cli, LeavesFoldersOfOthersAlone) {
  for (const char* foreign : {"run.part/mine", "run.part1/mine"}) write_file(folder_ / foreign, "");
  const Words before = names_below(folder_.path());
  fs::create_directory(folder_ / "empty");
  fs::create_directory_symlink("empty", folder_ / "run");  // as good as its target
  ASSERT_EQ(run(short_run("run")).status, 0);
  EXPECT_EQ(names_below(folder_ / "empty"), run_files);
  fs::remove(folder_ / "run");
  fs::remove_all(folder_ / "empty");
  EXPECT_EQ(names_below(folder_.path()), before);
}

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

TEST_F(Cli, InterruptedSynthLeavesNothing) {
  const Words before = names_below(folder_.path());
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGKILL}) {
    const pid_t child = start({"synth", "big"});
    while (!fs::exists(folder_ / "data/big.part1/image_feat.npy"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(child, signal);
    EXPECT_EQ(finish(child).status, 128 + signal);
    if (signal != SIGKILL) {
      EXPECT_EQ(names_below(folder_.path()), before) << signal;
    }
  }
  // What a kill left does not stand in the way.
  EXPECT_EQ(run({"synth", "big", "--users", "40", "--items", "40", "--interactions", "300"}).status,
            0);
  EXPECT_EQ(run({"big", "--epochs", "1", "--modalities", "none", "--out", "run"}).status, 0);
}

}  // namespace
}  // namespace bm3::test
