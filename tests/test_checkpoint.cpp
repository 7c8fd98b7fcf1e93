// Checkpoints: whole under kill -9 at any moment, and refused where they are not this training's.
#include "checkpoint.h"

#include <omp.h>

#include <csignal>
#include <random>

#include "interrupt.h"
#include "run_folder.h"
#include "scratch.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::pair<std::string, std::string>>;

Dataset small_data(int64_t n_items = 60) {
  SyntheticSpec spec;
  spec.n_users = 80;
  spec.n_items = n_items;
  spec.n_interactions = 800;
  spec.modalities = {{"image", 30, 1.0}};
  return synthetic_dataset(spec, "small");
}

TrainOptions options_of(const std::string& model, const Words& words) {
  const ModelKind& kind = model_kind(model);
  TrainOptions out{"small", "", "", {"all"}, &kind, all_settings(kind), {"cpu"}};
  for (const auto& [name, value] : Words{{"dim", "16"}, {"batch", "40"}, {"epochs", "6"}})
    out.settings.set(name, value);
  for (const auto& [name, value] : words) out.settings.set(name, value);
  return out;
}

/// A process that is forked after OpenMP has begun threads would wait for them.
const bool one_thread = (omp_set_num_threads(1), true);

TrainResult trained(const TrainOptions& options, const Dataset& data, const TrainHooks& hooks) {
  return train(*make_cpu_ops<float>(1), data, *options.model, options.settings,
               hooks);
}

// ---------------------------------------------------------------------------------------- killed

/// Begins or resumes, in a process of its own, a run that saves itself after every batch.
pid_t start(const fs::path& out, const TrainOptions& options) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    TrainHooks hooks;
    hooks.file = checkpoint_path(out);
    hooks.resume = fs::exists(hooks.file);
    hooks.period = 0;
    const Dataset data = small_data();
    write_run(out, options, data, trained(options, data, hooks));
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    _exit(1);
  }
  _exit(0);
}

/// Whether a process came to its end; false where it was killed.
bool ended(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) << status;
  return status == 0;
}

/// Returns when a file was last written, if it is there.
auto time_of(const fs::path& file) {
  std::error_code none;
  const auto time = fs::last_write_time(file, none);
  return none ? fs::file_time_type{} : time;
}

/// Kills a run, some time after it has saved itself up to eight times, and resumes it until it ends
/// by itself. Returns how many kills found it further than the last one.
size_t run_under_fire(const fs::path& out, const TrainOptions& options) {
  std::mt19937 random(1);
  size_t inside = 0, last = 0;
  for (bool done = false; !done;) {
    size_t saves = random() % 9;
    auto saved = time_of(checkpoint_path(out));
    const pid_t child = start(out, options);
    const auto saved_enough = [&] {
      const auto now = time_of(checkpoint_path(out));
      if (now != std::exchange(saved, now) && saves > 0) --saves;
      return saves == 0;
    };
    wait_until(saved_enough, child);
    usleep(static_cast<useconds_t>(random() % 5000));
    kill(child, SIGKILL);
    done = ended(child) || is_complete(out);
    if (done || !fs::exists(checkpoint_path(out))) continue;
    const Checkpoint checkpoint(checkpoint_path(out));  // whole at every moment
    const size_t now = checkpoint.position().epoch * 1000 + checkpoint.position().batches;
    EXPECT_GE(now, last);
    inside += now > last;
    last = now;
  }
  return inside;
}

class Killed : public testing::TestWithParam<std::pair<std::string, Words>> {};

TEST_P(Killed, AtRandomMomentsARunEndsWithTheSameBytes) {
  const ScratchFolder scratch;
  const TrainOptions options = options_of(GetParam().first, GetParam().second);
  ASSERT_TRUE(ended(start(scratch / "whole", options)));
  EXPECT_GE(run_under_fire(scratch / "run", options), 2U);
  const auto names = names_below(scratch / "whole");
  EXPECT_EQ(names.size(), 6U);
  for (const auto& name : names) {
    if (name == "timing.csv") continue;  // the only one that measures
    EXPECT_TRUE(read_file(scratch / ("run/" + name)) == read_file(scratch / ("whole/" + name)))
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Killed,
    testing::Values(std::pair<std::string, Words>{"bm3", {}},
                    std::pair<std::string, Words>{"bm3", {{"features", "tuned"}}},
                    std::pair<std::string, Words>{"lightgcn", {}}),
    [](const auto& of) {
      return of.param.first + (of.param.second.empty() ? "" : "_tuned");
    });

// --------------------------------------------------------------------------------------- refused

/// A checkpoint of BM3 with tuned features, stopped in its second epoch.
class Refused : public testing::Test {
 protected:
  Refused() {
    hooks_.file = scratch_ / "x.checkpoint";
    size_t batches = 0;
    hooks_.stop = [&batches] { return ++batches == 20; };
    trained(options_of("bm3", tuned_), small_data(), hooks_);
    hooks_.stop = [] { return false; };
    hooks_.resume = true;
    bytes_ = read_file(hooks_.file);
  }
  std::string resume(const std::string& bytes, const std::string& model = "bm3", Words words = {},
                     int64_t n_items = 60) {
    write_file(hooks_.file, bytes);
    for (const auto& word : tuned_)
      if (model == "bm3") words.insert(words.begin(), word);
    std::string message = error_of(
        [&] { trained(options_of(model, words), small_data(n_items), hooks_); });
    const std::string path = hooks_.file.string();
    for (size_t at; (at = message.find(path)) != message.npos;)
      message.replace(at, path.size(), "X");
    return message;
  }
  const Words tuned_ = {{"features", "tuned"}};
  const ScratchFolder scratch_;
  TrainHooks hooks_;
  std::string bytes_;
};

TEST_F(Refused, CutShortOrForeign) {
  const size_t header = 8 + *reinterpret_cast<const uint64_t*>(bytes_.data());
  const std::string size = std::to_string(bytes_.size() - header);
  for (const size_t n : {size_t{0}, size_t{7}, size_t{100}, header - 1})
    EXPECT_EQ(resume(bytes_.substr(0, n)),
              "X has " + std::to_string(n) +
                  " bytes, fewer than its header: expected a whole checkpoint of bm3");
  for (const size_t n : {header, header + 1, bytes_.size() - 1})
    EXPECT_EQ(resume(bytes_.substr(0, n)), "X has " + std::to_string(n - header) +
                                               " bytes of arrays: expected " + size +
                                               " by its header");
  EXPECT_EQ(resume(bytes_ + "x").find("X has "), 0U);
  EXPECT_EQ(resume("\x93NUMPY any other file").find("X has 21 bytes, fewer"), 0U);
  EXPECT_EQ(resume(std::string(100, '\0')).find("X is damaged: "), 0U);
  EXPECT_EQ(resume(read_file(BM3_SOURCE "/ref/goldens/bpr_tiny.safetensors")),
            "X is of the format \"bm3-golden-2\": expected bm3-checkpoint-3");
  EXPECT_EQ(resume(bytes_), "");
}

/// Edits of the header that keep its length.
TEST_F(Refused, Damaged) {
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string other = bytes_;
    EXPECT_NE(other.find(from), other.npos) << from;
    return other.replace(other.find(from), from.size(), to);
  };
  EXPECT_EQ(resume(edited("\"F32\"", "\"F64\"")),
            "X is of another training or damaged, it holds parameter/user_embedding F64 80 x 16: "
            "expected parameter/user_embedding F32 80 x 16");
  EXPECT_EQ(resume(edited("\"shape\":[80,16]", "\"shape\":[16,80]")).find("X is of another"), 0U);
  EXPECT_EQ(resume(edited("\"data_offsets\":[0,", "\"data_offsets\":[1,")),
            "X is damaged: expected 'parameter/user_embedding' to begin at byte 0 of the arrays");
  EXPECT_EQ(resume(edited("\\\"epoch\\\":2", "\\\"epoch\\\":9")),
            "the checkpoint is of epoch 9, batch 4: expected at most 6, 16");
  EXPECT_EQ(resume(edited("\\\"width\\\":16", "\\\"width\\\":15")).find("X is of another"), 0U);
  EXPECT_EQ(resume(edited("\\\"values\\\"", "\\\"valuas\\\"")).find("X is damaged"), 0U);
}

TEST_F(Refused, OfAnotherTraining) {
  EXPECT_EQ(resume(bytes_, "bm3", {{"lr", "0.01"}}),
            "X is of another training, its settings/lr is 0.001: expected 0.01");
  EXPECT_EQ(resume(bytes_, "bm3", {{"features", "frozen"}}),
            "X is of another training, its settings/features is \"tuned\": expected \"frozen\"");
  EXPECT_EQ(resume(bytes_, "bpr"),
            "X is of another training, its model is \"bm3\": expected \"bpr\"");
  const std::string other = resume(bytes_, "bm3", {}, 61);
  EXPECT_EQ(other.find("X is of another training, its data/items is 60: expected 61"), 0U) << other;
  fs::remove(hooks_.file);
  EXPECT_ERROR(Checkpoint{hooks_.file}, "cannot open " + hooks_.file.string() +
                                               " (No such file or directory): expected the "
                                               "checkpoint of a run that was stopped");
}

// -------------------------------------------------------------------------------------- signals

TEST(Interruption, NotesTheFirstSignalAndEndsAtTheSecond) {
  const auto take_two = [](int first, int second) {
    const Interruption noting;
    raise(first);
    if (Interruption::signal() != first) return;
    raise(second);
  };
  for (const int first : {SIGINT, SIGTERM, SIGHUP})
    for (const int second : {SIGINT, SIGTERM, SIGHUP})
      EXPECT_EXIT(take_two(first, second), testing::KilledBySignal(second), "");
}

TEST(Interruption, LeavesWhatIsIgnored) {
  std::signal(SIGHUP, SIG_IGN);  // as nohup does
  const auto ignore = [] {
    const Interruption noting;
    raise(SIGHUP);
    raise(SIGHUP);
    _exit(Interruption::signal());
  };
  EXPECT_EXIT(ignore(), testing::ExitedWithCode(0), "");
  std::signal(SIGHUP, SIG_DFL);
}

}  // namespace
}  // namespace bm3::test
