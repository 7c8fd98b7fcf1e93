// Folders that appear whole or not at all, under a name that may be taken by then.
#include "data/part_folder.h"

#include <sys/stat.h>

#include "run_folder.h"
#include "scratch.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

TEST(PartFolder, GoesWithWhatItMade) {
  const ScratchFolder scratch;
  write_file(scratch / "x.part1/mine", "");
  {
    const PartFolder deep(absolute_path(scratch / "a/b/c")), beside(absolute_path(scratch / "x"));
    deep.write("text", "whole");
    EXPECT_EQ(read_file(scratch / "a/b/c.part1/text"), "whole");
    EXPECT_TRUE(fs::exists(scratch / "x.part2"));
  }
  EXPECT_EQ(names_below(scratch.path()), (Names{"x.part1", "x.part1/mine"}));
}

TEST(PartFolder, TakesTheNameOfNothingOrOfAnEmptyFolder) {
  const ScratchFolder scratch;
  for (const std::string name : {"new/run", "empty"}) {
    if (name == "empty") fs::create_directory(scratch / name);
    PartFolder part(absolute_path(scratch / name));
    part.write("text", "");
    EXPECT_TRUE(part.rename_to(absolute_path(scratch / name)));
  }
  write_file(scratch / "file", "");
  for (const std::string name : {"new/run", "file"}) {
    PartFolder part(absolute_path(scratch / name));
    EXPECT_FALSE(part.rename_to(absolute_path(scratch / name)));
  }
  EXPECT_EQ(names_below(scratch.path()),
            (Names{"empty", "empty/text", "file", "new", "new/run", "new/run/text"}));
  struct stat status {};
  const mode_t mask = umask(0);
  umask(mask);
  ASSERT_EQ(stat((scratch / "new/run").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0777 & ~mask);  // for others to read, as any new folder
}

TEST(PartFolder, GivesUpWhenInterrupted) {
  const ScratchFolder scratch;
  const auto write_and_wait = [&](int signal) {
    PartFolder part(absolute_path(scratch / "run"));
    part.write("text", "");
    raise(signal);
    if (!fs::exists(scratch / "run.part1/text")) return;  // the signal did not wait
    PartFolder::heed_interrupts();
  };
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(write_and_wait(signal), testing::KilledBySignal(signal), "");
    EXPECT_EQ(names_below(scratch.path()), Names());
  }
  ::signal(SIGHUP, SIG_IGN);  // as nohup does
  EXPECT_EXIT((write_and_wait(SIGHUP), std::exit(3)), testing::ExitedWithCode(3), "");
  ::signal(SIGHUP, SIG_DFL);
}

/// Results are kept when the name that was free at the start is no more so.
TEST(WriteRun, TakesTheNextNameThatIsFree) {
  const ScratchFolder scratch;
  SyntheticSpec spec;
  spec.n_users = spec.n_items = 40;
  spec.n_interactions = 300;
  spec.modalities.clear();
  const Dataset data = synthetic_dataset(spec, "toy");
  TrainOptions options;
  options.train.model.d = 1;
  TrainResult result;
  result.user = result.item = std::vector<float>(40);
  const auto write = [&](const fs::path& out) {
    return write_run(out, options, data, {}, result, Ranking{});
  };
  const fs::path out = scratch / "run", here = fs::canonical(scratch.path());
  check_run_folder(out, true);
  EXPECT_EQ(names_below(scratch.path()), Names());  // a trial leaves nothing
  write_file(out / "notes", "mine");
  fs::create_directory(scratch / "run-2");
  EXPECT_EQ(write(out), here / "run-3");
  EXPECT_EQ(write(out), here / "run-4");
  EXPECT_EQ(names_below(out), Names{"notes"});
  EXPECT_EQ(names_below(scratch / "run-2"), Names());
  EXPECT_EQ(names_below(scratch / "run-3").size(), 5U);
  EXPECT_EQ(write(scratch / "other/run"), scratch / "other/run");
  fs::remove_all(out);
  EXPECT_EQ(write(out), out);
}

}  // namespace
}  // namespace bm3::test
