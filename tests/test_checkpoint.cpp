// Checkpoints are refused where they are not this training's; what signals do.
#include "checkpoint.h"

#include <csignal>

#include "interrupt.h"
#include "ops/cpu/cpu_ops.h"
#include "scratch.h"

namespace bm3::test {
namespace {

using Words = std::vector<std::pair<std::string, std::string>>;

void train_small(const std::string& model, const Words& words, size_t n_items,
                 const TrainHooks& hooks) {
  const ModelKind& kind = model_kind(model);
  Settings settings = all_settings(kind);
  for (const auto& [name, value] : Words{{"dim", "16"}, {"batch", "40"}, {"epochs", "6"}})
    settings.set(name, value);
  for (const auto& [name, value] : words) settings.set(name, value);
  const Dataset data = synthetic_dataset({80, n_items, 800, {{"image", 30, 1.0}}}, "small");
  train(*make_cpu_ops<float>(1), data, kind, settings, hooks);
}

/// A checkpoint of BM3 with tuned features, stopped in its second epoch.
class Refused : public testing::Test {
 protected:
  Refused() {
    hooks_.file = scratch_ / "x.checkpoint";
    size_t batches = 0;
    hooks_.stop = [&batches] { return ++batches == 20; };
    train_small("bm3", tuned_, 60, hooks_);
    hooks_.stop = [] { return false; };
    hooks_.resume = true;
    bytes_ = read_file(hooks_.file);
  }
  std::string resume(const std::string& bytes, const std::string& model = "bm3", Words words = {},
                     size_t n_items = 60) {
    write_file(hooks_.file, bytes);
    for (const auto& word : tuned_)
      if (model == "bm3") words.insert(words.begin(), word);
    std::string message = error_of([&] { train_small(model, words, n_items, hooks_); });
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
            "X is of the format \"bm3-golden-2\": expected bm3-checkpoint-5");
  EXPECT_EQ(resume(bytes_), "");
}

/// Edits of the header that keep its length.
TEST_F(Refused, Damaged) {
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string other = bytes_;
    EXPECT_NE(other.find(from), other.npos) << from;
    return other.replace(other.find(from), from.size(), to);
  };
  const std::string before = ", and as many epochs before it as it has, 1";
  EXPECT_EQ(resume(edited("\"F32\"", "\"F64\"")),
            "X is of another training or damaged, it holds parameter/user_embedding F64 80 x 16: "
            "expected parameter/user_embedding F32 80 x 16");
  EXPECT_EQ(resume(edited("\"shape\":[80,16]", "\"shape\":[16,80]")).find("X is of another"), 0U);
  EXPECT_EQ(resume(edited("\"data_offsets\":[0,", "\"data_offsets\":[1,")),
            "X is damaged: expected 'parameter/user_embedding' to begin at byte 0 of the arrays");
  EXPECT_EQ(resume(edited("\\\"epoch\\\":2", "\\\"epoch\\\":9")),
            "the checkpoint is of epoch 9, batch 4: expected at most 6, 16" + before);
  EXPECT_EQ(resume(edited("\\\"epoch\\\":2", "\\\"epoch\\\":3")),
            "the checkpoint is of epoch 3, batch 4: expected at most 6, 16" + before);
  EXPECT_EQ(resume(edited("\\\"best_epoch\\\":1", "\\\"best_epoch\\\":2")),
            "the checkpoint is of epoch 2, batch 4: expected at most 6, 16" + before);
  EXPECT_EQ(resume(std::string(bytes_).replace(bytes_.size() - 4, 4, {60, 0, 0, 0})),
            "X is damaged, item 60 is in its lists: expected items below 60");
  EXPECT_EQ(resume(edited("\\\"width\\\":16", "\\\"width\\\":15")).find("X is of another"), 0U);
  EXPECT_EQ(resume(edited("\\\"recall@5\\\"", "\\\"recall@4\\\"")).find("X is damaged"), 0U);
}

TEST_F(Refused, OfAnotherTraining) {
  EXPECT_EQ(resume(bytes_, "bm3", {{"lr", "0.01"}}),
            "X is of another training, its settings/lr is 0.001: expected 0.01");
  EXPECT_EQ(resume(bytes_, "bm3", {{"features", "frozen"}}),
            "X is of another training, its settings/features is \"tuned\": expected \"frozen\"");
  EXPECT_EQ(resume(bytes_, "bpr"),
            "X is of another training, its model is \"bm3\": expected \"bpr\"");
  EXPECT_EQ(resume(bytes_, "bm3", {}, 61),
            "X is of another training, its data/items is 60: expected 61");
}

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
