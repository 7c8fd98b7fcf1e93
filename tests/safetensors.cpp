// Reading .safetensors files.
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

#include "error.h"
#include "golden.h"
#include "text.h"

namespace bm3::test {
namespace {

using nlohmann::json;

/// Where an array lies in the data after the header.
struct Place {
  std::string name, dtype;
  Shape shape;
  size_t begin, end;
};

template <class E>
double number_at(const char* bytes) {
  E value;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<double>(value);
}

struct Type {
  const char* name;
  size_t size;
  double (*read)(const char*);
};
constexpr Type types[] = {{"F64", 8, number_at<double>},  {"F32", 4, number_at<float>},
                          {"I64", 8, number_at<int64_t>}, {"I32", 4, number_at<int32_t>},
                          {"U8", 1, number_at<uint8_t>},  {"BOOL", 1, number_at<uint8_t>}};

const Type& type_of(const Place& place) {
  for (const Type& type : types)
    if (place.dtype == type.name) return type;
  throw Error(place.name + " has dtype " + in_quotes(place.dtype) +
              ": expected F64, F32, I64, I32, U8 or BOOL");
}

/// Returns the header and where the data begin.
std::pair<json, size_t> read_header(const std::string& bytes) {
  uint64_t length = 0;
  for (size_t k = std::min<size_t>(8, bytes.size()); k-- > 0;)
    length = length << 8 | static_cast<uint8_t>(bytes[k]);
  if (bytes.size() < 8 || length > bytes.size() - 8)
    throw Error(std::to_string(bytes.size()) +
                " bytes are fewer than its header: expected a whole .safetensors file");
  std::vector<std::set<std::string>> names;  // of the objects around the place at hand
  const auto once = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key && !names.back().insert(value).second)
      throw Error("its header names " + in_quotes(value.get<std::string>()) +
                  " twice: expected different names");
    return true;
  };
  json header = json::parse(bytes.substr(8, length), once, false);
  if (!header.is_object()) throw Error("its header is not a JSON object: expected one");
  return {std::move(header), 8 + length};
}

Shape whole_numbers(const json& list, const std::string& what) {
  Shape out;
  for (const json& x : list.is_array() ? list : json::array({list})) {
    if (!x.is_number_unsigned())
      throw Error(what + " is " + one_line(list.dump()) + ": expected whole numbers from 0");
    out.push_back(x);
  }
  return out;
}

Place place_of(const std::string& name, const json& entry) {
  const std::string what = one_line(name);
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!entry.is_object() || !entry.contains(key))
      throw Error(what + " lacks its " + key + ": expected dtype, shape and data_offsets");
  const Shape shape = whole_numbers(entry["shape"], what + ": its shape");
  const Shape offsets = whole_numbers(entry["data_offsets"], what + ": its data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error(what + ": its data_offsets are " + shape_words(offsets) +
                ": expected a begin and an end");
  const json& dtype = entry["dtype"];
  return {what, dtype.is_string() ? dtype.get<std::string>() : dtype.dump(), shape, offsets[0],
          offsets[1]};
}

/// Returns the places of the arrays, which must follow one another through `size` bytes of data.
std::vector<Place> places_of(const json& header, size_t size) {
  std::vector<Place> places;
  for (const auto& [name, entry] : header.items())
    if (name != "__metadata__") places.push_back(place_of(name, entry));
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  size_t end = 0;  // of the previous array
  for (const Place& place : places) {
    if (place.begin != end)
      throw Error(place.name + " begins at byte " + std::to_string(place.begin) +
                  " of the data: expected " + std::to_string(end) +
                  ", where the previous array ends");
    end = place.end;
  }
  if (end != size)
    throw Error(std::to_string(size) + " bytes of data: expected " + std::to_string(end) +
                ", where its arrays end");
  return places;
}

FileArray read_array(const Place& place, const char* bytes) {
  const Type& type = type_of(place);
  const size_t size = place.end - place.begin;
  size_t count = 1;  // of values, or more than fit
  for (size_t n : place.shape) count = n != 0 && count > size / n ? size + 1 : count * n;
  if (count > size || count * type.size != size)
    throw Error(place.name + " has " + std::to_string(size) + " bytes: expected " +
                shape_words(place.shape) + " of " + place.dtype);
  FileArray out{place.shape, std::vector<double>(count), place.dtype == "F32"};
  for (size_t k = 0; k < count; ++k) {
    out.values[k] = type.read(bytes + k * type.size);
    if (!std::isfinite(out.values[k]))
      throw Error(place.name + ": value " + std::to_string(k) +
                  " is not finite: expected numbers");
  }
  return out;
}

}  // namespace

std::string shape_words(const Shape& shape) {
  std::vector<std::string> words;
  for (size_t n : shape) words.push_back(n == any ? "*" : std::to_string(n));
  return "[" + join(words, ", ") + "]";
}

Safetensors parse_safetensors(const std::string& bytes) {
  const auto [header, data] = read_header(bytes);
  Safetensors out;
  const json metadata = header.value("__metadata__", json::object());
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string())
      throw Error("its metadata's " + in_quotes(key) + " is " + one_line(value.dump()) +
                  ": expected a text");
    out.metadata[key] = value;
  }
  for (const Place& place : places_of(header, bytes.size() - data))
    out.arrays[place.name] = read_array(place, bytes.data() + data + place.begin);
  return out;
}

}  // namespace bm3::test
