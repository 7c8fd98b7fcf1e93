// Every directory of ref/goldens on every backend, and the test of the test: what differs from the
// C++, or is no golden directory, is refused. `golden_check DIR` does the same for any directory.
#include <set>

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
class GoldensTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(GoldensTest, Backends, BackendName);

TYPED_TEST(GoldensTest, Agree) {
  const auto all = directories();
  EXPECT_GE(all.size(), 9u);
  for (const auto& directory : all) {
    const Golden golden = read_golden(directory);
    EXPECT_TRUE(golden.unknown.empty()) << directory << ": " << golden.unknown.front();
    expect_agreement(check_golden(*this->ops, golden), directory.filename().string());
  }
}

/// Places of an array's values, those in rows that the step's batch touches left out where asked.
std::vector<size_t> places(const Golden& golden, const std::string& name, bool outside_the_batch) {
  const GoldenArray& array = golden.at(name);
  std::set<size_t> touched;
  if (outside_the_batch) {
    const bool user = name.find(".user") != std::string::npos;
    for (const auto& pair : golden.batch(static_cast<size_t>(name[5] - '0')))
      touched.insert(static_cast<size_t>(user ? pair.user : pair.item));
  }
  std::vector<size_t> out;
  for (size_t k = 0; k < array.values.size(); ++k)
    if (!touched.count(k / (array.values.size() / array.shape[0]))) out.push_back(k);
  return out;
}

/// Adds `change` times the array's largest magnitude to the largest value of these places; false
/// where there is none that is not zero.
bool corrupt(GoldenArray& array, const std::vector<size_t>& places, double change) {
  const auto smaller = [&](size_t a, size_t b) {
    return std::abs(array.values[a]) < std::abs(array.values[b]);
  };
  const auto largest = std::max_element(places.begin(), places.end(), smaller);
  if (largest == places.end() || array.values[*largest] == 0) return false;
  array.values[*largest] += change * largest_magnitude(array.values);
  return true;
}

/// Whether the C++ has the array's rows from a batch that does not touch all of them.
bool is_of_rows(const std::string& name) {
  for (const char* part : {"/view.", "/projection.", "/predicted.", "/after/feature."})
    if (name.rfind("step_", 0) == 0 && name.find(part) != std::string::npos) return true;
  return false;
}

/// Copies with one value of this array or metric changed: its largest, and the largest in a row
/// outside the batch, where the model itself does not compute it.
std::vector<Golden> corrupted(const Golden& golden, const std::string& name, double change) {
  std::vector<Golden> out;
  if (name == "final/top_k") {
    auto& lists = out.emplace_back(golden).arrays.at(name).values;
    std::swap(lists[0], lists[1]);
  } else if (!golden.find(name)) {
    double& metric = out.emplace_back(golden).metrics.at(name.substr(name.find('/') + 1));
    metric += change * std::max(metric, 1.0);
  } else {
    for (bool outside_the_batch : {false, true}) {
      if (outside_the_batch && !is_of_rows(name)) continue;
      GoldenArray array = golden.at(name);
      if (!corrupt(array, places(golden, name, outside_the_batch), change)) continue;
      out.emplace_back(golden).arrays.at(name) = std::move(array);
    }
  }
  return out;
}

TYPED_TEST(GoldensTest, RefuseAnyCorruptedValue) {
  const double change = sizeof(typename TypeParam::Real) == 8 ? 1e-9 : 1e-2;
  size_t arrays = 0, outside = 0;
  for (const auto& directory : directories()) {
    if (directory.filename() == "one_dimension") continue;  // its gradients are rounding alone
    const Golden golden = read_golden(directory);
    for (const Comparison& c : check_golden(*this->ops, golden).compared) {
      const auto copies = corrupted(golden, c.name, change);
      arrays += !copies.empty();
      outside += copies.size() == 2;
      for (const Golden& copy : copies) {
        const GoldenReport report = check_golden(*this->ops, copy);
        EXPECT_FALSE(report.ok()) << directory << ", " << c.name;
        for (const Comparison& now : report.compared)
          if (now.name == c.name) {
            EXPECT_FALSE(now.ok()) << directory << ", " << c.name << ": " << now.agreement
                                   << ", bound " << now.bound;
          }
      }
    }
  }
  EXPECT_GE(arrays, 700u);
  EXPECT_GE(outside, 80u);
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
  for (const auto& [from, to, words] : std::initializer_list<std::array<const char*, 3>>{
           {"{", "[", "golden.json is not a JSON object: expected one as in ref/README.md"},
           {"\"dim\": 5", "\"dim\": \"five\"", "\"dim\" is \"five\": expected a number"},
           {"\"n_users\": 6", "\"n_users\": 3000000000",
            "\"n_users\" is 3000000000: expected a whole number from 1 to 2147483647"},
           {"\"losses\": [", "\"losses\": [1, ", "expected a list of texts"},
           {"\"lr\"", "\"learning\"", "golden.json lacks \"lr\": expected a number"}})
    expect(words, [&](const fs::path& folder) { edit_settings(folder, from, to); });
  const std::pair<const char*, const char*> edits[] = {
      {"bm3-golden-1", "bm3-golden-9"}, {"\"n_users\": 6", "\"n_users\": -6"},
      {"\"n_users\": 6", "\"n_users\": 4"},
      {"\"dropout\": 0.5", "\"dropout\": 1"}, {"\"squared\"", "\"cubed\""},
      {"recall@5", "recall@7"},             {"\"rec\"", "\"wreck\""},
      {"\"beta2\": 0.999", "\"beta2\": 1"}, {"\"degree_epsilon\": 0", "\"degree_epsilon\": -5"}};
  for (const auto& [from, to] : edits)
    EXPECT_NE(refusal([&](const fs::path& folder) { edit_settings(folder, from, to); }), "")
        << from << " -> " << to;
}

/// What the C++ itself cannot compute agrees with nothing, however wide the bound.
TEST(Goldens, InfiniteErrorsAreNeverInBounds) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE((Agreement{1, infinity}.within(infinity)));
  EXPECT_FALSE((Agreement{1, std::nan("")}.within(infinity)));
  EXPECT_TRUE((Agreement{1, 0.5}.within(1)));
}

TEST(Goldens, NamesFilesThatItDoesNotKnow) {
  const ScratchFolder scratch;
  fs::copy(tuned, scratch / "golden", fs::copy_options::recursive);
  fs::rename(scratch / "golden/step_0/H.npy", scratch / "golden/step_0/G.npy");
  EXPECT_EQ(read_golden(scratch / "golden").unknown, std::vector<std::string>{"step_0/G.npy"});
}

}  // namespace
}  // namespace bm3::test
