// The reader and the writer of .npy files, against files made by hand from the format's
// description.
#include <sys/stat.h>

#include <cstring>

#include "compare.h"
#include "data/npy.h"
#include "random_inputs.h"
#include "scratch.h"

namespace bm3::test {
namespace {

// -------------------------------------------------------------------------------- files by hand

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

// ----------------------------------------------------------------------------------- matrices

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

TEST(Npy, EveryTypeOrderAndVersion) {
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

TEST(Npy, EveryHalf) {
  const ScratchFolder folder;
  std::vector<uint16_t> finite;
  std::vector<float> expected;
  for (unsigned bits = 0; bits < 65536; ++bits)
    if ((bits >> 10 & 31) != 31) {
      finite.push_back(static_cast<uint16_t>(bits));
      expected.push_back(static_cast<float>(half_value(bits)));
    }
  ASSERT_EQ(finite.size(), 63488U);
  const std::string start = header(dictionary("<f2", "(62, 1024)"));
  const auto found = read(NpyMatrix(write_file(folder / "x.npy", start + bytes_of(finite))), 62);
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)), 0);

  std::vector<uint16_t> others;  // infinities and NaNs, of either sign
  for (unsigned bits = 0; bits < 65536; ++bits)
    if ((bits >> 10 & 31) == 31) others.push_back(static_cast<uint16_t>(bits));
  const NpyMatrix matrix(
      write_file(folder / "y.npy", header(dictionary("<f2", "(2048, 1)")) + bytes_of(others)));
  float value;
  for (int64_t row = 0; row < 2048; ++row)
    EXPECT_NE(error_of([&] { matrix.read_rows(row, 1, &value); }), "")
        << others[static_cast<size_t>(row)];
}

TEST(Npy, DoublesAtTheEdgeOfFloat) {
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

TEST(Npy, RefusesAFileOfAnotherSize) {
  const ScratchFolder folder;
  const auto path = folder / "x.npy";
  const std::string whole = header(dictionary("<f4", "(5, 3)")) + bytes_of(std::vector<float>(15));
  ASSERT_EQ(whole.size(), 128U + 60);
  for (size_t size : {128, 129, 187}) {
    write_file(path, whole.substr(0, size));
    EXPECT_ERROR(NpyMatrix{path}, path.string() + " has " + std::to_string(size) +
                                      " bytes: expected 188 by its header; it is truncated");
  }
  write_file(path, whole + "x");
  EXPECT_ERROR(NpyMatrix{path}, path.string() + " has 189 bytes: expected 188 by its header");
  for (size_t size = 0; size < 128; ++size) {
    write_file(path, whole.substr(0, size));
    EXPECT_ERROR(
        NpyMatrix{path},
        path.string() + (size < 12 ? " is not an .npy file: expected it to start with \\x93NUMPY"
                                   : ": the .npy header is truncated"));
  }
}

TEST(Npy, RefusesWhatIsNoMatrixOfFloats) {
  const ScratchFolder folder;
  const auto path = folder / "x.npy";
  const auto refusal = [&](const std::string& dtype, const std::string& shape, size_t bytes) {
    write_file(path, header(dictionary(dtype, shape)) + std::string(bytes, '\0'));
    const std::string message = error_of([&] { NpyMatrix{path}; });
    return message.substr(message.find(path.string()) == 0 ? path.string().size() : 0);
  };
  const std::string floats = "float16, float32 or float64 (<f2, <f4, <f8)";
  EXPECT_EQ(refusal("<i4", "(2, 2)", 16), " has dtype '<i4': expected " + floats);
  EXPECT_EQ(refusal("|u1", "(2, 2)", 4), " has dtype '|u1': expected " + floats);
  EXPECT_EQ(refusal("|b1", "(2, 2)", 4), " has dtype '|b1': expected " + floats);
  for (const std::string dtype : {">f4", ">f8", "<f16", "<c8", "|O", "<U5", "<u4", "=f4", ""})
    EXPECT_EQ(refusal(dtype, "(2, 2)", 16),
              " has dtype '" + dtype + "': expected little-endian " + floats);
  const std::string matrix = " dimensions: expected 2, a row for each item";
  EXPECT_EQ(refusal("<f4", "()", 4), " has 0" + matrix);
  EXPECT_EQ(refusal("<f4", "(4,)", 16), " has 1" + matrix);
  EXPECT_EQ(refusal("<f4", "(2, 2, 2)", 32), " has 3" + matrix);
  EXPECT_EQ(refusal("<f4", "(4, 0)", 0), " has no columns: expected at least one");
  EXPECT_EQ(refusal("<f4", "(0, 4)", 0), "");  // `load_dataset` counts the rows
}

TEST(Npy, RefusesWhatIsNoFile) {
  const ScratchFolder folder;
  EXPECT_ERROR(NpyMatrix{folder / "none.npy"},
               "cannot open " + (folder / "none.npy").string() +
                   " (No such file or directory): expected an .npy file to read");
  EXPECT_ERROR(NpyMatrix{folder.path()},
               folder.path().string() + " is not a file: expected an .npy file to read");
}

// ------------------------------------------------------------------------------------- headers

NpyHeader parse(const std::string& bytes) { return parse_npy_header(bytes, "x.npy"); }

TEST(NpyHeader, WhatNumpyWrites) {
  const NpyHeader plain =
      parse(header("{'descr': '<f4', 'fortran_order': False, 'shape': (7050, 384), }"));
  EXPECT_EQ(plain.dtype, "<f4");
  EXPECT_FALSE(plain.fortran_order);
  EXPECT_EQ(plain.shape, (std::vector<int64_t>{7050, 384}));
  EXPECT_EQ(plain.item_size(), 4U);
  EXPECT_EQ(plain.count(), 7050 * 384);
  EXPECT_EQ(plain.data_offset, 128U);
  EXPECT_TRUE(
      parse(header("{'descr': '<f8', 'fortran_order': True, 'shape': (3,), }")).fortran_order);
  EXPECT_EQ(parse(header("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }")).shape,
            std::vector<int64_t>{3});
  EXPECT_EQ(parse(header("{'descr': '|u1', 'fortran_order': False, 'shape': (), }")).count(), 1);
  const NpyHeader other =
      parse(header(R"({"descr": "<f2", "fortran_order": True, "shape": (7, 3), })"));
  EXPECT_EQ(other.dtype, "<f2");
  EXPECT_EQ(other.shape, (std::vector<int64_t>{7, 3}));
  EXPECT_TRUE(other.fortran_order);
  EXPECT_EQ(parse(header("{'shape': (2,3,4),'descr':'<f2','fortran_order':True}")).shape,
            (std::vector<int64_t>{2, 3, 4}));
}

TEST(NpyHeader, Refuses) {
  const std::string right = dictionary("<f4", "(2, 3)"), file = header(right);
  const auto words = [](const std::string& bytes) {
    const std::string message = error_of([&] { parse(bytes); });
    EXPECT_EQ(message.substr(0, 5), "x.npy") << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  };
  EXPECT_EQ(words("PK" + file.substr(2)),
            "x.npy is not an .npy file: expected it to start with \\x93NUMPY");
  for (int version : {0, 4, -1})
    EXPECT_EQ(words(header(right, version)).find("x.npy: .npy version " + std::to_string(version)),
              0U);
  std::string huge = header(right, 2);
  huge.replace(8, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(words(huge), "x.npy: the .npy header is truncated");

  const std::string broken = right.substr(1);
  for (const std::string garbage : {"", "{", "descr", "[1, 2]", "\n\n", broken.c_str()})
    EXPECT_NE(words(header(garbage)).find("expected a dictionary"), std::string::npos) << garbage;
  for (const char* key : {"descr", "fortran_order", "shape"}) {
    std::string without = right;
    without.replace(without.find(key), 1, "X");
    EXPECT_EQ(words(header(without)), std::string("x.npy: the .npy header lacks '") + key + "'");
  }
  for (const std::string descr :
       {"'<f4, ", "\"<f4', ", "<f4, ", "[('a', '<f4')], ", "'', ", "'<f4\n', "})
    EXPECT_NE(words(header("{'fortran_order': False, 'shape': (2, 3), 'descr': " + descr + "}"))
                  .find("expected little-endian float16"),
              std::string::npos)
        << descr;
  for (const std::string order : {"true", "0", "Falsehood", "", "'True'"})
    EXPECT_EQ(words(header("{'descr': '<f4', 'fortran_order': " + order + ", 'shape': (2, 3)}")),
              "x.npy: the .npy header's fortran_order is '" + order + "': expected True or False");
}

TEST(NpyHeader, RefusesAShape) {
  const auto refusal = [](const std::string& shape) {
    return error_of([&] { parse(header(dictionary("<f4", shape))); });
  };
  for (const char* shape :
       {"(-1, 3)", "(2, -3)", "(2, 3", "[2, 3]", "2", "(2 3)", "(2, x)", "(2.0, 3)", "(,)",
        "(2,,3)", "(2, , 3)", "(,2)", "(2, 9223372036854775808)", "('2', 3)"})
    EXPECT_NE(refusal(shape).find("expected a tuple of whole numbers"), std::string::npos)
        << shape << ": " << refusal(shape);
  for (const char* shape : {"(9223372036854775807,)", "(4294967296, 4294967296)",
                            "(2305843009213693952, 1)", "(3, 3, 1000000, 1000000000000)"})
    EXPECT_EQ(refusal(shape), "x.npy: the .npy header's shape is too large for any file") << shape;
  EXPECT_EQ(refusal("(2305843009213693951, 1)"), "");
}

// ------------------------------------------------------------------------- written and read again

template <class T>
class NpyRoundTrip : public testing::Test {};
using Written = testing::Types<float, double, int64_t>;
TYPED_TEST_SUITE(NpyRoundTrip, Written);

TYPED_TEST(NpyRoundTrip, SameValues) {
  using T = TypeParam;
  Random random(2);
  const ScratchFolder folder;
  const auto path = folder / "x.npy";
  for (const Shape shape : shapes) {
    const auto values = random.numbers<T>(shape.rows * shape.cols, 1e6);
    const auto rows = static_cast<int64_t>(shape.rows), cols = static_cast<int64_t>(shape.cols);
    write_npy(path, values.data(), rows, cols);
    const auto array = read_npy<T>(path);
    EXPECT_EQ(array.shape, (std::vector<int64_t>{rows, cols}));
    EXPECT_EQ(array.values, values);
    const std::string dtype = std::is_same_v<T, float>    ? "<f4"
                              : std::is_same_v<T, double> ? "<f8"
                                                          : "<i8";
    EXPECT_EQ(read_file(path), header(dictionary(dtype, "(" + std::to_string(rows) + ", " +
                                                            std::to_string(cols) + ")")) +
                                   bytes_of(values));
  }
  EXPECT_EQ(names_below(folder.path()), std::vector<std::string>{"x.npy"});
}

TEST(NpyWriter, NothingIsLeftUnfinished) {
  const ScratchFolder folder;
  {
    NpyWriter<float> writer(folder / "x.npy", 2, 1);
    const float value = 1;
    writer.append(&value, 1);
  }
  EXPECT_EQ(names_below(folder.path()), std::vector<std::string>());
  const auto path = folder / "none/x.npy";
  EXPECT_ERROR((NpyWriter<float>(path, 1, 1)),
               "cannot write " + path.string() + ".part: is the folder there and writable?");
}

TEST(NpyArray, ExactlyTheType) {
  const ScratchFolder folder;
  const auto path = folder / "x.npy";
  const float values[] = {1, 2};
  write_npy(path, values, 2, 1);
  EXPECT_ERROR(read_npy<double>(path), path.string() + " has dtype <f4: expected <f8 in C order");
  write_file(path, header(dictionary("<f4", "(1, 2)", true)) + bytes_of<float>({1, 2}));
  EXPECT_ERROR(read_npy<float>(path),
               path.string() + " has dtype <f4 in Fortran order: expected <f4 in C order");
  write_file(path, header(dictionary("|u1", "(3,)")) + "abc");
  EXPECT_EQ(read_npy<uint8_t>(path).values, (std::vector<uint8_t>{'a', 'b', 'c'}));
}

}  // namespace
}  // namespace bm3::test
