#include "checkpoint.h"

#include <algorithm>

#include "data/files.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;

// The members that a checkpoint's JSON has, by their names.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Loss, name, weight, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Epoch, number, losses, valid, train_seconds, valid_seconds,
                                   allocated_mib, process_mib, best)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TrainResult, epochs, best_epoch, width, valid, test)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Position, epoch, batches, result)

namespace {

constexpr const char* format = "bm3-checkpoint-5";
constexpr size_t piece = size_t{1} << 24;  // bytes that are on the host at a time

/// The header of a .safetensors file: texts, and the arrays that follow one another.
std::string header_text(const Json& about, const Position& position,
                        const std::vector<SavedArray>& arrays) {
  Json header;
  header["__metadata__"] = {
      {"format", format}, {"about", text_of(about)}, {"position", nlohmann::json(position).dump()}};
  size_t end = 0;
  for (const SavedArray& array : arrays) {
    const size_t begin = std::exchange(end, end + array.bytes);
    header[array.name] = {{"dtype", array.type},
                          {"shape", {array.rows, array.cols}},
                          {"data_offsets", {begin, end}}};
  }
  std::string text = text_of(header);
  return text.append(7 - (text.size() + 7) % 8, ' ');  // arrays begin at a multiple of 8
}

}  // namespace

Json identity(const Dataset& data, const ModelKind& kind, const Settings& settings) {
  const Interactions& x = data.interactions;
  Json modalities = Json::object(), values = Json::object();
  for (const auto& m : data.modalities) modalities[m.name] = m.dim;
  for (const Setting& s : settings.known())
    values[s.name] = s.range.kind == Range::whole  ? Json(settings.whole(s.name))
                     : s.range.kind == Range::real ? Json(settings.real(s.name))
                                                   : Json(settings.text(s.name));
  const Json out = {{"data",
                     {{"name", data.name},
                      {"synthetic", data.synthetic},
                      {"users", x.n_users},
                      {"items", x.n_items},
                      {"interactions", x.size()},
                      {"checksum", checksum(x)},
                      {"modalities", modalities}}},
                    {"model", kind.name},
                    {"settings", values}};
  if (Json::parse(text_of(out)) != out)
    throw Error("the names of " + in_quotes(data.name) + " and its modalities: expected UTF-8");
  return out;
}

std::string difference(const Json& found, const Json& expected) {
  Json same_keys;
  for (const auto& [key, value] : expected.items()) same_keys[key] = found.at(key);
  const Json changes = Json::diff(same_keys, expected);
  if (changes.empty()) return "";
  const std::string place = changes[0].at("path");
  const Json::json_pointer at(place);
  return "its " + place.substr(1) + " is " +
         (same_keys.contains(at) ? same_keys[at] : Json()).dump() + ": expected " +
         changes[0].value("value", Json()).dump();
}

void write_checkpoint(const fs::path& path, const Json& about, const Position& position,
                      Device& device, const std::vector<SavedArray>& arrays) {
  write_whole(path, [&](std::ostream& file) {
    const std::string text = header_text(about, position, arrays);
    const uint64_t length = text.size();
    file.write(reinterpret_cast<const char*>(&length), sizeof length) << text;
    std::vector<char> bytes(piece);
    for (const SavedArray& array : arrays)
      for (size_t at = 0; at < array.bytes; at += piece) {
        const size_t n = std::min(piece, array.bytes - at);
        device.download(bytes.data(), static_cast<const char*>(array.at) + at, n);
        file.write(bytes.data(), n);
      }
  });
}

Checkpoint::Checkpoint(const fs::path& path)
    : path_(path.string()), file_(open_file(path, "the checkpoint of a run that was stopped")) {
  const uint64_t size = fs::file_size(path);
  uint64_t length = 0;
  file_.read(reinterpret_cast<char*>(&length), sizeof length);
  if (!file_ || length > size - sizeof length)
    throw Error(path_, " has ", size,
                " bytes, fewer than its header: expected a whole checkpoint of bm3");
  std::string text(length, '\0');
  file_.read(text.data(), length);
  read_json(path_, [&] { read_header(text, size - sizeof length - length); });
}

void Checkpoint::read_header(const std::string& text, size_t data_bytes) {
  const Json header = Json::parse(text);
  const Json& texts = header.at("__metadata__");
  if (texts.at("format") != format)
    throw Error(path_, " is of the format ", texts["format"].dump(), ": expected ", format);
  about_ = Json::parse(texts.at("about").get<std::string>());
  position_ = nlohmann::json::parse(texts.at("position").get<std::string>());
  size_t end = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const Json &shape = entry.at("shape"), &offsets = entry.at("data_offsets");
    const size_t begin = std::exchange(end, offsets.at(1).get<size_t>());
    if (offsets.at(0) != begin || end < begin)
      throw Error(path_, " is damaged: expected ", in_quotes(name), " to begin at byte ", begin,
                  " of the arrays");
    entries_.push_back({name, entry.at("dtype"), shape.at(0), shape.at(1), end - begin, nullptr});
  }
  if (end != data_bytes)
    throw Error(path_, " has ", data_bytes, " bytes of arrays: expected ", end, " by its header");
}

void Checkpoint::load(Device& device, const std::vector<SavedArray>& arrays) {
  const auto words = [](const SavedArray& x) {
    return concat(x.name, " ", x.type, " ", x.rows, " x ", x.cols);
  };
  std::vector<char> bytes(piece);
  for (size_t k = 0; k < std::max(arrays.size(), entries_.size()); ++k) {
    const std::string found = k < entries_.size() ? words(entries_[k]) : "nothing",
                      expected = k < arrays.size() ? words(arrays[k]) : "nothing";
    if (found != expected || entries_[k].bytes != arrays[k].bytes)
      throw Error(path_, " is of another training or damaged, it holds ", one_line(found),
                  ": expected ", expected);
    for (size_t at = 0; at < arrays[k].bytes; at += piece) {
      const size_t n = std::min(piece, arrays[k].bytes - at);
      if (!file_.read(bytes.data(), n))
        throw Error("cannot read ", path_, ": did it change while it was open?");
      device.upload(static_cast<char*>(arrays[k].at) + at, bytes.data(), n);
    }
  }
}

}  // namespace bm3
