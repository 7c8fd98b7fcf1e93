#pragma once
// Text files of any size, plain or compressed by gzip, read line by line or record by record.
#include <filesystem>
#include <istream>
#include <memory>
#include <streambuf>
#include <string>
#include <string_view>
#include <vector>

struct gzFile_s;  // zlib's

namespace bm3 {

/// The bytes or lines of a file, uncompressed where it is compressed by gzip. Reading throws when
/// the file cannot be read, or ends within its compressed data.
class GzipFile : private std::streambuf, public std::istream {
 public:
  /// Throws as `open_file` does; `expected` ends the message.
  GzipFile(const std::filesystem::path& path, const std::string& expected);
  /// Reads the next line without its \n, and without a byte order mark; false at the end.
  bool read_line(std::string& line);
  /// Returns "FILE:LINE" of the last line.
  std::string where() const { return name_ + ":" + std::to_string(n_lines_); }

 private:
  int underflow() override;
  std::string name_;
  std::unique_ptr<gzFile_s, int (*)(gzFile_s*)> file_;
  std::vector<char> buffer_;
  size_t n_lines_ = 0;
};

using Fields = std::vector<std::string_view>;

/// The records of a CSV or TSV file. Fields stand between tabs, commas or semicolons: the first of
/// these that divides the first record. A field that begins with a quotation mark may hold
/// separators, line ends and, doubled, quotation marks. Lines end in \n or \r\n; blank ones are
/// passed over.
class RecordReader : private GzipFile {
 public:
  using GzipFile::GzipFile, GzipFile::where;
  /// fields = the next record's, valid until the next call; false at the end. Throws where
  /// quotation marks do not close, and where there are more or fewer fields than in the first.
  bool next(Fields& fields);

 private:
  void divide(Fields& fields);
  void divide_quoted(Fields& fields);
  std::string record_, unquoted_;  // a record's lines; its fields where some are quoted
  char separator_ = 0;
  size_t count_ = 0;  // of the fields
};

/// Returns `text` as a field between tabs: in quotation marks where it could not be read else.
std::string tsv_field(std::string_view text);

}  // namespace bm3
