#include "data/lines.h"

#include <zlib.h>

#include <cerrno>
#include <cstring>

#include "data/files.h"

namespace bm3 {

GzipFile::GzipFile(const std::filesystem::path& path, const std::string& expected)
    : std::istream(this),
      name_(path.string()),
      file_(nullptr, gzclose_r),
      buffer_(size_t{1} << 20) {
  exceptions(std::ios::badbit);  // lets the Error of `underflow` through
  open_file(path, expected);
  file_.reset(gzopen(path.c_str(), "rb"));
  if (!file_ || gzbuffer(file_.get(), 1U << 18) != 0) throw std::bad_alloc();
}

int GzipFile::underflow() {
  const int n = gzread(file_.get(), buffer_.data(), static_cast<unsigned>(buffer_.size()));
  int status = Z_OK;
  gzerror(file_.get(), &status);
  if (n < 0 || status != Z_OK)
    throw Error("cannot read ", name_, " (",
                status == Z_ERRNO       ? std::strerror(errno)
                : status == Z_BUF_ERROR ? "it ends too early"
                                        : "it is damaged",
                "): expected a whole file, plain or compressed by gzip");
  setg(buffer_.data(), buffer_.data(), buffer_.data() + n);
  return n > 0 ? std::char_traits<char>::to_int_type(buffer_[0]) : std::char_traits<char>::eof();
}

bool GzipFile::read_line(std::string& line) {
  if (!std::getline(*this, line)) return false;
  constexpr std::string_view mark = "\xEF\xBB\xBF";
  if (n_lines_++ == 0 && line.compare(0, mark.size(), mark) == 0) line.erase(0, mark.size());
  return true;
}

bool RecordReader::next(Fields& fields) {
  do {
    if (!read_line(record_)) return false;
  } while (record_.empty() || record_ == "\r");
  const bool first = count_ == 0;
  for (const char c : {'\t', ',', ';'}) {
    if (first) separator_ = c;
    divide(fields);
    if (!first || fields.size() > 1) break;
  }
  if (first) count_ = fields.size();
  if (fields.size() != count_)
    throw Error(where(), ": has ", fields.size(), " fields: expected ", count_,
                ", as in the first line");
  return true;
}

void RecordReader::divide(Fields& fields) {
  fields.clear();
  if (record_.find('"') != record_.npos) {
    divide_quoted(fields);
    return;
  }
  std::string_view rest = record_;
  if (rest.back() == '\r') rest.remove_suffix(1);
  for (size_t at; (at = rest.find(separator_)) != rest.npos; rest.remove_prefix(at + 1))
    fields.push_back(rest.substr(0, at));
  fields.push_back(rest);
}

/// Reads on where a quoted field has further lines.
void RecordReader::divide_quoted(Fields& fields) {
  const std::string first = where();
  std::string more;
  std::vector<size_t> ends;
  bool quoted = false, starts = true;
  unquoted_.clear();
  for (size_t at = 0; at < record_.size() || quoted; ++at) {
    if (at == record_.size()) {
      if (!read_line(more))
        throw Error(first, ": a quotation mark begins a field that has no end: expected another "
                    "after it");
      record_ += '\n' + more;
    }
    const char c = record_[at], after = at + 1 < record_.size() ? record_[at + 1] : '\0';
    const bool ends_line = c == '\r' && at + 1 == record_.size(), mark = c == '"';
    if (quoted && mark && after == '"')
      unquoted_ += record_[at++];
    else if (mark && (quoted || starts))
      quoted = !quoted;
    else if (c == separator_ && !quoted)
      ends.push_back(unquoted_.size());
    else if (quoted || !ends_line)
      unquoted_ += c;
    starts = c == separator_ && !quoted;
  }
  ends.push_back(unquoted_.size());
  const std::string_view all = unquoted_;
  size_t begin = 0;
  for (const size_t stop : ends) {
    fields.push_back(all.substr(begin, stop - begin));
    begin = stop;
  }
}

std::string tsv_field(std::string_view text) {
  if (text.find_first_of("\t\"\r\n") == text.npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

}  // namespace bm3
