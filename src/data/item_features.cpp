#include "data/import.h"

#include <algorithm>
#include <cmath>

#include "data/lines.h"
#include "data/npy.h"
#include "error.h"
#include "text.h"

namespace bm3 {
namespace fs = std::filesystem;
namespace {

/// Returns where an item's features go, `dim` numbers; null for the id of no item.
using RowOf = std::function<float*(std::string_view id, size_t dim)>;

/// Gives the items that have no features the mean of the others.
void fill_missing(ItemFeatures& features, const std::vector<char>& has) {
  const size_t dim = features.dim;
  const auto n = static_cast<double>(has.size() - features.missing);
  std::vector<double> mean(dim);
  for (size_t i = 0; i < has.size(); ++i)
    for (size_t c = 0; has[i] && c < dim; ++c)
      mean[c] += static_cast<double>(features.rows[i * dim + c]);
  for (size_t i = 0; i < has.size(); ++i)
    for (size_t c = 0; !has[i] && c < dim; ++c)
      features.rows[i * dim + c] = static_cast<float>(mean[c] / n);
}

/// Records of 10 bytes of id and 4096 little-endian float32.
void read_mcauley(const fs::path& path, const RowOf& row_of) {
  constexpr size_t id_size = 10, dim = 4096, size = id_size + dim * sizeof(float);
  GzipFile file(path, "features of images");
  std::string record(size, '\0');
  for (size_t k = 0; file.peek() != EOF; ++k) {
    file.read(record.data(), size);
    const size_t n = file.gcount();
    const std::string where = concat(path, ": record ", k);
    if (n < size)
      throw Error(where, " has ", n, " bytes: expected ", size,
                  ", an id of 10 and 4096 float32 numbers");
    float* const row = row_of(record.substr(0, id_size), dim);
    if (!row) continue;
    record.copy(reinterpret_cast<char*>(row), size - id_size, id_size);
    if (!std::all_of(row, row + dim, [](float x) { return std::isfinite(x); }))
      throw Error(where, " has a number that is not finite: expected finite ones");
  }
}

/// Row k of the matrix is the item's whose id stands in line k of `ids`.
void read_matrix(const FeatureSource& source, const RowOf& row_of) {
  const NpyMatrix matrix(source.file);
  GzipFile lines(source.ids, "the ids of the rows of " + source.file.string());
  std::string id;
  size_t k = 0;
  for (; lines.read_line(id); ++k) {
    if (!id.empty() && id.back() == '\r') id.pop_back();
    if (k >= matrix.rows()) continue;
    if (float* const row = row_of(id, matrix.cols())) matrix.read_rows(k, 1, row);
  }
  if (k != matrix.rows())
    throw Error(source.ids, " has ", k, " ids: expected ", matrix.rows(), ", one for each row of ",
                source.file);
}

/// Records of an id and numbers; what no item has as its id is passed over, as names are.
void read_records(const fs::path& path, const RowOf& row_of) {
  RecordReader records(path, "features of items");
  for (Fields fields; records.next(fields);) {
    const size_t dim = fields.size() - 1;
    if (dim == 0)
      throw Error(records.where(), ": expected an id and numbers between commas or tabs");
    float* const row = row_of(fields[0], dim);
    for (size_t c = 0; row && c < dim; ++c) {
      double number = 0;  // float32 may round it to 0
      const bool is_number = parse(without_blanks(fields[c + 1]), number);
      row[c] = static_cast<float>(number);
      if (!is_number || !std::isfinite(row[c]))
        throw Error(records.where(), ": field ", c + 2, " is ", in_quotes(fields[c + 1]),
                    ": expected a finite float32 number");
    }
  }
}

}  // namespace

ItemFeatures read_item_features(const FeatureSource& source, size_t n_items,
                                const std::function<int32_t(std::string_view)>& item_of) {
  ItemFeatures out;
  std::vector<char> has(n_items);
  const RowOf row_of = [&](std::string_view id, size_t dim) -> float* {
    out.dim = dim;
    out.rows.resize(n_items * dim);
    const int32_t item = item_of(id);
    if (item < 0) return nullptr;
    has[item] = 1;
    return &out.rows[item * dim];
  };
  const fs::path bare = source.file.extension() == ".gz" ? source.file.stem() : source.file;
  if (!source.ids.empty())
    read_matrix(source, row_of);
  else if (bare.extension() == ".b")
    read_mcauley(source.file, row_of);
  else
    read_records(source.file, row_of);
  out.missing = std::count(has.begin(), has.end(), 0);
  if (out.missing == n_items)
    throw Error(source.file, " has none of the data set's items: expected features by the items' "
                "ids in the ratings");
  fill_missing(out, has);
  return out;
}

}  // namespace bm3
