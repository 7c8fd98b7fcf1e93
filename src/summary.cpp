// What the runs of a sweep come to: means over seeds, as a table and as files.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "checkpoint.h"
#include "data/files.h"
#include "data/lines.h"
#include "report.h"
#include "run_folder.h"
#include "sweep.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
using Words = std::vector<std::string>;
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// Takes the figures that are in timing.csv.
void read_timing(const fs::path& path, bool on_gpu, Figures& out) {
  RecordReader records(path, "a file of a run");
  Fields fields;
  records.next(fields);  // epoch,train_seconds,valid_seconds,allocated_mib,process_mib
  std::vector<double> taken, memory;
  while (records.next(fields))
    if (fields.size() != 5 || !parse(fields[1], taken.emplace_back()) ||
        !parse(fields[on_gpu ? 3 : 4], memory.emplace_back()))
      throw Error(records.where(), " is damaged: expected five numbers");
  out[epochs] = static_cast<double>(taken.size());
  out[seconds] = mean_of(taken).mean;
  if (!memory.empty()) out[peak] = *std::max_element(memory.begin(), memory.end());
}

// ------------------------------------------------------------------------------------- table

/// Pads cells to the width of their columns and prints them.
void print_table(const std::vector<Words>& lines) {
  const auto width = [](const std::string& text) {  // of UTF-8: bytes that begin a character
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  std::vector<std::ptrdiff_t> widths(lines.front().size());
  for (const Words& line : lines)
    for (size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], width(line[c]));
  for (const Words& line : lines) {
    std::string text;
    for (size_t c = 0; c < line.size(); ++c)
      text += line[c] + std::string(static_cast<size_t>(widths[c] - width(line[c]) + 2), ' ');
    std::printf("%s\n", text.substr(0, text.find_last_not_of(' ') + 1).c_str());
  }
}

/// "0.0799 ± 0.0026"; "-" for what is not known.
std::string in_words(const Mean& x, int digits) {
  if (std::isnan(x.mean)) return "-";
  char text[80];
  std::snprintf(text, sizeof text, std::isnan(x.deviation) ? "%.*f" : "%.*f ± %.*f", digits,
                x.mean, digits, x.deviation);
  return text;
}

/// Whether a model has two rows, among which one chooses.
bool has_choice(const std::vector<SummaryRow>& rows) {
  return std::adjacent_find(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
           return &a.model() == &b.model();
         }) != rows.end();
}

/// Marks the best of rows by a figure.
void mark_best(const std::vector<SummaryRow*>& rows, Figure figure, bool SummaryRow::*best) {
  SummaryRow* found = nullptr;
  for (SummaryRow* row : rows)
    if (const double x = row->means[figure].mean; !std::isnan(x))
      if (!found || x > found->means[figure].mean) found = row;
  if (found && rows.size() > 1) found->*best = true;
}

// ------------------------------------------------------------------------------------- files

Json number_or_text(const std::string& text) {
  double value = 0;
  return parse(text, value) ? Json(value) : Json(text);
}

Json to_json(const SummaryRow& row, const Words& columns) {
  Json out{{"model", row.model().name}, {"settings", Json::object()}};
  for (size_t c = 0; c < columns.size(); ++c)
    if (const auto& value = row.runs[0]->values[c]; !value.empty())
      out["settings"][columns[c]] = number_or_text(value);
  out["best_by_validation"] = row.best_by_validation;
  out["best_by_test"] = row.best_by_test;
  for (const SweepRun* run : row.runs)
    out["runs"].push_back({{"seed", number_or_text(run->options.settings.text("seed"))},
                           {"folder", run->options.out.filename().string()}});
  for (size_t k = 0; k < row.means.size(); ++k) {  // what is not known becomes null
    out["means"][figure_words[k].name] = {{"mean", row.means[k].mean},
                                     {"deviation", row.means[k].deviation}};
    for (size_t run = 0; run < row.runs.size(); ++run)
      out["runs"][run][figure_words[k].name] = (*row.runs[run]->figures)[k];
  }
  return out;
}

std::string tsv_of(const Words& columns, const std::vector<SummaryRow>& rows) {
  std::string out = "model";
  for (const auto& column : columns) out += "\t" + column;
  out += "\truns";
  for (const auto& x : figure_words) out += std::string("\t") + x.name + "\t" + x.name + "_sd";
  out += "\tbest_by_validation\tbest_by_test\n";
  for (const SummaryRow& row : rows) {
    out += row.model().name;
    for (const auto& value : row.runs[0]->values) out += "\t" + value;
    out += "\t" + std::to_string(row.runs.size());
    for (const Mean& mean : row.means)
      for (const double x : {mean.mean, mean.deviation})
        out += "\t" + (std::isnan(x) ? "" : shortest(x));
    for (const bool best : {row.best_by_validation, row.best_by_test}) out += best ? "\t1" : "\t0";
    out += "\n";
  }
  return out;
}

}  // namespace

std::optional<Figures> read_figures(const SweepRun& run, const Dataset& data) {
  const fs::path &folder = run.options.out, checkpoint = checkpoint_path(folder);
  const Json wanted = identity(data, *run.options.model, run.options.settings);
  const auto check = [&](const Json& found) {
    if (const auto other = difference(found, wanted); !other.empty())
      throw Error(folder, " is of another run, ", other, ", or another --out");
  };
  if (fs::exists(checkpoint))
    read_json(checkpoint.string(), [&] { check(Checkpoint(checkpoint).about()); });
  if (!fs::exists(folder / "config.json")) return std::nullopt;
  Figures out;
  out.fill(unknown);
  bool finished = true;
  read_config(folder, [&](const Json& config) {
    finished = config.at("ended") != interrupted;
    if (!finished) return;
    check(config);
    const Metrics test = config.at("test"), valid = config.at("valid");
    if (test.n_users > 0)
      out = {test.recall(at10), test.recall(at20), test.ndcg(at10), test.ndcg(at20)};
    out[valid_recall20] = valid.n_users > 0 ? valid.recall(at20) : unknown;
    read_timing(folder / "timing.csv", config.at("device").at("name") == "cuda", out);
  });
  return finished ? std::optional(out) : std::nullopt;
}

Mean mean_of(const std::vector<double>& values) {
  std::vector<double> known;
  for (const double x : values)
    if (!std::isnan(x)) known.push_back(x);
  const auto n = static_cast<double>(known.size());
  double sum = 0, squares = 0;
  for (const double x : known) sum += x;
  const double mean = sum / n;  // 0 / 0: NaN
  for (const double x : known) squares += (x - mean) * (x - mean);
  return {mean, known.size() < 2 ? unknown : std::sqrt(squares / (n - 1))};
}

std::vector<SummaryRow> summarise(const Sweep& sweep) {
  std::vector<SummaryRow> rows;
  for (const SweepRun& run : sweep.runs) {
    if (!run.figures) continue;
    if (rows.empty() || &rows.back().model() != run.options.model ||
        rows.back().runs[0]->values != run.values)
      rows.emplace_back();
    rows.back().runs.push_back(&run);
  }
  std::map<const ModelKind*, std::vector<SummaryRow*>> groups;
  for (SummaryRow& row : rows) {
    for (size_t figure = 0; figure < row.means.size(); ++figure) {
      std::vector<double> values;
      for (const SweepRun* run : row.runs) values.push_back((*run->figures)[figure]);
      row.means[figure] = mean_of(values);
    }
    groups[has_choice(rows) ? &row.model() : nullptr].push_back(&row);
  }
  for (const auto& [model, group] : groups) {
    mark_best(group, valid_recall20, &SummaryRow::best_by_validation);
    mark_best(group, recall20, &SummaryRow::best_by_test);
  }
  return rows;
}

void print_summary(const Sweep& sweep, const std::vector<SummaryRow>& rows, const Dataset& data) {
  std::vector<Words> lines(1);
  lines[0] = sweep.columns;
  lines[0].insert(lines[0].begin(), data.name);
  lines[0].push_back("runs");
  for (const auto& figure : figure_words)
    if (figure.title) lines[0].push_back(figure.title);
  std::string best;
  for (const SummaryRow& row : rows) {
    const std::string& model = row.model().name;
    Words& line = lines.emplace_back(Words{model + (row.best_by_validation ? " *" : "")});
    std::string name = model;
    for (size_t c = 0; c < sweep.columns.size(); ++c) {
      const std::string& value = row.runs[0]->values[c];
      line.push_back(value.empty() ? "-" : value);
      if (!value.empty()) name += ", " + sweep.columns[c] + " " + value;
    }
    if (row.best_by_test)
      best += "The best by test R@20, which may not decide: " + name + "\n";
    line.push_back(std::to_string(row.runs.size()));
    for (size_t k = 0; k < row.means.size(); ++k)
      if (figure_words[k].title) line.push_back(in_words(row.means[k], figure_words[k].digits));
    const Published* p = published_figures(data, row.model());
    if (!p || (&row != &rows.back() && &(&row)[1].model() == &row.model())) continue;
    Words& published = lines.emplace_back(sweep.columns.size() + 2);
    published[0] = model + ", published";
    for (const double x : p->figures) published.push_back(in_words({x, unknown}, 4));
  }
  std::printf("Test figures, mean ± standard deviation over seeds\n\n");
  print_table(lines);
  if (rows.size() > 1)
    std::printf("\n*  the best %sby validation R@20\n", has_choice(rows) ? "of its model " : "");
  std::fputs(best.c_str(), stdout);
  if (data.synthetic) print_made_up(stdout, data.name);
}

void write_summary(const fs::path& folder, const Sweep& sweep,
                   const std::vector<SummaryRow>& rows, const Dataset& data) {
  Json out{{"format", "bm3-sweep-1"},
           {"data", {{"name", data.name}, {"synthetic", data.synthetic}}},
           {"columns", sweep.columns},
           {"rows", Json::array()},
           {"published", Json::object()}};
  for (const SummaryRow& row : rows) {
    out["rows"].push_back(to_json(row, sweep.columns));
    if (const Published* p = published_figures(data, row.model()))
      for (size_t k = 0; k < p->figures.size(); ++k)
        out["published"][row.model().name][figure_words[k].name] = p->figures[k];
  }
  write_whole(folder / "summary.tsv", [&](auto& file) { file << tsv_of(sweep.columns, rows); });
  write_whole(folder / "summary.json", [&](auto& file) { file << text_of(out, 2) << "\n"; });
}

}  // namespace bm3
