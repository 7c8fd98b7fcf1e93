#include "summary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "data/files.h"
#include "report.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

// ----------------------------------------------------------------------------------- figures

double number(const Json& config, const char* part, const char* name) {
  return config.contains(part) && config[part].contains(name) ? config[part][name].get<double>()
                                                              : unknown;
}

/// Throws unless the run that left `config` is the one that is asked for.
void check_same(const Json& config, const SweepRun& run, const Dataset& data) {
  const auto expect = [&](const std::string& what, const Json& found, const Json& wanted) {
    if (found != wanted)
      throw Error(run.options.out.string() + " is a run with " + what + " " + found.dump() +
                  ": expected " + wanted.dump() + ", or another --out");
  };
  const Json& of_data = config.at("data");
  const Interactions& x = data.interactions;
  Json names = Json::array(), found_names = Json::array();
  for (const auto& m : data.modalities) names.push_back(m.name);
  for (const auto& m : of_data.at("modalities")) found_names.push_back(m.at("name"));
  expect("the data set", of_data.at("name"), data.name);
  expect("users", of_data.at("users"), x.n_users);
  expect("items", of_data.at("items"), x.n_items);
  expect("interactions", of_data.at("interactions"), x.size());
  expect("modalities", found_names, names);
  expect("model", config.at("model"), run.options.model->name);
  const Settings& settings = run.options.settings;
  for (const Setting& setting : settings.known())
    expect(setting.name, config.at("settings").at(setting.name),
           setting.range.kind == Range::whole  ? Json(settings.whole(setting.name))
           : setting.range.kind == Range::real ? Json(settings.real(setting.name))
                                               : Json(settings.text(setting.name)));
}

/// The columns of a CSV file, by name; what is no number is not known.
std::map<std::string, std::vector<double>> read_columns(const fs::path& path) {
  std::ifstream file = open_file(path, "a file of a run");
  std::map<std::string, std::vector<double>> columns;
  std::string line;
  std::getline(file, line);
  const Words names = split(line, ',');
  while (std::getline(file, line)) {
    const Words fields = split(line, ',');
    for (size_t k = 0; k < names.size(); ++k) {
      if (fields.size() != names.size())
        throw Error(path.string() + " is damaged: expected " + join(names, ",") + " in each line");
      double value = unknown;
      parse(fields[k], value);
      columns[names[k]].push_back(value);
    }
  }
  return columns;
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

std::string decimals(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// "0.0799 ± 0.0026"; "-" for what is not known.
std::string in_words(const Mean& x, int digits) {
  if (std::isnan(x.mean)) return "-";
  const std::string mean = decimals(x.mean, digits);
  return std::isnan(x.deviation) ? mean : mean + " ± " + decimals(x.deviation, digits);
}

std::vector<double> figures_of(const Published& p) {
  return {p.recall10, p.recall20, p.ndcg10, p.ndcg20};
}

/// "bm3, layers 2, dropout 0.3"
std::string name_of(const SummaryRow& row, const Words& columns) {
  std::string out = row.model->name;
  for (size_t c = 0; c < columns.size(); ++c)
    if (!row.values[c].empty()) out += ", " + columns[c] + " " + row.values[c];
  return out;
}

/// Whether a model has two rows, among which one chooses.
bool has_choice(const std::vector<SummaryRow>& rows) {
  return std::adjacent_find(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
           return a.model == b.model;
         }) != rows.end();
}

/// Marks the best of rows by validation and by test.
void mark_best(const std::vector<SummaryRow*>& rows) {
  const auto mark = [&](Figure figure, bool SummaryRow::*best) {
    SummaryRow* found = nullptr;
    for (SummaryRow* row : rows)
      if (const double x = row->means[figure].mean; !std::isnan(x))
        if (!found || x > found->means[figure].mean) found = row;
    if (found) found->*best = true;
  };
  mark(valid_recall20, &SummaryRow::best_by_validation);
  mark(recall20, &SummaryRow::best_by_test);
}

// ------------------------------------------------------------------------------------- files

Json number_or_text(const std::string& text) {
  double value = 0;
  return parse(text, value) ? Json(value) : Json(text);
}

Json number_or_null(double x) { return std::isnan(x) ? Json(nullptr) : Json(x); }

Json to_json(const SummaryRow& row, const Words& columns) {
  Json out{{"model", row.model->name}, {"settings", Json::object()}};
  for (size_t c = 0; c < columns.size(); ++c)
    if (!row.values[c].empty()) out["settings"][columns[c]] = number_or_text(row.values[c]);
  out["best_by_validation"] = row.best_by_validation;
  out["best_by_test"] = row.best_by_test;
  for (size_t k = 0; k < row.means.size(); ++k)
    out["means"][figure_names[k]] = {{"mean", number_or_null(row.means[k].mean)},
                                     {"deviation", number_or_null(row.means[k].deviation)}};
  for (const Sample& sample : row.samples) {
    Json run{{"seed", number_or_text(sample.seed)}, {"folder", sample.folder}};
    for (size_t k = 0; k < sample.figures.size(); ++k)
      run[figure_names[k]] = number_or_null(sample.figures[k]);
    out["runs"].push_back(run);
  }
  return out;
}

std::string tsv_of(const Words& columns, const std::vector<SummaryRow>& rows) {
  std::string out = "model";
  for (const auto& column : columns) out += "\t" + column;
  out += "\truns";
  for (const char* name : figure_names) out += std::string("\t") + name + "\t" + name + "_sd";
  out += "\tbest_by_validation\tbest_by_test\n";
  const auto cell = [](double x) { return "\t" + (std::isnan(x) ? "" : shortest(x)); };
  for (const SummaryRow& row : rows) {
    out += row.model->name;
    for (const auto& value : row.values) out += "\t" + value;
    out += "\t" + std::to_string(row.samples.size());
    for (const Mean& x : row.means) out += cell(x.mean) + cell(x.deviation);
    out += std::string(row.best_by_validation ? "\t1" : "\t0") +
           (row.best_by_test ? "\t1\n" : "\t0\n");
  }
  return out;
}

void replace_file(const fs::path& path, const std::string& text) {
  const fs::path part = path.string() + ".part";
  std::ofstream file(part, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(part, path, error);
  if (file && !error) return;
  fs::remove(part, error);
  throw Error("cannot write " + path.string() + ": is the disk full?");
}

}  // namespace

std::optional<Figures> read_figures(const SweepRun& run, const Dataset& data) {
  const fs::path& folder = run.options.out;
  if (!fs::exists(folder / "config.json")) return std::nullopt;
  std::ifstream file = open_file(folder / "config.json", "what a run left");
  Figures out;
  out.fill(unknown);
  bool on_gpu = false;
  try {
    const Json config = Json::parse(file);
    if (config.value("ended", "complete") == "interrupted") return std::nullopt;
    on_gpu = config.at("device").at("name") == "cuda";
    check_same(config, run, data);
    for (const Figure k : {recall10, recall20, ndcg10, ndcg20})
      out[k] = number(config, "test", figure_names[k]);
    out[valid_recall20] = number(config, "valid", "recall@20");
  } catch (const Json::exception& e) {
    throw Error((folder / "config.json").string() + " is damaged: " + e.what() +
                ": expected it as the run left it");
  }
  out[epochs] = static_cast<double>(read_columns(folder / "log.csv")["epoch"].size());
  if (!fs::exists(folder / "timing.csv")) return out;
  auto timing = read_columns(folder / "timing.csv");
  out[seconds] = mean_of(timing["train_seconds"]).mean;
  const std::vector<double>& memory = timing[on_gpu ? "allocated_mib" : "process_mib"];
  if (!memory.empty()) out[peak] = *std::max_element(memory.begin(), memory.end());
  return out;
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

std::vector<SummaryRow> summarise(const Sweep& sweep,
                                  const std::vector<std::optional<Figures>>& figures) {
  std::vector<SummaryRow> rows;
  for (size_t k = 0; k < sweep.runs.size(); ++k) {
    const auto& [options, words, values] = sweep.runs[k];
    if (!figures[k]) continue;
    if (rows.empty() || rows.back().model != options.model || rows.back().values != values)
      rows.push_back({options.model, values, {}, {}});
    rows.back().samples.push_back({options.settings.text("seed"),
                                   options.out.filename().string(), *figures[k]});
  }
  std::map<const ModelKind*, std::vector<SummaryRow*>> groups;
  for (SummaryRow& row : rows) {
    for (size_t figure = 0; figure < row.means.size(); ++figure) {
      std::vector<double> values;
      for (const Sample& sample : row.samples) values.push_back(sample.figures[figure]);
      row.means[figure] = mean_of(values);
    }
    groups[has_choice(rows) ? row.model : nullptr].push_back(&row);
  }
  for (const auto& [model, group] : groups)
    if (group.size() > 1) mark_best(group);
  return rows;
}

void print_summary(const Sweep& sweep, const std::vector<SummaryRow>& rows, const Dataset& data) {
  std::vector<Words> lines(1);
  lines[0] = sweep.columns;
  lines[0].insert(lines[0].begin(), data.name);
  for (const char* title : {"runs", "R@10", "R@20", "N@10", "N@20", "epochs", "s/epoch", "MiB"})
    lines[0].push_back(title);
  constexpr std::pair<Figure, int> shown[] = {{recall10, 4}, {recall20, 4}, {ndcg10, 4},
                                              {ndcg20, 4},   {epochs, 0},   {seconds, 3},
                                              {peak, 0}};
  for (size_t k = 0; k < rows.size(); ++k) {
    const SummaryRow& row = rows[k];
    Words& line = lines.emplace_back(row.values);
    for (auto& value : line) value = value.empty() ? "-" : value;
    line.insert(line.begin(), row.model->name + (row.best_by_validation ? " *" : ""));
    line.push_back(std::to_string(row.samples.size()));
    for (const auto& [figure, digits] : shown) line.push_back(in_words(row.means[figure], digits));
    const Published* p = published_figures(data, *row.model);
    if (!p || (k + 1 < rows.size() && rows[k + 1].model == row.model)) continue;
    Words& published = lines.emplace_back(sweep.columns.size() + 2);
    published[0] = row.model->name + ", published";
    for (const double x : figures_of(*p)) published.push_back(decimals(x, 4));
  }
  std::printf("Test figures, mean ± standard deviation over seeds\n\n");
  print_table(lines);
  if (rows.size() > 1)
    std::printf("\n*  the best %sby validation R@20\n", has_choice(rows) ? "of its model " : "");
  for (const SummaryRow& row : rows)
    if (row.best_by_test)
      std::printf("The best by test R@20, which may not decide: %s\n",
                  name_of(row, sweep.columns).c_str());
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
    if (const Published* p = published_figures(data, *row.model)) {
      const std::vector<double> figures = figures_of(*p);
      for (size_t k = 0; k < figures.size(); ++k)
        out["published"][row.model->name][figure_names[k]] = figures[k];
    }
  }
  replace_file(folder / "summary.tsv", tsv_of(sweep.columns, rows));
  replace_file(folder / "summary.json",
               out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace bm3
