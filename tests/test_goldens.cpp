// Every file of ref/goldens on every backend, and the test of the test: what differs from the C++,
// or is no golden, is refused. `golden_check FILE` does the same for any file.
#include <nlohmann/json.hpp>
#include <optional>

#include "backends.h"
#include "golden.h"
#include "scratch.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path folder = fs::path(BM3_SOURCE) / "ref" / "goldens";
const fs::path tuned = folder / "bm3_tuned.safetensors";

std::vector<fs::path> files() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

void expect_agreement(const GoldenReport& report, const std::string& name) {
  size_t values = 0;
  for (const Comparison& c : report.compared) {
    EXPECT_TRUE(c.ok()) << name << ", " << c.name << ": " << c.agreement << ", bound " << c.bound;
    values += c.agreement.count;
  }
  EXPECT_TRUE(report.left_out.empty()) << name << ": " << report.left_out.front();
  EXPECT_GE(report.compared.size(), 50u) << name;
  EXPECT_GE(values, 100u) << name;
}

template <class Backend>
class GoldensTest : public OnBackend<Backend, 1> {};
TYPED_TEST_SUITE(GoldensTest, Backends, BackendName);

TYPED_TEST(GoldensTest, Agree) {
  std::map<std::string, size_t> of_model;
  for (const auto& file : files()) {
    const Golden golden = read_golden(file);
    EXPECT_TRUE(golden.unknown.empty()) << file << ": " << golden.unknown.front();
    expect_agreement(check_golden(*this->ops, golden), file.filename().string());
    ++of_model[golden.kind->name];
  }
  for (const ModelKind& kind : all_models()) EXPECT_GE(of_model[kind.name], 3u) << kind.name;
  EXPECT_GE(of_model["bm3"], 9u);
}

/// Whether a precision can tell any value of a golden from a slightly wrong one. With d = 1
/// gradients are rounding alone; the terms of GRCN's multiply from one iteration of its routing to
/// the next.
template <class T>
bool can_refuse(const Golden& golden) {
  const Settings& s = golden.settings;
  return s.whole("dim") > 1 && (sizeof(T) == 8 || !s.knows("routing") || s.whole("routing") < 2);
}

/// A copy in which an array is wrong, in a place that the C++ computes, if it can be.
std::optional<Golden> corrupted(const Golden& golden, const Result& result, double change) {
  const std::vector<double>& right = golden.find(result.name)->values;
  std::vector<double> wrong = right;
  if (result.name == "final/top_k") {
    const auto& scores = golden.find("final/scores")->values;
    const size_t cols = result.shape.back(), n_items = golden.n_items();
    const auto score = [&](size_t k) {
      return scores[k / cols * n_items + static_cast<size_t>(right[k])];
    };
    size_t k = 0;  // the first of two neighbours in a list that are not equally good
    while (k + 1 < right.size() && ((k + 1) % cols == 0 || right[k] < 0 || right[k + 1] < 0 ||
                                    score(k) == score(k + 1)))
      ++k;
    if (k + 1 < right.size())
      std::swap(wrong[k], wrong[k + 1]);
    else
      wrong[0] = -1;
  } else if (result.name.rfind("metrics/", 0) == 0) {
    wrong[0] += change * std::max(right[0], 1.0);
  } else {
    size_t largest = result.place(0);
    for (size_t k = 0; k < result.values.size(); ++k)
      if (std::abs(right[result.place(k)]) > std::abs(right[largest])) largest = result.place(k);
    wrong[largest] *= 1 + change;
    // Of a gradient that vanishes but for rounding, as where two biases cancel, nothing else can be
    // wrong.
    if (std::abs(right[largest]) < 1e-15) wrong[largest] += change;
  }
  if (wrong == right) return {};
  Golden copy = golden;
  copy.arrays.at(result.name).values = wrong;
  return copy;
}

TYPED_TEST(GoldensTest, RefuseAnyCorruptedValue) {
  const double change = sizeof(typename TypeParam::Real) == 8 ? 1e-9 : 1e-3;
  size_t copies = 0;
  for (const auto& file : files()) {
    const Golden golden = read_golden(file);
    if (!can_refuse<typename TypeParam::Real>(golden)) continue;
    const GoldenReport right = check_golden(*this->ops, golden);
    for (const Comparison& c : right.compared) {
      const auto copy = corrupted(golden, *find(right.results, c.name), change);
      if (!copy) continue;
      const GoldenReport report = check_golden(*this->ops, *copy);
      ASSERT_TRUE(report.first_wrong()) << file << ", " << c.name;
      EXPECT_EQ(report.first_wrong()->name, c.name) << file;
      ++copies;
    }
  }
  EXPECT_GE(copies, 1000u);
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

/// What the C++ itself cannot compute agrees with nothing, however wide the bound.
TEST(Goldens, InfiniteErrorsAreNeverInBounds) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE((Agreement{1, infinity}.within(infinity)));
  EXPECT_FALSE((Agreement{1, std::nan("")}.within(infinity)));
  EXPECT_TRUE((Agreement{1, 0.5}.within(1)));
}

std::string with_length(const std::string& header) {
  std::string out;
  for (size_t k = 0; k < 8; ++k) out += static_cast<char>(header.size() >> 8 * k & 0xFF);
  return out + header;
}

/// An entry of a header.
std::string array(const std::string& name, const char* dtype, const char* shape,
                  const char* offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}
const std::string whole = array("a", "F64", "[2]", "[0,16]");

/// Headers in front of 16 bytes of data, and what is said of them.
const char *const no_setting = "the setting format is missing: expected bm3-golden-2",
                  *const damaged = "its header is damaged: [json.exception.";
const std::string from_0 = " of the data: expected 0, where the previous array ends, to at most 16";
const std::pair<std::string, std::string> headers[] = {
    {whole, no_setting},
    {whole + "," + array("b", "I32", "[0,3]", "[0,0]"), no_setting},
    {"1", "its header is not a JSON object: expected one"},
    {"\"a\":{\"dtype\":\"F64\",\"shape\":[2]}", damaged},
    {"\"a\":[]", damaged},
    {array("a", "F64", "{\"b\":2}", "[0,16]"), damaged},
    {array("a", "F64", "[\"2\"]", "[0,16]"), damaged},
    {array("a", "F16", "[8]", "[0,16]"),
     "a has dtype \"F16\": expected F64, F32, I64, I32, U8 or BOOL"},
    {array("a", "F64", "[3]", "[0,16]"), "a has 16 bytes: expected [3] of F64"},
    {array("a", "F64", "[4294967296,4294967296,2]", "[0,16]"),
     "a has 16 bytes: expected [4294967296, 4294967296, 2] of F64"},
    {array("a", "F64", "[-2]", "[0,16]"), "a has 16 bytes: expected [1844674407370955161"},
    {array("a", "F64", "[2]", "[16,0]"), "a has bytes 16 to 0" + from_0},
    {array("a", "F64", "[2]", "[0,-16]"), "a has bytes 0 to 18446744073709551600" + from_0},
    {array("a", "F64", "[3]", "[0,24]"), "a has bytes 0 to 24" + from_0},
    {array("a", "F32", "[2]", "[8,16]"), "a has bytes 8 to 16" + from_0},
    {whole + "," + array("b", "F32", "[2]", "[8,16]"), "b has bytes 8 to 16 of the data: expected "
                                                       "16, where the previous array ends, to at"},
    {array("a", "F64", "[1]", "[0,8]"), "16 bytes of data: expected 8, where its arrays end"},
    {"\"__metadata__\":{\"format\":2}," + whole, damaged},
    {"\"__metadata__\":3," + whole, no_setting}};

/// What is said of a file with these bytes, behind its name; "" where it is a golden.
std::string refusal(const std::string& bytes) {
  const ScratchFolder scratch;
  const std::string file = write_file(scratch / "F", bytes).string();
  const std::string message = error_of([&] { read_golden(file); });
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  if (message.empty()) return "";
  EXPECT_EQ(message.substr(0, file.size() + 2), file + ": ");
  return message.substr(std::min(message.size(), file.size() + 2));
}

TEST(Goldens, RefuseWhatIsNoSafetensorsFile) {
  EXPECT_ERROR(read_golden("F"), "cannot read F: expected a .safetensors file");
  for (const std::string& bytes : {std::string("abc"), with_length("{}").substr(0, 9)})
    EXPECT_EQ(refusal(bytes),
              std::to_string(bytes.size()) +
                  " bytes are fewer than its header: expected a whole .safetensors file");
  for (const auto& [header, words] : headers) {
    const std::string message = refusal(with_length("{" + header + "}") + std::string(16, '\0'));
    EXPECT_EQ(message.substr(0, words.size()), words) << header;
  }
  EXPECT_EQ(refusal(with_length("{" + whole + "}") + std::string(16, '\xFF')),
            "a: value 0 is not finite: expected numbers");
}

/// The same of a copy of the tuned golden whose header is changed.
template <class Change>
std::string refusal_of(const Change& change) {
  const std::string bytes = read_file(tuned);
  const auto byte = [&](size_t k) { return size_t{static_cast<uint8_t>(bytes[k])}; };
  const size_t length = byte(0) | byte(1) << 8;  // of the header
  json header = json::parse(bytes.substr(8, length));
  change(header);
  return refusal(with_length(header.dump()) + bytes.substr(8 + length));
}

/// Settings of another value, or without one, and how the refusal begins.
const char* const settings[][3] = {
    {"format", "bm3-golden-1", "expected the format bm3-golden-2, not 'bm3-golden-1'"},
    {"format", nullptr, "the setting format is missing: expected "},
    {"model", "nobody", "--model is 'nobody': expected bm3 or bpr or lightgcn"},
    {"model", "bpr", "the setting pair-form is missing: expected -ln(1e-10 + sigma(x)) or -ln "
                     "sigma(x) for a triple"},
    {"model", nullptr, "the setting model is missing: expected "},
    {"dim", "five", "dim is 'five': expected a whole number from 1 to 1024"},
    {"n_users", "-6", "n_users is '-6': expected a whole number from 1 to 2147483647"},
    {"n_users", "2147483647", "the golden has 2147483647 users and 18 items: expected "},
    {"n_users", "2147483000", "expected arrays for all users and items"},
    {"n_users", "3", "train: value 12 is 4: expected a whole number from 0 to 2"},
    {"n_items", "1000000", "expected arrays for all users and items"},
    {"n_steps", nullptr, "the setting n_steps is missing: expected "},
    {"layers", nullptr, "the setting layers is missing: expected "},
    {"losses", "wreck", "losses is 'wreck': expected rec or align or mask"},
    {"beta2", "1", "beta2 is '1': expected a number from 0 to below 1"},
    {"degree_epsilon", "-5", "degree_epsilon is '-5': expected a number from 0"},
    {"modalities", "image,image", "expected distinct modalities, none \"user\" or \"item\""},
    {"modalities", "image,user", "expected distinct modalities, none \"user\" or \"item\""},
    {"modalities", nullptr, "the setting modalities is missing: expected "},
    {"metrics", "[", "expected \"metrics\" as JSON"},
    {"metrics", "{\"train\": {\"map@5\": 1}}", "expected \"metrics\" as JSON"},
    {"metrics", "{\"test\": {\"map@7\": 1}}", "expected \"metrics\" as JSON"},
    {"metrics", "{\"test\": {\"map@5\": \"1\"}}", "expected \"metrics\" as JSON"}};

TEST(Goldens, RefuseWrongSettings) {
  EXPECT_EQ(refusal_of([](json&) {}), "");
  EXPECT_EQ(refusal_of([](json& header) { header["__metadata__"].erase("metrics"); }), "");
  for (const auto& [name, value, words] : settings) {
    const std::string message = refusal_of([&, n = name, v = value](json& header) {
      header["__metadata__"].erase(n);
      if (v) header["__metadata__"][n] = v;
    });
    EXPECT_EQ(message.substr(0, std::strlen(words)), words) << name;
  }
}

TEST(Goldens, RefuseWhatLacksAnArray) {
  const char* const arrays[][2] = {
      {"train", "[*, 2]"}, {"test", "[*, 2]"}, {"init/user_embedding", "[6, 5]"},
      {"init/feature.text", "[18, *]"}, {"step_0/users", "[*]"}, {"step_1/mask.item", "[18, 5]"},
      {"step_2/loss.reg", "[1]"}, {"step_2/loss.total", "[1]"}};
  const auto without = [](json& header, const std::string& name) {
    header[name + " "] = header[name];
    header.erase(name);
  };
  for (const auto& [name, shape] : arrays)
    EXPECT_EQ(refusal_of([&, n = name](json& header) { without(header, n); }),
              std::string("the array ") + name + " is missing: expected shape " + shape);
  EXPECT_EQ(refusal_of([&](json& header) {
              without(header, "step_1/grad/text.bias");
              without(header, "step_1/after/text.bias");
            }),
            "expected step_1/grad/text.bias or step_1/after/text.bias");
  const auto exchange = [](const char* a, const char* b) {
    return refusal_of([&](json& header) { std::swap(header[a], header[b]); });
  };
  EXPECT_EQ(exchange("step_0/mask.user", "step_0/mask.item"),
            "step_0/mask.user has shape [18, 5]: expected [6, 5]");
  EXPECT_EQ(exchange("step_0/H", "final/scores"),
            "step_0/H has shape [6, 18]: expected [24, 5]");
}

TEST(Goldens, NamesArraysThatItDoesNotKnow) {
  const ScratchFolder scratch;
  std::string bytes = read_file(tuned);
  bytes.replace(bytes.find("step_0/H\""), 9, "step_0/G\"");
  write_file(scratch / "F", bytes);
  EXPECT_EQ(read_golden(scratch / "F").unknown, std::vector<std::string>{"step_0/G"});
}

}  // namespace
}  // namespace bm3::test
