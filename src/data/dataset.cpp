#include "data/dataset.h"

#include <algorithm>
#include <fstream>
#include <memory>

#include "data/npy.h"
#include "error.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view feature_ending = "_feat.npy";

Modality open_modality(const fs::path& path, int64_t n_items) {
  const auto matrix = std::make_shared<NpyMatrix>(path);
  if (matrix->rows() < n_items)
    throw Error(path.string() + " has " + std::to_string(matrix->rows()) +
                " rows: expected one for each of the " + std::to_string(n_items) + " items");
  std::string name = path.filename().string();
  name.resize(name.size() - feature_ending.size());
  return {name, matrix->cols(), [matrix](int64_t first, int64_t count, float* out) {
            matrix->read_rows(first, count, out);
          }};
}

bool is_feature_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.size() > feature_ending.size() &&
         name.compare(name.size() - feature_ending.size(), name.size(), feature_ending) == 0;
}

void write_inter(const Interactions& data, const fs::path& path) {
  std::ofstream file(path);
  file << "userID\titemID\tx_label\n";
  const std::vector<Interaction>* parts[] = {&data.train, &data.valid, &data.test};
  for (int label = 0; label < 3; ++label)
    for (const auto& [user, item] : *parts[label])
      file << user << '\t' << item << '\t' << label << '\n';
  file.close();
  if (!file) throw Error("cannot write " + path.string() + ": is the disk full?");
}

void write_features(const Modality& modality, int64_t n_items, const fs::path& path) {
  NpyWriter<float> writer(path, n_items, modality.dim);
  constexpr int64_t piece = 256;
  std::vector<float> rows(static_cast<size_t>(piece * modality.dim));
  for (int64_t first = 0; first < n_items; first += piece) {
    const int64_t count = std::min(piece, n_items - first);
    modality.read_rows(first, count, rows.data());
    writer.append(rows.data(), static_cast<size_t>(count * modality.dim));
  }
  writer.finish();
}

}  // namespace

Dataset load_dataset(const fs::path& folder, const std::string& name, uint64_t seed) {
  Dataset data;
  data.name = name;
  data.interactions = read_inter(folder / name / (name + ".inter"), seed);
  std::vector<fs::path> features;
  for (const auto& entry : fs::directory_iterator(folder / name))
    if (is_feature_file(entry.path())) features.push_back(entry.path());
  std::sort(features.begin(), features.end());
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

void write_dataset(const Dataset& data, const fs::path& folder) {
  const fs::path target = folder / data.name, part = folder / (data.name + ".part");
  if (fs::exists(target))
    throw Error(target.string() + " is there already: remove it or choose another name");
  if (fs::exists(part))
    throw Error(part.string() + " is there already, left when a run was killed: remove it");
  std::error_code status;
  fs::create_directories(part, status);
  if (status) throw Error("cannot make the folder " + part.string() + ": " + status.message());
  try {
    write_inter(data.interactions, part / (data.name + ".inter"));
    for (const auto& m : data.modalities)
      write_features(m, data.interactions.n_items, part / (m.name + std::string(feature_ending)));
    fs::rename(part, target);
  } catch (...) {
    fs::remove_all(part, status);
    throw;
  }
}

}  // namespace bm3
