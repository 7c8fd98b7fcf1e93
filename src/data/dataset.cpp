#include "data/dataset.h"

#include <algorithm>
#include <memory>
#include <regex>
#include <set>
#include <unordered_set>

#include "data/files.h"
#include "data/lines.h"
#include "data/npy.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

constexpr const char* feature_ending = "_feat.npy";
constexpr const char *user_map = "user_ids.tsv", *item_map = "item_ids.tsv";
constexpr const char* mark_name = "MADE_UP.txt";  // the file that tells made-up data from real data

Modality open_modality(const fs::path& path, const std::string& name, size_t n_items) {
  const auto matrix = std::make_shared<NpyMatrix>(path);
  if (matrix->rows() < n_items)
    throw Error(path, " has ", matrix->rows(), " rows: expected one for each itemID from 0 to ",
                n_items - 1);
  check_modality_name(name, path.string() + ": ");
  return {name, matrix->cols(), [matrix](size_t first, size_t count, float* out) {
            matrix->read_rows(first, count, out);
          }};
}

/// The name that a file which looks like features would need; empty for any other file.
std::string needed_name(const std::string& file) {
  static const std::regex like_features("(.*?)[-_. ]*(feat.*|\\.np[yz])", std::regex::icase);
  std::smatch match;
  if (file == "user_graph_dict.npy" || !std::regex_match(file, match, like_features))
    return "";  // the first is a graph, which MMRec writes
  return (match.length(1) > 0 ? match.str(1) : "NAME") + feature_ending;
}

/// Reads the maps of original ids where the folder has both.
void load_ids(Dataset& data, const fs::path& folder) {
  const auto path_of = [&](const char* ours, const char* mmrec) {
    return fs::exists(folder / ours) || !fs::exists(folder / mmrec) ? folder / ours
                                                                    : folder / mmrec;
  };
  const fs::path users = path_of(user_map, "u_id_mapping.csv"),
                 items = path_of(item_map, "i_id_mapping.csv");
  if (!fs::exists(users) || !fs::exists(items)) return;
  data.user_ids = read_id_map(users, data.interactions.n_users);
  data.item_ids = read_id_map(items, data.interactions.n_items);
}

std::string mark_text(const SyntheticSpec& spec, const std::string& name) {
  std::string modalities;
  for (const auto& m : spec.modalities)
    modalities += concat(modalities.empty() ? " --modality " : " ", m.name, ":", m.dim, ":",
                         m.noise);
  return concat(
      "These data are made up: no person did any of it, and figures on them say nothing about\n"
      "real data. `bm3` tells them from real ones by this file. They were made by\n\n"
      "bm3 synth ", name, " --users ", spec.n_users, " --items ", spec.n_items,
      " --interactions ", spec.n_interactions, modalities, " --seed ", spec.seed, "\n");
}

void write_features(const PartFolder& part, const Modality& modality, size_t n_items) {
  const std::string file = modality.name + feature_ending;
  part.append(file, npy_header(n_items, modality.dim));
  constexpr size_t piece = 256;
  std::vector<float> rows(piece * modality.dim);
  for (size_t first = 0; first < n_items; first += piece) {
    const size_t count = std::min(piece, n_items - first);
    modality.read_rows(first, count, rows.data());
    part.append(file, npy_bytes(rows.data(), count * modality.dim));
  }
}

}  // namespace

void check_modality_name(const std::string& name, const std::string& where) {
  const auto bad = [](char c) { return c == ',' || c == '/' || is_control(c); };
  if (name.empty() || name == "all" || name == "none" ||
      std::any_of(name.begin(), name.end(), bad))
    throw Error(where, "a modality is named ", in_quotes(name),
                ": expected a name without commas and slashes, neither all nor none");
}

std::string id_map_text(const std::string& title, const std::string& number_title,
                        const std::vector<std::string>& ids) {
  std::string text = title + '\t' + number_title + '\n';
  for (size_t k = 0; k < ids.size(); ++k) text += concat(tsv_field(ids[k]), "\t", k, "\n");
  return text;
}

std::vector<std::string> read_id_map(const fs::path& path, size_t n) {
  RecordReader records(path, "a map of original ids");
  std::vector<std::string> ids(n);
  std::unordered_set<std::string> known;
  Fields fields;
  records.next(fields);  // the header
  while (records.next(fields)) {
    size_t number = 0;
    if (fields.size() != 2 || fields[0].empty() || !parse(fields[1], number))
      throw Error(records.where(), ": expected an original id and its number");
    std::string ignored, &id = number < n ? ids[number] : ignored;
    if (!known.emplace(fields[0]).second || !id.empty())
      throw Error(records.where(), ": the id ", in_quotes(fields[0]), " or the number ", number,
                  " stands twice: expected each once");
    id = fields[0];
  }
  for (size_t k = 0; k < n; ++k)
    if (ids[k].empty())
      throw Error(path, " has no id of number ", k,
                  ": expected one for each number below ", n);
  return ids;
}

Dataset load_dataset(const fs::path& folder, const std::string& name, uint64_t seed) {
  static const std::regex features("([\\s\\S]+)_feat\\.npy");
  Dataset data;
  data.name = name;
  data.folder = folder;
  data.interactions = read_inter(folder / name / (name + ".inter"), seed);
  data.synthetic = fs::exists(folder / name / mark_name);
  load_ids(data, folder / name);
  for (const fs::path& path : std::set<fs::path>(fs::directory_iterator(folder / name), {})) {
    const std::string file = path.filename().string(), needed = needed_name(one_line(file));
    std::smatch match;
    if (std::regex_match(file, match, features))
      data.modalities.push_back(open_modality(path, match.str(1), data.interactions.n_items));
    else if (!needed.empty() && file != name + ".inter" && !fs::exists(folder / name / needed))
      data.unread.push_back(one_line(file) + ": features are read from " + needed);
  }
  return data;
}

Dataset synthetic_dataset(const SyntheticSpec& spec, const std::string& name) {
  Dataset data;
  data.name = name;
  data.synthetic = true;
  data.interactions = synthesise(spec);
  for (size_t m = 0; m < spec.modalities.size(); ++m)
    data.modalities.push_back({spec.modalities[m].name, spec.modalities[m].dim,
                               [spec, m](size_t first, size_t count, float* out) {
                                 synthetic_features(spec, m, first, count, out);
                               }});
  return data;
}

void write_dataset(const SyntheticSpec& spec, const std::string& name, const fs::path& folder) {
  PartFolder{folder / name};  // a trial: what could not be written need not be made
  write_dataset(synthetic_dataset(spec, name), folder, mark_text(spec, name));
}

void write_dataset(const Dataset& data, const fs::path& folder, const std::string& mark) {
  PartFolder part(folder / data.name);
  if (!mark.empty()) part.append(mark_name, mark);
  part.append(data.name + ".inter", inter_text(data.interactions));
  for (const auto& m : data.modalities) write_features(part, m, data.interactions.n_items);
  if (!data.user_ids.empty()) {
    part.append(user_map, id_map_text("user_id", "userID", data.user_ids));
    part.append(item_map, id_map_text("item_id", "itemID", data.item_ids));
  }
  part.rename_to_target();
}

}  // namespace bm3
