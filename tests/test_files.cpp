// Files that are no files, and folders that appear whole or not at all.
#include "data/files.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <random>

#include "scratch.h"

namespace {
bool disk_fails = false;
}

/// The library's, instead of the system's.
extern "C" int fsync(int file) {
  errno = EIO;
  return disk_fails ? -1 : static_cast<int>(syscall(SYS_fsync, file));
}

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

TEST(OpenFile, RefusesWhatIsNoFile) {
  const ScratchFolder scratch;
  fs::create_directory(scratch / "folder");
  fs::create_symlink("loop", scratch / "loop");
  write_file(scratch / "file", "");
  ASSERT_EQ(mkfifo((scratch / "never").c_str(), 0600), 0);
  const auto expect = [&](const char* name, const std::string& first, const std::string& then) {
    EXPECT_ERROR(open_file(scratch / name, "a song"),
                 first + (scratch / name).string() + then + ": expected a song");
  };
  expect("none", "cannot open ", " (No such file or directory)");
  expect("file/x", "cannot open ", " (Not a directory)");
  for (const char* no_file : {"folder", "never"}) expect(no_file, "", " is not a file");
  expect("loop", "cannot open ", " (Too many levels of symbolic links)");
}

TEST(WriteWhole, LeavesAWholeFileWhereverItIsKilled) {
  const ScratchFolder scratch;
  const fs::path file = write_file(scratch / "x", "first");
  const size_t size = 2000000;
  std::mt19937 random(1);
  for (int k = 0; k < 40; ++k) {
    const auto before = fs::last_write_time(file);
    const pid_t child = fork();
    const auto write = [&](char letter) noexcept {
      write_whole(file, [&](std::ostream& out) { out << std::string(size, letter); });
    };
    for (int n = 0; child == 0; ++n) write(static_cast<char>('a' + n % 26));
    wait_until([&] { return fs::last_write_time(file) != before; }, child);
    usleep(static_cast<useconds_t>(random() % 20000));
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    const std::string bytes = read_file(file);
    EXPECT_TRUE(bytes == std::string(size, bytes.at(0))) << bytes.size();
  }
}

TEST(PartFolder, IsRemovedWithWhatItHolds) {
  const ScratchFolder scratch;
  write_file(scratch / "x.part1/mine", "");
  {
    const PartFolder part(scratch / "x");
    part.append("text", "wh");
    part.append("text", "ole");
    EXPECT_EQ(read_file(scratch / "x.part2/text"), "whole");
  }
  EXPECT_EQ(names_below(scratch.path()), (Names{"x.part1", "x.part1/mine"}));
}

TEST(PartFolder, TakesTheNameOfNothingOrOfAnEmptyFolder) {
  const ScratchFolder scratch;
  fs::create_directory(scratch / "empty");
  fs::create_directory(scratch / "far");
  fs::create_directory_symlink("far", scratch / "link");
  for (const std::string name : {"new/run", "empty/", "link"}) {
    { PartFolder{scratch / name}; }
    EXPECT_EQ(fs::exists(scratch / name), name != "new/run");  // a trial changes nothing
    PartFolder part(scratch / name);
    part.append("text", "");
    part.rename_to_target();
  }
  EXPECT_EQ(names_below(scratch.path()),
            (Names{"empty", "empty/text", "far", "far/text", "link", "new", "new/run",
                   "new/run/text"}));
  struct stat status {};
  const mode_t mask = umask(0);
  umask(mask);
  ASSERT_EQ(stat((scratch / "new/run").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0777 & ~mask);  // for others to read, as any new folder
}

TEST(PartFolder, RefusesANameThatIsTakenAtOnceOrByThen) {
  const ScratchFolder scratch;
  const fs::path here = fs::canonical(scratch.path());
  write_file(here / "file", "");
  write_file(here / "full/mine", "");
  const std::pair<std::string, const char*> cases[] = {
      {"file", "Not a directory"}, {"full", "Directory not empty"}, {"file/run", "Not a directory"},
      {std::string(300, 'x'), "File name too long"}};
  for (const auto& taken : cases)
    EXPECT_ERROR(PartFolder{here / taken.first}, cannot_make(here / taken.first, taken.second));
  {
    PartFolder part(here / "run");
    write_file(here / "run/mine", "");
    EXPECT_ERROR(part.rename_to_target(), cannot_make(here / "run", "Directory not empty"));
  }
  EXPECT_EQ(names_below(here), (Names{"file", "full", "full/mine", "run", "run/mine"}));
}

TEST(PartFolder, TakesItsNameWhenItsFilesAreOnTheDisk) {
  const ScratchFolder scratch;
  const fs::path here = fs::canonical(scratch.path());
  {
    PartFolder part(here / "run");
    part.append("text", "whole");
    disk_fails = true;
    EXPECT_ERROR(part.rename_to_target(), "cannot write " + (here / "run.part1/text").string() +
                                              " (Input/output error): expected room for it");
    disk_fails = false;
  }
  EXPECT_EQ(names_below(here), Names());
}

/// The status of a process of its own, which ends with what work() returns.
template <class Work>
int status_of(const Work& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WEXITSTATUS(status);
}

TEST(PartFolder, RefusesAMountPointAtOnce) {
  const ScratchFolder scratch;
  const fs::path folder = fs::canonical(scratch.path()) / "mounted";
  fs::create_directory(folder);
  const int status = status_of([&] {  // for that process alone the folder is mounted
    const bool can = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                     mount("none", folder.c_str(), "tmpfs", 0, nullptr) == 0;
    return !can ? 77
                : error_of([&] { PartFolder{folder}; }) !=
                      cannot_make(folder, "Device or resource busy");
  });
  if (status == 77) GTEST_SKIP() << "this system lets nobody mount";
  EXPECT_EQ(status, 0);
}

/// Root may write everywhere: then another user tries.
TEST(PartFolder, RefusesAPlaceThatIsLocked) {
  const ScratchFolder scratch;
  const fs::path here = fs::canonical(scratch.path());
  fs::create_directory(here / "locked");
  ASSERT_EQ(chmod(here.c_str(), 0755) + chmod((here / "locked").c_str(), 0555), 0);
  for (const std::string name : {"locked/run", "locked/new/run"})
    EXPECT_EQ(status_of([&] {
                return (geteuid() == 0 && setuid(65534) != 0) ||
                       error_of([&] { PartFolder{here / name}; }) !=
                           cannot_make(here / name, "Permission denied");
              }), 0) << name;
}

TEST(PartFolder, IsRemovedWhenASignalComes) {
  const ScratchFolder scratch;
  const auto write_and_wait = [&](int signal) {
    PartFolder part(scratch / "run");
    part.append("text", "");
    raise(signal);
    if (!fs::exists(scratch / "run.part1/text")) return;  // the signal did not wait
    part.append("text", "");
  };
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(write_and_wait(signal), testing::KilledBySignal(signal), "");
    EXPECT_EQ(names_below(scratch.path()), Names());
  }
  ::signal(SIGHUP, SIG_IGN);  // as nohup does
  EXPECT_EXIT((write_and_wait(SIGHUP), std::exit(3)), testing::ExitedWithCode(3), "");
  ::signal(SIGHUP, SIG_DFL);
}

}  // namespace
}  // namespace bm3::test
