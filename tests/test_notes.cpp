// The tables of paper_notes.md and src/ops/README.md name files, functions, tests and options: all
// of them exist.
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "scratch.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;

const fs::path source = BM3_SOURCE;
const std::set<int> equations_of_the_paper = {1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The first group of each match of `pattern`.
std::vector<std::string> matches(const std::string& text, const std::regex& pattern) {
  std::vector<std::string> out;
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match)
    out.push_back((*match)[1]);
  return out;
}

/// The files of `folder` and below that hold code.
std::vector<fs::path> code_files(const std::string& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(source / folder))
    if (std::set<std::string>{".h", ".cpp", ".cu", ".py"}.count(entry.path().extension().string()))
      out.push_back(entry.path());
  return out;
}

/// "Suite.Name" of every test.
std::set<std::string> all_tests() {
  const std::regex test(R"(^(?:TYPED_)?TEST(?:_F|_P)?\((\w+), *(\w+)\))");
  std::set<std::string> tests;
  for (const auto& file : code_files("tests"))
    for (const auto& line : lines_of(read_file(file))) {
      std::smatch match;
      if (std::regex_search(line, match, test))
        tests.insert(match[1].str() + "." + match[2].str());
    }
  return tests;
}

/// The words of a file's code; what stands in `//` comments alone does not count.
std::set<std::string> words_of_code(const fs::path& file) {
  static const std::regex word(R"((\w+))");
  std::set<std::string> words;
  for (const auto& line : lines_of(read_file(file)))
    for (const auto& found : matches(line.substr(0, line.find("//")), word)) words.insert(found);
  return words;
}

/// What the tables of a text name, and what of it is wrong.
struct Report {
  std::set<std::string> files, tests, options, identifiers;
  std::set<int> equations;
  std::vector<std::string> wrong;
};

class Checker {
 public:
  Report check(const std::string& text) {
    report_ = {};
    bool in_equations = false;
    for (const auto& line : lines_of(text)) {
      const bool row = line.rfind("| ", 0) == 0, rule = line.rfind("|--", 0) == 0;
      if (row) check_row(line, in_equations);
      in_equations = (in_equations && (row || rule)) || line.rfind("| equation |", 0) == 0;
    }
    for (int n : equations_of_the_paper)
      if (!report_.equations.count(n)) wrong("Eq. " + std::to_string(n) + " has no row");
    return report_;
  }

 private:
  void wrong(const std::string& what) { report_.wrong.push_back(what); }

  void check_row(const std::string& row, bool in_equations) {
    static const std::regex token("`([^`]+)`"), path(R"([\w.]+(/[\w.]+)+/?|\w+\.(h|cpp|cu|py|md))");
    static const std::regex test(R"([A-Z]\w*\.[A-Z]\w*)"), identifier(R"(\w+(::\w+)*)");
    std::set<std::string> identifiers;
    std::vector<fs::path> files;
    size_t tests = 0;
    for (const auto& name : matches(row, token)) {
      if (std::regex_match(name, path)) {
        report_.files.insert(name);
        if (!fs::exists(source / name)) wrong("no file " + name);
        if (fs::is_regular_file(source / name)) files.push_back(source / name);
      } else if (std::regex_match(name, test)) {
        report_.tests.insert(name);
        ++tests;
        if (!tests_.count(name)) wrong("no test " + name);
      } else if (name.rfind("--", 0) == 0) {
        check_option(name.substr(0, name.find(' ')));
      } else if (std::regex_match(name, identifier)) {
        identifiers.insert(name);
      } else {
        wrong("neither file, test, option nor identifier: " + name);
      }
    }
    check_identifiers(identifiers, files);
    if (!in_equations) return;
    if (files.empty() || identifiers.empty() || tests == 0)
      wrong("no file, identifier or test in the row " + row);
    static const std::regex numbers(R"(^\| (\d+(?:, \d+)*) \|)"), number(R"((\d+))");
    for (const auto& cell : matches(row, numbers))
      for (const auto& n : matches(cell, number)) report_.equations.insert(std::stoi(n));
  }

  void check_option(const std::string& name) {
    report_.options.insert(name);
    if (!std::regex_search(options_, std::regex("\"(--)?" + name.substr(2) + "\"")))
      wrong("no option " + name);
  }

  /// Each stands as a word in one of the files that the row names.
  void check_identifiers(const std::set<std::string>& identifiers,
                         const std::vector<fs::path>& files) {
    static const std::regex word(R"((\w+))");
    for (const auto& name : identifiers) {
      report_.identifiers.insert(name);
      for (const auto& part : matches(name, word)) {
        const bool found = std::any_of(files.begin(), files.end(), [&](const fs::path& file) {
          auto& words = words_[file];
          if (words.empty()) words = words_of_code(file);
          return words.count(part) > 0;
        });
        if (!found) wrong("no " + part + " in the files of its row");
      }
    }
  }

  Report report_;
  const std::set<std::string> tests_ = all_tests();
  const std::string options_ = [] {
    std::string text;
    for (const char* file : {"options.cpp", "train.cpp", "models/bm3.cpp", "models/model.cpp"})
      text += read_file(source / "src" / file);
    return text;
  }();
  std::map<fs::path, std::set<std::string>> words_;
};

/// The equations that a tag's inside names: "9", "10, 11", "8-12"; empty when it names none.
std::set<int> equations_of_tag(const std::string& inside) {
  static const std::regex one(R"( *(\d+)(?:-(\d+))? *)");
  std::set<int> out;
  std::istringstream parts(inside);
  for (std::string part; std::getline(parts, part, ',');) {
    std::smatch match;
    if (!std::regex_match(part, match, one)) return {};
    const int first = std::stoi(match[1]), last = match[2].matched ? std::stoi(match[2]) : first;
    if (last < first || last > 99) return {};
    for (int n = first; n <= last; ++n) out.insert(n);
  }
  return out;
}

std::string notes() {
  return read_file(source / "paper_notes.md") + read_file(source / "src/ops/README.md");
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to) {
  EXPECT_TRUE(std::regex_search(text, std::regex(from))) << from;
  return std::regex_replace(text, std::regex(from), to);
}

TEST(Notes, TablesNameWhatExists) {
  const Report report = Checker().check(notes());
  for (const auto& wrong : report.wrong) ADD_FAILURE() << wrong;
  EXPECT_GE(report.files.size(), 25u);
  EXPECT_GE(report.tests.size(), 40u);
  EXPECT_GE(report.options.size(), 4u);
  EXPECT_GE(report.identifiers.size(), 50u);
}

/// A tag in the code names equations that the table has.
TEST(Notes, TagsNameEquationsOfTheTable) {
  const std::set<int> known = Checker().check(notes()).equations;
  const std::regex tag(R"(\[Eq\. ([^\]]*)\])");
  size_t tags = 0;
  for (const auto* folder : {"src", "tests", "ref"})
    for (const auto& file : code_files(folder))
      for (const auto& inside : matches(read_file(file), tag)) {
        const std::set<int> equations = equations_of_tag(inside);
        EXPECT_FALSE(equations.empty()) << file << ": a tag with " << inside;
        for (int n : equations) EXPECT_TRUE(known.count(n)) << file << ": a tag with " << inside;
        ++tags;
      }
  EXPECT_GE(tags, 100u);
}

/// The test of the test: one wrong name in a copy is one thing that is wrong.
TEST(Notes, WrongNamesAreNoticed) {
  Checker checker;
  const auto wrong = [&](const std::string& from, const std::string& to) {
    const auto all = checker.check(replaced(notes(), from, to)).wrong;
    return all.empty() ? "nothing" : all.size() > 1 ? all[0] + "; " + all[1] : all[0];
  };
  EXPECT_EQ(wrong("`src/ops/cuda/view.cu`", "`src/ops/cuda/views.cu`"),
            "no file src/ops/cuda/views.cu");
  EXPECT_EQ(wrong("`Bm3Test.StoppedGradientsAreExactlyZero`", "`Bm3Test.StoppedGradients`"),
            "no test Bm3Test.StoppedGradients");
  EXPECT_EQ(wrong("`adam_update`", "`adam_date`"), "no adam_date in the files of its row");
  EXPECT_EQ(wrong("`drop_threshold`", "`drop_limit`"), "no drop_limit in the files of its row");
  EXPECT_EQ(wrong("`philox`, `mask_block`", "`philox`, `Other::mask_block`"),
            "no Other in the files of its row");
  EXPECT_EQ(wrong("`cosine_floor`", "`released`"), "no released in the files of its row");
  EXPECT_EQ(wrong("`--mm-weight`", "`--mm-weights`"), "no option --mm-weights");
  EXPECT_EQ(wrong("`--mm-weight`", "`--mm`"), "no option --mm");
  EXPECT_EQ(wrong("`--layers`", "`make it so`"),
            "neither file, test, option nor identifier: make it so");
  EXPECT_EQ(wrong("\n[|] 11 [|][^\n]*", ""), "Eq. 11 has no row");
  EXPECT_EQ(wrong("\n[|] 7, 9 [|]", "\n| 7 |"), "Eq. 9 has no row");
  EXPECT_EQ(wrong("`ModelTest.InitialValuesFollowTheirLaws`", "none"),
            "no file, identifier or test in the row | initial values | Xavier | "
            "`src/layers/parameters.h` `initialise`, `xavier_uniform`, `xavier_normal` | none |");
}

TEST(Notes, TagsAreRead) {
  EXPECT_EQ(equations_of_tag("9"), (std::set<int>{9}));
  EXPECT_EQ(equations_of_tag("1, 6"), (std::set<int>{1, 6}));
  EXPECT_EQ(equations_of_tag("8-11"), (std::set<int>{8, 9, 10, 11}));
  for (const auto* broken : {"", "N", "9, ", "12-8", "8..9", "1-100"})
    EXPECT_TRUE(equations_of_tag(broken).empty()) << broken;
}

}  // namespace
}  // namespace bm3::test
