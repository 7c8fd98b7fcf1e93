#include "command_words.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "error.h"
#include "text.h"

namespace bm3 {
namespace {

/// Where to look, which follows what is wrong with the words of `bm3` or of its command.
std::string see_help(const CLI::App& app) {
  const auto given = app.get_subcommands();
  const auto& model = app.get_option("--model")->results();  // its settings are options, too
  const std::string what = !given.empty() ? given[0]->get_name() + " "
                           : model.empty() ? "" : "--model " + one_line(model[0]) + " ";
  return " (bm3 " + what + "--help lists what there is)";
}

/// Returns ": did you mean X?" where one of the known words is like `word`, else `otherwise`.
std::string meant(const std::string& word, const std::vector<std::string>& known,
                  const std::string& otherwise) {
  const std::string best = most_like(word, known);
  return best.empty() ? otherwise : ": did you mean " + best + "?";
}

/// What is wrong with those of all words that no option or argument took.
std::string unexpected(const CLI::App& app, const std::vector<std::string>& all) {
  const auto words = app.remaining(true);
  const auto given = app.get_subcommands();
  std::vector<std::string> commands, options;
  for (const auto* command : app.get_subcommands({})) commands.push_back(command->get_name());
  for (const auto* option : (given.empty() ? app : *given[0]).get_options())
    for (const auto& name : option->get_lnames()) options.push_back("--" + name);
  for (const auto& word : words)
    if (word.size() > 1 && word[0] == '-')
      return concat("there is no option ", in_quotes(word),
                    meant(word.substr(0, word.find('=')), options, see_help(app)));
  const auto& names = app.get_option("NAME")->results();
  if (!given.empty() || names.empty())
    return concat("the argument ", in_quotes(words[0]), " was not expected", see_help(app));
  const auto at = std::find(all.begin(), all.end(), words[0]);
  if (at == all.begin() || at[-1] != names[0])
    return concat("the argument ", in_quotes(words[0]), " was not expected: a run takes one value "
                  "of an option, `bm3 sweep` several");
  const std::string expected = concat(": expected one of ", join(commands, ", "),
                                      ", or one data set, as in `bm3 ", one_line(words[0]), "`");
  return concat("there is no command ", in_quotes(names[0]), meant(names[0], commands, expected));
}

/// The words that name the data set which is in this folder.
std::string words_for(const std::filesystem::path& folder) {
  return concat(folder.filename(), " --data ",
                folder.has_parent_path() ? folder.parent_path() : ".");
}

/// Returns how many letters must be added, removed or changed to make `b` of `a` (Levenshtein).
size_t count_edits(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (const char c : a) {
    size_t diagonal = row[0]++;
    for (size_t k = 0; k < b.size(); ++k) {
      const size_t changed = diagonal + (c != b[k]);
      diagonal = std::exchange(row[k + 1], std::min({row[k] + 1, row[k + 1] + 1, changed}));
    }
  }
  return row.back();
}

}  // namespace

void check_name(const std::string& text) {
  for (const char* command : {"sweep", "synth", "import", "recommend", "eval"})
    if (text == command)
      throw Error("the data set's name is '", text, "', a command of bm3: expected another");
  const auto impossible = [](const std::string& name) {
    return name.empty() || name[0] == '.' || name.find('/') != std::string::npos ||
           std::any_of(name.begin(), name.end(), is_control);
  };
  if (!impossible(text)) return;
  std::filesystem::path folder = one_line(text);
  if (!folder.has_filename() || folder.extension() == ".inter") folder = folder.parent_path();
  throw Error("the data set's name is ", in_quotes(text),
              ": expected the name of a folder in the data folder",
              impossible(folder.filename()) || !folder.has_parent_path()
                  ? " (--data)" : ", as in `" + words_for(folder) + "`");
}

std::string most_like(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t fewest = word.size();
  for (const auto& other : known) {
    const size_t edits = count_edits(word, other);
    if (edits >= fewest || 3 * edits > std::max(word.size(), other.size())) continue;
    fewest = edits;
    best = other;
  }
  return best;
}

std::string example_of(const std::filesystem::path& data) {
  const std::filesystem::path folder = (data / "").parent_path();
  return std::filesystem::exists((folder / folder.filename()) += ".inter") ? words_for(folder)
                                                                           : "baby";
}

std::string parse_words(CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 takes them
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion& e) {
    return e.what() + std::string("\n");
  } catch (const CLI::ExtrasError&) {
    throw Error(unexpected(app, words));
  } catch (const CLI::ArgumentMismatch& e) {
    throw Error(split(e.what(), ':')[0], " stands without a value, or twice: expected one value",
                see_help(app));
  } catch (const CLI::ParseError& e) {
    throw Error(e.what(), see_help(app));
  }
  for (const auto* option : app.get_options())
    if (option->count() && !app.get_subcommands().empty())
      throw Error(option->get_name(), " stands before a command: expected what follows `bm3 ",
                  app.get_subcommands()[0]->get_name(), "`");
  return "";
}

}  // namespace bm3
