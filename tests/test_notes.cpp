// The tables of paper_notes.md and of src/ops/README.md name files, functions, tests and options:
// all of them exist.
#include <map>
#include <regex>
#include <set>

#include "scratch.h"
#include "text.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Files = std::map<fs::path, std::string>;

const fs::path source = BM3_SOURCE;

/// The first group of each match of `pattern`.
Words matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  Words out;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match)
    out.push_back((*match)[1]);
  return out;
}

/// The text of every file with code in `folder` and below.
Files code_below(const std::string& folder) {
  Files out;
  for (const auto& entry : fs::recursive_directory_iterator(source / folder))
    if (std::set<std::string>{".h", ".cpp", ".cu", ".py"}.count(entry.path().extension().string()))
      out[entry.path()] = read_file(entry.path());
  return out;
}

/// The words of a file's code; what stands in `//` comments alone does not count.
const std::set<std::string>& words_of_code(const fs::path& file) {
  static std::map<fs::path, std::set<std::string>> known;
  std::set<std::string>& words = known[file];
  if (words.empty())
    for (const auto& line : split(read_file(file), '\n'))
      for (const auto& word : matches(line.substr(0, line.find("//")), R"((\w+))"))
        words.insert(word);
  return words;
}

bool stands_in(const Files& files, const std::string& text) {
  return std::any_of(files.begin(), files.end(), [&](const auto& file) {
    return file.second.find(text) != std::string::npos;
  });
}

bool is_test(const std::string& name) {
  static const Files tests = code_below("tests");
  return stands_in(tests, "(" + std::regex_replace(name, std::regex("[.]"), ", ") + ") {");
}

bool is_option(const std::string& name) {  // by its own name, or by that of a setting
  static const Files program = code_below("src");
  return stands_in(program, "\"" + name + "\"") ||
         stands_in(program, "{\"" + name.substr(2) + "\", ");
}

/// What a row names in backticks and what of it does not exist; an identifier is a word in the code
/// of one of the row's files.
struct Row {
  std::vector<fs::path> files;
  Words identifiers, tests, wrong;

  explicit Row(const std::string& line) {
    static const std::regex path(R"([\w.]+(/[\w.]+)+/?|\w+\.(h|cpp|cu|py|md))"),
        test(R"([A-Z]\w*\.[A-Z]\w*)"), identifier(R"(\w+(::\w+)*)");
    for (const auto& name : matches(line, "`([^`]+)`")) {
      if (std::regex_match(name, path)) {
        if (!fs::exists(source / name)) wrong.push_back("no file " + name);
        if (fs::is_regular_file(source / name)) files.push_back(source / name);
      } else if (std::regex_match(name, test)) {
        tests.push_back(name);
        if (!is_test(name)) wrong.push_back("no test " + name);
      } else if (name.rfind("--", 0) == 0) {
        const std::string option = name.substr(0, name.find(' '));
        if (!is_option(option)) wrong.push_back("no option " + option);
      } else if (std::regex_match(name, identifier)) {
        for (const auto& word : matches(name, R"((\w+))")) identifiers.push_back(word);
      } else {
        wrong.push_back("neither file, test, option nor identifier: " + name);
      }
    }
    for (const auto& word : identifiers)
      if (std::none_of(files.begin(), files.end(),
                       [&](const fs::path& file) { return words_of_code(file).count(word) > 0; }))
        wrong.push_back("no " + word + " in the files of its row");
  }
};

/// What is wrong in the tables of a text, and which equations its table of equations has.
struct Tables {
  Words wrong;
  std::set<int> equations;

  explicit Tables(const std::string& text) {
    bool in_equations = false;
    for (const auto& line : split(text, '\n')) {
      in_equations = line.rfind("| equation |", 0) == 0 || (in_equations && line[0] == '|');
      if (line.rfind("| ", 0) != 0) continue;
      const Row row(line);
      wrong.insert(wrong.end(), row.wrong.begin(), row.wrong.end());
      if (!in_equations || line.rfind("| equation |", 0) == 0) continue;
      if (row.files.empty() || row.identifiers.empty() || row.tests.empty())
        wrong.push_back("no file, identifier or test in the row " + split(line, '|')[1]);
      for (const auto& numbers : matches(line, R"(^\| (\d+(?:, \d+)*) \|)"))
        for (const auto& n : matches(numbers, R"((\d+))")) equations.insert(std::stoi(n));
    }
  }
};

std::string notes() { return read_file(source / "paper_notes.md"); }

TEST(Notes, TablesNameWhatExists) {
  for (const auto* file : {"paper_notes.md", "src/ops/README.md"})
    for (const auto& wrong : Tables(read_file(source / file)).wrong)
      ADD_FAILURE() << file << ": " << wrong;
}

/// The equations of BM3's paper have rows, and a tag in the code names equations that have.
TEST(Notes, TagsNameEquationsOfTheTable) {
  const std::set<int> known = Tables(notes()).equations;
  for (int n = 1; n <= 13; ++n) EXPECT_TRUE(known.count(n)) << "Eq. " << n << " has no row";
  const std::regex numbers(R"(\d+(-\d+)?(, \d+(-\d+)?)*)");
  size_t tags = 0;
  for (const auto* folder : {"src", "tests", "ref"})
    for (const auto& [file, text] : code_below(folder))
      for (const auto& tag : matches(text, R"(\[Eq\. ([^\]]*)\])")) {
        EXPECT_TRUE(std::regex_match(tag, numbers)) << file << ": a tag with " << tag;
        for (const auto& n : matches(tag, R"((\d{1,9}))"))
          EXPECT_TRUE(known.count(std::stoi(n))) << file << ": a tag with " << tag;
        ++tags;
      }
  EXPECT_GE(tags, 90u);
}

/// The test of the test: one wrong name in a copy is one more thing that is wrong.
TEST(Notes, WrongNamesAreNoticed) {
  const std::string ops = read_file(source / "src/ops/README.md");
  const Words cases[] = {
      {notes(), "`src/random.h`", "`src/rendom.h`", "no file src/rendom.h"},
      {ops, "`src/ops/cuda/view.cu`", "`src/ops/cuda/views.cu`", "no file src/ops/cuda/views.cu"},
      {ops, "`adam_replay`", "`adam_relay`", "no adam_relay in the files of its row"},
      {notes(), "`Philox.KnownAnswers`", "`Philox.KnownSums`", "no test Philox.KnownSums"},
      {notes(), "| BPR |", "| X | | `src/train.cpp` `train` | |\n| BPR |",
       "no file, identifier or test in the row  X "},
      {notes(), "`drop_threshold`", "`drop_limit`", "no drop_limit in the files of its row"},
      {notes(), "`cosine_floor`", "`released`", "no released in the files of its row"},
      {notes(), "`philox`, `mask", "`philox`, `Nobody::mask", "no Nobody in the files of its row"},
      {notes(), "| BPR |", "| BPR `--mm-weights` |", "no option --mm-weights"},
      {notes(), "| BPR |", "| BPR `--mm` |", "no option --mm"},
      {notes(), "| BPR |", "| BPR `make it so` |",
       "neither file, test, option nor identifier: make it so"}};
  for (const auto& c : cases) {
    const size_t at = c[0].find(c[1]);
    ASSERT_NE(at, std::string::npos) << c[1];
    const Words wrong = Tables(std::string(c[0]).replace(at, c[1].size(), c[2])).wrong;
    EXPECT_EQ(std::count(wrong.begin(), wrong.end(), c[3]), 1) << c[3];
  }
}

}  // namespace
}  // namespace bm3::test
