// Every directory of ref/goldens on every backend, and the test of the test: what differs from the
// C++, or is no golden directory, is refused. `golden_check DIR` does the same for any directory.
#include "backends.h"
#include "golden.h"
#include "scratch.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> directories() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(fs::path(BM3_SOURCE) / "ref" / "goldens"))
    out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}
const fs::path tuned = fs::path(BM3_SOURCE) / "ref" / "goldens" / "tuned";

void expect_agreement(const GoldenReport& report, const std::string& name) {
  size_t values = 0;
  for (const Comparison& c : report.compared) {
    EXPECT_TRUE(c.ok()) << name << ", " << c.name << ": " << c.agreement << ", bound " << c.bound;
    values += c.agreement.count;
  }
  EXPECT_TRUE(report.ok()) << name;
  EXPECT_TRUE(report.left_out.empty()) << name << ": " << report.left_out.front();
  EXPECT_GE(report.compared.size(), 60u) << name;
  EXPECT_GE(values, 150u) << name;
}

template <class Backend>
class GoldensTest : public OnBackend<Backend> {};
TYPED_TEST_SUITE(GoldensTest, Backends, BackendName);

TYPED_TEST(GoldensTest, Agree) {
  const auto all = directories();
  EXPECT_GE(all.size(), 8u);
  for (const auto& directory : all) {
    const Golden golden = read_golden(directory);
    EXPECT_TRUE(golden.unknown.empty()) << directory << ": " << golden.unknown.front();
    expect_agreement(check_golden(*this->ops, golden), directory.filename().string());
  }
}

/// Multiplies the largest magnitude among the values that are compared by 1 + change.
void corrupt(Golden& golden, const std::string& name, double change) {
  if (name.rfind("metrics/", 0) == 0) {
    double& metric = golden.metrics.at(name.substr(8));
    metric = metric != 0 ? metric * (1 + change) : change;
    return;
  }
  GoldenArray& array = golden.arrays.at(name);
  if (name == "final/top_k") return std::swap(array.values[0], array.values[1]);
  size_t first = 0, end = array.values.size();
  const bool user = name.find(".user") != std::string::npos;
  const bool of_rows = name.find("/view.") != std::string::npos ||
                       name.find("/projection.") != std::string::npos ||
                       name.find("/predicted.") != std::string::npos ||
                       name.find("/after/feature.") != std::string::npos;
  if (of_rows && name.rfind("step_", 0) == 0) {  // the C++ has the batch's rows alone
    const auto batch = golden.batch(static_cast<size_t>(name[5] - '0'));
    first = static_cast<size_t>(user ? batch[0].user : batch[0].item) * array.shape[1];
    end = first + array.shape[1];
  }
  const auto smaller = [](double a, double b) { return std::abs(a) < std::abs(b); };
  const auto at = array.values.begin();
  *std::max_element(at + static_cast<std::ptrdiff_t>(first), at + static_cast<std::ptrdiff_t>(end),
                    smaller) *= 1 + change;
}

TYPED_TEST(GoldensTest, RefuseAnyCorruptedArray) {
  const bool in64 = sizeof(typename TypeParam::Real) == 8;
  const Golden golden = read_golden(tuned);
  size_t corrupted = 0;
  for (const Comparison& c : check_golden(*this->ops, golden).compared) {
    const bool listed_metric = c.name.rfind("metrics/", 0) == 0;
    const bool zero = !listed_metric && largest_magnitude(golden.at(c.name).values) == 0;
    if (zero || c.name == "final/scores") continue;
    Golden copy = golden;
    corrupt(copy, c.name, in64 ? 1e-6 : 1e-2);
    const GoldenReport report = check_golden(*this->ops, copy);
    for (const Comparison& now : report.compared)
      if (now.name == c.name) {
        EXPECT_FALSE(now.ok()) << c.name << ": " << now.agreement << ", bound " << now.bound;
        ++corrupted;
      }
    EXPECT_FALSE(report.ok()) << c.name;
  }
  EXPECT_GE(corrupted, 120u);
}

TYPED_TEST(GoldensTest, RefuseCorruptedScores) {
  Golden golden = read_golden(tuned);
  for (double& score : golden.arrays.at("final/scores").values) score *= 1 + 1e-4;
  EXPECT_FALSE(check_golden(*this->ops, golden).ok());
}

TEST(Goldens, Float64NeedsNoGradientsAndFloat32LeavesOutWhatFollowsThem) {
  Golden golden = read_golden(tuned);
  for (auto it = golden.arrays.begin(); it != golden.arrays.end();)
    it = it->first.find("/grad/") != std::string::npos ? golden.arrays.erase(it) : std::next(it);
  expect_agreement(check_golden(*make_cpu_ops<double>(1), golden), "tuned without gradients");
  const GoldenReport report = check_golden(*make_cpu_ops<float>(1), golden);
  EXPECT_TRUE(report.ok());
  EXPECT_FALSE(report.left_out.empty());
  for (const Comparison& c : report.compared)
    EXPECT_TRUE(c.name.rfind("step_0/", 0) == 0 || c.name.rfind("metrics/", 0) == 0) << c.name;
}

// ------------------------------------------------------------------------- what is no golden

/// A copy of a golden directory, changed; the message with which it is refused, "" when it is not.
template <class Change>
std::string refusal(const Change& change) {
  const ScratchFolder scratch;
  const fs::path copy = scratch / "golden";
  fs::copy(tuned, copy, fs::copy_options::recursive);
  change(copy);
  return error_of([&] { read_golden(copy); });
}

void edit_settings(const fs::path& folder, const std::string& from, const std::string& to) {
  std::string text = read_file(folder / "golden.json");
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_file(folder / "golden.json", text.replace(at, from.size(), to));
}

TEST(Goldens, RefuseWhatIsNoGoldenDirectory) {
  const auto expect = [](const std::string& words, const auto& change) {
    const std::string message = refusal(change);
    EXPECT_NE(message.find(words), std::string::npos) << message << " lacks: " << words;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  };
  EXPECT_EQ(refusal([](const fs::path&) {}), "");
  for (const char* file : {"train", "test", "init/user_embedding", "init/feature.text",
                           "step_0/users", "step_1/mask.item", "step_2/loss"})
    expect(std::string("lacks ") + file, [&](const fs::path& folder) {
      fs::remove(folder / (std::string(file) + ".npy"));
    });
  for (const char* file : {"step_0/H.npy", "init/image.weight.npy", "final/top_k.npy"})
    for (size_t cut : {1, 100})
      expect(file, [&](const fs::path& folder) {
        fs::resize_file(folder / file, fs::file_size(folder / file) - cut);
      });
  expect("has shape", [](const fs::path& folder) {
    fs::copy(folder / "step_0/items.npy", folder / "step_1/items.npy",
             fs::copy_options::overwrite_existing);
  });
  expect("has shape", [](const fs::path& folder) {
    fs::copy(folder / "step_0/mask.user.npy", folder / "step_0/mask.item.npy",
             fs::copy_options::overwrite_existing);
  });
  expect("there is no", [](const fs::path& folder) { fs::remove(folder / "golden.json"); });
  expect("JSON", [](const fs::path& folder) { edit_settings(folder, "{", "["); });
  const std::pair<const char*, const char*> edits[] = {
      {"bm3-golden-1", "bm3-golden-9"}, {"\"n_users\": 6", "\"n_users\": -6"},
      {"\"n_users\": 6", "\"n_users\": 4"},
      {"\"dropout\": 0.5", "\"dropout\": 1"}, {"\"dim\": 5", "\"dim\": \"five\""},
      {"\"squared\"", "\"cubed\""},     {"\"lr\"", "\"learning\""},
      {"recall@5", "recall@7"},         {"\"rec\"", "\"wreck\""}};
  for (const auto& [from, to] : edits)
    EXPECT_NE(refusal([&](const fs::path& folder) { edit_settings(folder, from, to); }), "")
        << from << " -> " << to;
}

TEST(Goldens, NamesFilesThatItDoesNotKnow) {
  const ScratchFolder scratch;
  fs::copy(tuned, scratch / "golden", fs::copy_options::recursive);
  fs::rename(scratch / "golden/step_0/H.npy", scratch / "golden/step_0/G.npy");
  EXPECT_EQ(read_golden(scratch / "golden").unknown, std::vector<std::string>{"step_0/G.npy"});
}

}  // namespace
}  // namespace bm3::test
