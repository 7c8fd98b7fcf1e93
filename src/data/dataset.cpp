#include "data/dataset.h"

#include <algorithm>
#include <cctype>
#include <memory>

#include "data/npy.h"
#include "data/part_folder.h"
#include "error.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view feature_ending = "_feat.npy";
constexpr const char* mark_name = "MADE_UP.txt";  // the file that tells made-up data from real data

Modality open_modality(const fs::path& path, int64_t n_items) {
  const auto matrix = std::make_shared<NpyMatrix>(path);
  if (matrix->rows() < n_items)
    throw Error(path.string() + " has " + std::to_string(matrix->rows()) +
                " rows: expected one for each itemID from 0 to " + std::to_string(n_items - 1));
  std::string name = path.filename().string();
  name.resize(name.size() - feature_ending.size());
  try {
    check_modality_name(name);
  } catch (const Error& e) {
    throw Error(path.string() + ": " + e.what());
  }
  return {name, matrix->cols(), [matrix](int64_t first, int64_t count, float* out) {
            matrix->read_rows(first, count, out);
          }};
}

bool is_feature_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.size() > feature_ending.size() &&
         name.compare(name.size() - feature_ending.size(), name.size(), feature_ending) == 0;
}

/// The name that a file which looks like features would need; empty for any other file.
std::string needed_name(const fs::path& path) {
  std::string name = path.filename().string(), small = name;
  for (char& c : small) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const size_t at = small.find("feat");
  const bool is_array = path.extension() == ".npy" || path.extension() == ".npz";
  const bool is_of_mmrec = name == "user_graph_dict.npy";  // not features
  if ((at == std::string::npos && !is_array) || is_of_mmrec) return "";
  name.resize(at == std::string::npos ? path.stem().string().size() : at);
  name.resize(name.find_last_not_of("-_. ") + 1);
  return (name.empty() ? "NAME" : name) + std::string(feature_ending);
}

std::string mark_text(const SyntheticSpec& spec, const std::string& name) {
  std::string modalities;
  for (const auto& m : spec.modalities)
    modalities += (modalities.empty() ? " --modality " : " ") + m.name + ":" + shortest(m.dim) +
                  ":" + shortest(m.noise);
  return "These data are made up: no person did any of it, and figures on them say nothing about\n"
         "real data. `bm3` tells them from real ones by this file. They were made by\n\n"
         "bm3 synth " + name + " --users " + shortest(spec.n_users) + " --items " +
         shortest(spec.n_items) + " --interactions " + shortest(spec.n_interactions) +
         modalities + " --seed " + shortest(spec.seed) + "\n";
}

std::string inter_text(const Interactions& data) {
  std::string text = "userID\titemID\tx_label\n";
  const std::vector<Interaction>* parts[] = {&data.train, &data.valid, &data.test};
  for (int label = 0; label < 3; ++label)
    for (const auto& [user, item] : *parts[label])
      text += shortest(user) + '\t' + shortest(item) + '\t' + shortest(label) + '\n';
  return text;
}

void write_features(const PartFolder& part, const Modality& modality, int64_t n_items) {
  const std::string file = modality.name + std::string(feature_ending);
  part.append(file, npy_header(n_items, modality.dim));
  constexpr int64_t piece = 256;
  std::vector<float> rows(static_cast<size_t>(piece * modality.dim));
  for (int64_t first = 0; first < n_items; first += piece) {
    const int64_t count = std::min(piece, n_items - first);
    modality.read_rows(first, count, rows.data());
    part.append(file, npy_bytes(rows.data(), static_cast<size_t>(count * modality.dim)));
  }
}

}  // namespace

void check_modality_name(const std::string& name) {
  const auto bad = [](char c) { return c == ',' || is_control(c); };
  if (name.empty() || name == "all" || name == "none" ||
      std::any_of(name.begin(), name.end(), bad))
    throw Error("a modality is named " + in_quotes(name) +
                ": expected neither all nor none nor a comma, which --modalities could not name");
}

Dataset load_dataset(const fs::path& folder, const std::string& name, uint64_t seed) {
  Dataset data;
  data.name = name;
  data.folder = folder;
  data.interactions = read_inter(folder / name / (name + ".inter"), seed);
  data.synthetic = fs::exists(folder / name / mark_name);
  std::vector<fs::path> features;
  for (const auto& entry : fs::directory_iterator(folder / name)) {
    const std::string file = entry.path().filename().string(), needed = needed_name(entry.path());
    if (is_feature_file(entry.path()))
      features.push_back(entry.path());
    else if (!needed.empty() && !fs::exists(folder / name / needed))
      data.unread.push_back(one_line(file + ": features are read from " + needed));
  }
  std::sort(features.begin(), features.end());
  std::sort(data.unread.begin(), data.unread.end());
  for (const auto& path : features)
    data.modalities.push_back(open_modality(path, data.interactions.n_items));
  return data;
}

Dataset synthetic_dataset(const SyntheticSpec& spec, const std::string& name) {
  Dataset data;
  data.name = name;
  data.synthetic = true;
  data.interactions = synthesise(spec);
  for (size_t m = 0; m < spec.modalities.size(); ++m)
    data.modalities.push_back({spec.modalities[m].name, spec.modalities[m].dim,
                               [spec, m](int64_t first, int64_t count, float* out) {
                                 synthetic_features(spec, m, first, count, out);
                               }});
  return data;
}

void write_dataset(const SyntheticSpec& spec, const std::string& name, const fs::path& folder) {
  PartFolder{folder / name};  // a trial: what could not be written need not be made
  const Dataset data = synthetic_dataset(spec, name);
  PartFolder part(folder / name);
  part.append(mark_name, mark_text(spec, name));
  part.append(name + ".inter", inter_text(data.interactions));
  for (const auto& m : data.modalities) write_features(part, m, spec.n_items);
  part.rename_to_target();
}

}  // namespace bm3
