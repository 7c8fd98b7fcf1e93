// .npy files, against files made by hand from the format's description.
#include <cstring>
#include <numeric>

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

template <class T>
std::vector<T> transposed(const std::vector<T>& x, size_t rows, size_t cols) {
  std::vector<T> out(x.size());
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < cols; ++c) out[c * rows + r] = x[r * cols + c];
  return out;
}

/// The matrix, read in pieces of so many rows.
std::vector<float> read(const NpyMatrix& matrix, int64_t piece) {
  const auto cols = static_cast<size_t>(matrix.cols());
  std::vector<float> out(static_cast<size_t>(matrix.rows()) * cols, NAN);
  for (int64_t first = 0; first < matrix.rows(); first += piece)
    matrix.read_rows(first, std::min(piece, matrix.rows() - first),
                     out.data() + static_cast<size_t>(first) * cols);
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

struct Shape {
  size_t rows, cols;
};
constexpr Shape shapes[] = {{1, 1}, {1, 40}, {5, 3}, {300, 17}, {33, 16}, {2, 5000}, {700, 1}};

template <class T>
void expect_reads(const std::string& dtype, const std::vector<T>& values,
                  const std::vector<float>& expected, Shape shape, const ScratchFolder& folder) {
  for (int version : {1, 2, 3})
    for (bool fortran : {false, true}) {
      SCOPED_TRACE(testing::Message() << dtype << " " << shape.rows << " x " << shape.cols
                                      << (fortran ? " Fortran" : " C") << " version " << version);
      const std::string text =
          "(" + std::to_string(shape.rows) + ", " + std::to_string(shape.cols) + ")";
      const NpyMatrix matrix(
          write_file(folder / "x.npy",
                     header(dictionary(dtype, text, fortran), version) +
                         bytes_of(fortran ? transposed(values, shape.rows, shape.cols) : values)));
      EXPECT_EQ(matrix.rows(), static_cast<int64_t>(shape.rows));
      EXPECT_EQ(matrix.cols(), static_cast<int64_t>(shape.cols));
      for (int64_t piece : {1, 7, 256, 1000}) EXPECT_EQ(read(matrix, piece), expected);
    }
}

TEST(Npy, ReadsEveryTypeOrderAndVersion) {
  Random random(1);
  const ScratchFolder folder;
  for (const Shape shape : shapes) {
    const auto f8 = random.numbers<double>(shape.rows * shape.cols, 100);
    const std::vector<float> f4(f8.begin(), f8.end());
    std::vector<uint16_t> f2(f8.size());
    std::vector<float> of_f2;
    for (uint16_t& bits : f2) {
      bits = static_cast<uint16_t>(random.below(31 << 10) | random.below(2) << 15);
      of_f2.push_back(static_cast<float>(half_value(bits)));
    }
    expect_reads("<f8", f8, f4, shape, folder);
    expect_reads("<f4", f4, f4, shape, folder);
    expect_reads("<f2", f2, of_f2, shape, folder);
  }
}

TEST(Npy, ReadsEveryHalfThatIsFinite) {
  const ScratchFolder folder;
  std::vector<uint16_t> halves(65536);
  std::iota(halves.begin(), halves.end(), uint16_t{0});
  const NpyMatrix matrix(
      write_file(folder / "x.npy", header(dictionary("<f2", "(65536, 1)")) + bytes_of(halves)));
  for (uint16_t bits : halves) {
    float found = NAN;
    const std::string message = error_of([&] { matrix.read_rows(bits, 1, &found); });
    const auto expected = static_cast<float>(half_value(bits));
    if ((bits >> 10 & 31) == 31) {  // infinities and NaNs
      EXPECT_NE(message, "") << bits;
    } else {
      EXPECT_TRUE(message.empty() && std::memcmp(&found, &expected, sizeof found) == 0) << bits;
    }
  }
}

TEST(Npy, ReadsDoublesAtTheEdgeOfFloat) {
  const ScratchFolder folder;
  const double most = std::numeric_limits<float>::max();
  const std::vector<double> values = {most, -most, 1e-50, -0.0, 1 + 1e-9, std::nextafter(most, 0)};
  const std::vector<float> expected(values.begin(), values.end());
  const auto path =
      write_file(folder / "x.npy", header(dictionary("<f8", "(2, 3)")) + bytes_of(values));
  EXPECT_EQ(read(NpyMatrix(path), 2), expected);
}

TEST(Npy, RefusesWhatIsNotFinite) {
  const ScratchFolder folder;
  const float inf = std::numeric_limits<float>::infinity();
  const auto path = folder / "x.npy";
  for (bool fortran : {false, true})
    for (double bad : {double{inf}, -double{inf}, std::nan(""), 3.5e38, -1e300}) {
      std::vector<double> values(600 * 40, 1.0);
      values[517 * 40 + 33] = bad;
      const auto stored = fortran ? transposed(values, 600, 40) : values;
      write_file(path, header(dictionary("<f8", "(600, 40)", fortran)) + bytes_of(stored));
      const NpyMatrix matrix(path);
      for (int64_t piece : {1, 100, 600})
        EXPECT_ERROR(read(matrix, piece),
                     path.string() + ": row 517, column 33: expected a finite float32 number");
    }
  for (float bad : {inf, -inf, std::nanf("")}) {
    write_file(path, header(dictionary("<f4", "(2, 2)")) + bytes_of<float>({1, 2, 3, bad}));
    EXPECT_ERROR(read(NpyMatrix(path), 2),
                 path.string() + ": row 1, column 1: expected a finite float32 number");
  }
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

TEST(Npy, RefusesAFileOfAnotherSize) {
  const std::string whole = header(dictionary("<f4", "(5, 3)")) + bytes_of(std::vector<float>(15));
  ASSERT_EQ(whole.size(), 188U);
  EXPECT_EQ(refusal(whole), "");
  for (size_t size = 0; size < 128; ++size)
    EXPECT_EQ(refusal(whole.substr(0, size)),
              size < 12 ? " is not an .npy file: expected it to start with \\x93NUMPY"
                        : ": the .npy header is truncated");
  for (size_t size : {128, 129, 187, 189})
    EXPECT_EQ(refusal((whole + "x").substr(0, size)),
              " has " + std::to_string(size) + " bytes: expected 128 + 5 * 3 * 4 by its header");
  const std::string most = "9223372036854775807";  // whose bytes no number counts
  EXPECT_EQ(refusal(header(dictionary("<f8", "(" + most + ", " + most + ")"))),
            " has 128 bytes: expected 128 + " + most + " * " + most + " * 8 by its header");
}

TEST(Npy, RefusesAHeader) {
  const std::string right = dictionary("<f4", "(2, 3)");
  std::string huge = header(right, 2);
  huge.replace(8, 4, "\xff\xff\xff\xff");
  const std::string not_a_dictionary = ": expected a dictionary",
                    lacks = ": the .npy header lacks ",
                    no_order = ": the .npy header's fortran_order is ";
  const auto without = [&](const std::string& key) {
    return header(std::string(right).replace(right.find(key), 1, "X"));
  };
  const auto order = [](const std::string& text) {
    return header("{'descr': '<f4', 'fortran_order': " + text + ", 'shape': (2, 3)}");
  };
  const std::pair<std::string, std::string> cases[] = {
      {"PK" + header(right).substr(2),
       " is not an .npy file: expected it to start with \\x93NUMPY"},
      {header(right, 0), ": .npy version 0: expected 1, 2 or 3"},
      {header(right, 4), ": .npy version 4: expected 1, 2 or 3"},
      {header(right, -1), ": .npy version -1: expected 1, 2 or 3"},
      {huge, ": the .npy header is truncated"},
      {header(""), ": the .npy header is ''" + not_a_dictionary},
      {header("\n\n"), ": the .npy header is ''" + not_a_dictionary},
      {header("{"), ": the .npy header is '{'" + not_a_dictionary},
      {header("[1, 2]"), ": the .npy header is '[1, 2]'" + not_a_dictionary},
      {header(right.substr(1)),
       ": the .npy header is '" + right.substr(1, 40) + "...'" + not_a_dictionary},
      {without("descr"), lacks + "'descr'"},
      {without("fortran_order"), lacks + "'fortran_order'"},
      {without("shape"), lacks + "'shape'"},
      {order("true"), no_order + "'true': expected True or False"},
      {order("Falsehood"), no_order + "'Falsehood': expected True or False"},
      {order(""), no_order + "'': expected True or False"}};
  for (const auto& [bytes, words] : cases) EXPECT_EQ(refusal(bytes), words);
}

TEST(Npy, RefusesWhatIsNoMatrixOfFloats) {
  for (const std::string descr : {"'<i4'", "'|u1'", "'>f4'", "'<f16'", "'<c8'", "'|O'", "'=f4'",
                                  "''", "'<f4", "\"<f4'", "<f4", "[('a'", "'<f4 '", "'<f4\t'", ""})
    EXPECT_EQ(refusal(header("{'fortran_order': False, 'shape': (2, 3), 'descr': " + descr + "}")),
              " has dtype " + one_line(descr.substr(0, descr.find(' '))) +
                  ": expected little-endian float16, float32 or float64 ('<f2', '<f4', '<f8')");
  for (const std::string shape :
       {"()", "(4,)", "(2, 2, 2)", "(4, 0)", "(-1, 3)", "(2, -3)", "[2", "2", "(2 3)", "(2, x)",
        "(2.0, 3)", "(,)", "(2,,3)", "(,2)", "(2, 9223372036854775808)", "('2', 3)", "(2, 3"})
    EXPECT_EQ(refusal(header(dictionary("<f4", shape))),
              " has shape '" + (shape == "(2, 3" ? "" : shape) +
                  "': expected (rows, columns), a row for each item and at least one column");
  EXPECT_EQ(refusal(header(dictionary("<f4", "(0, 4)"))), "");  // `load_dataset` counts the rows
}

TEST(Npy, WritesWhatNumpyWould) {
  Random random(2);
  const ScratchFolder folder;
  for (const auto [rows, cols] : shapes) {
    const auto values = random.numbers<float>(rows * cols, 1e6);
    const std::string shape = "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")",
                      written = npy_header(static_cast<int64_t>(rows), static_cast<int64_t>(cols)) +
                                std::string(npy_bytes(values.data(), values.size()));
    EXPECT_EQ(written, header(dictionary("<f4", shape)) + bytes_of(values));
    EXPECT_EQ(read(NpyMatrix(write_file(folder / "x.npy", written)), 100), values);
  }
}

}  // namespace
}  // namespace bm3::test
