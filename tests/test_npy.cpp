// .npy files, against files made by hand from the format's description.
#include <cstring>
#include <map>

#include "compare.h"
#include "data/npy.h"
#include "random_inputs.h"
#include "scratch.h"
#include "text.h"

namespace bm3::test {
namespace {

/// A header of a version around a dictionary; the values begin at a multiple of 64.
std::string header(const std::string& dictionary, int version = 1) {
  const size_t width = version == 1 ? 2 : 4;
  std::string text = dictionary;
  text.append(63 - (8 + width + text.size()) % 64, ' ');
  text += '\n';
  std::string out = std::string("\x93NUMPY") + static_cast<char>(version) + '\0';
  for (size_t k = 0; k < width; ++k) out += static_cast<char>(text.size() >> (8 * k) & 255);
  return out + text;
}

std::string dictionary(const std::string& dtype, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + dtype + "', 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + shape + ", }";
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string out(values.size() * sizeof(T), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

/// The matrix, read in pieces of so many rows.
std::vector<float> read(const NpyMatrix& matrix, size_t piece) {
  std::vector<float> out(matrix.rows() * matrix.cols(), NAN);
  for (size_t first = 0; first < matrix.rows(); first += piece)
    matrix.read_rows(first, std::min(piece, matrix.rows() - first),
                     out.data() + first * matrix.cols());
  return out;
}

/// What a half's 16 bits say, by IEEE 754: sign, five bits of exponent (bias 15), ten of fraction.
double half_value(unsigned bits) {
  const double sign = bits & 0x8000 ? -1 : 1;
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = (bits & 1023) / 1024.0;
  return sign * (exponent == 0 ? fraction * std::pow(2.0, -14)
                               : (1 + fraction) * std::pow(2.0, exponent - 15));
}

constexpr std::pair<size_t, size_t> shapes[] = {{1, 1},   {1, 40},   {5, 3},  {300, 17},
                                                {33, 16}, {2, 5000}, {700, 1}};

std::string shape_text(size_t rows, size_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

/// A file of this matrix.
template <class T>
std::string file_of(const std::string& dtype, const std::vector<T>& x, size_t rows, size_t cols,
                    bool fortran, int version = 1) {
  std::vector<T> values = x;
  for (size_t k = 0; k < x.size() && fortran; ++k) values[k % cols * rows + k / cols] = x[k];
  return header(dictionary(dtype, shape_text(rows, cols), fortran), version) + bytes_of(values);
}

template <class T>
void expect_reads(const std::string& dtype, const std::vector<T>& values,
                  const std::vector<float>& expected, size_t rows, size_t cols) {
  const ScratchFolder folder;
  for (int version : {1, 2, 3})
    for (bool fortran : {false, true}) {
      const std::string bytes = file_of(dtype, values, rows, cols, fortran, version);
      SCOPED_TRACE(bytes.substr(10, 118));
      const NpyMatrix matrix(write_file(folder / "x.npy", bytes));
      EXPECT_EQ(matrix.rows(), rows);
      EXPECT_EQ(matrix.cols(), cols);
      for (size_t piece : {1, 7, 256, 1000}) EXPECT_SAME(read(matrix, piece), expected);
    }
}

TEST(Npy, ReadsEveryTypeOrderAndVersion) {
  Random random(1);
  for (const auto& [rows, cols] : shapes) {
    const auto f8 = random.numbers<double>(rows * cols, 100);
    const std::vector<float> f4(f8.begin(), f8.end());
    expect_reads("<f8", f8, f4, rows, cols);
    expect_reads("<f4", f4, f4, rows, cols);
  }
  std::vector<uint16_t> f2;  // every finite one
  std::vector<float> of_f2;
  for (uint32_t bits = 0; bits < 65536; ++bits)
    if ((bits >> 10 & 31) < 31) {
      f2.push_back(static_cast<uint16_t>(bits));
      of_f2.push_back(static_cast<float>(half_value(bits)));
    }
  expect_reads("<f2", f2, of_f2, 2048, 31);
  const double most = std::numeric_limits<float>::max();
  const std::vector<double> edge = {most, -most, 1e-50, -0.0, 1 + 1e-9, std::nextafter(most, 0)};
  expect_reads("<f8", edge, std::vector<float>(edge.begin(), edge.end()), 2, 3);
}

template <class T>
void expect_not_finite(const std::string& dtype, const std::vector<T>& bad_values) {
  const ScratchFolder folder;
  for (bool fortran : {false, true})
    for (T bad : bad_values) {
      std::vector<T> values(600 * 40, 1);
      values[517 * 40 + 33] = bad;
      const auto path = write_file(folder / "x.npy", file_of(dtype, values, 600, 40, fortran));
      for (size_t piece : {1, 100, 600})
        EXPECT_ERROR(read(NpyMatrix(path), piece),
                     path.string() + ": row 517, column 33: expected a finite float32 number");
    }
}

TEST(Npy, RefusesWhatIsNotFinite) {
  expect_not_finite<double>("<f8", {INFINITY, -INFINITY, std::nan(""), 3.5e38, -1e300});
  expect_not_finite<float>("<f4", {INFINITY, -INFINITY, std::nanf("")});
  expect_not_finite<uint16_t>("<f2", {0x7c00, 0xfc00, 0x7e00, 0x7fff});
}

TEST(Npy, ReadsADictionaryInAnyOrderAndQuotes) {
  const ScratchFolder folder;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  for (const std::string text : {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
                                 "{'shape': (2,3),'descr':'<f4','fortran_order':False}",
                                 R"({"descr": "<f4", "fortran_order": False, "shape": (2, 3)})"})
    EXPECT_EQ(read(NpyMatrix(write_file(folder / "x.npy", header(text) + bytes_of(values))), 2),
              values);
}

/// What the file of these bytes is refused with, behind its name; "" when it is not.
std::string refusal(const std::string& bytes) {
  const ScratchFolder folder;
  const auto path = write_file(folder / "x.npy", bytes);
  const std::string message = error_of([&] { NpyMatrix{path}; });
  const size_t at = message.find(path.string());
  return at == std::string::npos ? message : message.substr(at + path.string().size());
}

const std::string no_npy = " is not an .npy file: expected it to start with \\x93NUMPY";

const std::string version = ": expected a whole header of version 1, 2 or 3";

TEST(Npy, RefusesAFileOfAnotherSize) {
  const std::string whole = file_of("<f4", std::vector<float>(15), 5, 3, false);
  ASSERT_EQ(whole.size(), 188U);
  EXPECT_EQ(refusal(whole), "");
  for (size_t size = 0; size < 128; ++size)
    EXPECT_EQ(refusal(whole.substr(0, size)),
              size < 12 ? no_npy : " is of the .npy version 1 or cut short" + version);
  for (size_t size : {128, 129, 187, 189})
    EXPECT_EQ(refusal((whole + "x").substr(0, size)),
              " has " + std::to_string(size) + " bytes: expected 128 + 5 * 3 * 4 by its header");
  const std::string most(18, '9');  // whose bytes no number counts
  EXPECT_EQ(refusal(header(dictionary("<f8", "(" + most + ", " + most + ")"))),
            " has 128 bytes: expected 128 + " + most + " * " + most + " * 8 by its header");
}

TEST(Npy, RefusesAHeader) {
  const std::string right = dictionary("<f4", "(2, 3)");
  std::string huge = header(right, 2);
  huge.replace(8, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(refusal("PK" + header(right).substr(2)), no_npy);
  for (const int other : {0, 4, -1})
    EXPECT_EQ(refusal(header(right, other)),
              " is of the .npy version " + std::to_string(other) + " or cut short" + version);
  EXPECT_EQ(refusal(huge), " is of the .npy version 2 or cut short" + version);
}

/// Each value of the dictionary that is not one of a matrix of floats, or is not there.
TEST(Npy, RefusesWhatIsNoMatrixOfFloats) {
  const struct {
    std::string key, expected;
    std::vector<std::string> values;
  } cases[] = {
      {"descr", "little-endian float16, float32 or float64 ('<f2', '<f4', '<f8')",
       {"'<i4'", "'|u1'", "'>f4'", "'<f16'", "'<f1'", "'<c8'", "'|O'", "'=f4'", "''", "'<f4",
        "\"<f4'", "<f4", "[('a', '<f4')]", "'<f4 '", "'<f4\t'", "", "  '<f4'"}},
      {"fortran_order", "True or False", {"true", "Falsehood", "''", ""}},
      {"shape", "(rows, columns), a row for each item and at least one column",
       {"()", "(4,)", "(2, 2, 2)", "(4, 0)", "(-1, 3)", "(2, -3)", "[2", "2", "(2 3)", "(2, x)",
        "(2.0, 3)", "(,)", "(2,,3)", "(,2)", "(2, 9223372036854775808)", "('2', 3)", "(2, 3"}}};
  const std::map<std::string, std::string> right = {
      {"descr", "'<f4'"}, {"fortran_order", "False"}, {"shape", "(0, 4)"}};
  const auto expect = [](const std::map<std::string, std::string>& values,
                         const std::string& words) {
    std::string text;
    for (const auto& [key, value] : values) text += ", '" + key + "': " + value;
    text = header("{" + text.substr(2) + "}");
    const std::string shown = text.substr(10, std::min<size_t>(100, text.size() - 10));
    EXPECT_EQ(refusal(text), words.empty() ? "" : " has the header " + one_line(shown) + words);
  };
  expect(right, "");  // `load_dataset` counts the rows
  for (const auto& [key, expected, values] : cases) {
    auto wrong = right;
    for (const auto& value : values) {
      wrong[key] = value;
      expect(wrong, ": expected " + key + " to be " + expected);
    }
    wrong.erase(key);
    expect(wrong, ": expected " + key + " to be " + expected);
  }
}

TEST(Npy, WritesWhatNumpyWould) {
  Random random(2);
  for (const auto& [rows, cols] : shapes) {
    const auto values = random.numbers<float>(rows * cols, 1e6);
    EXPECT_EQ(npy_header(rows, cols),
              header(dictionary("<f4", shape_text(rows, cols))));
    EXPECT_EQ(npy_bytes(values.data(), values.size()), bytes_of(values));
  }
}

}  // namespace
}  // namespace bm3::test
