// Records of text files, and maps of original ids.
#include "data/dataset.h"
#include "data/import.h"
#include "data/lines.h"
#include "gzip.h"
#include "scratch.h"
#include "text.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// ------------------------------------------------------------------------------------- records

/// The records of a text, with | between fields, and the line where each ends.
Words records_of(const fs::path& path) {
  RecordReader reader(path, "a test");
  Words out;
  for (Fields fields; reader.next(fields);) {
    std::string record;
    for (const auto& field : fields) record += "|" + std::string(field);
    out.push_back(record.substr(1) + reader.where().substr(path.string().size()));
  }
  return out;
}

const std::pair<std::string, Words> texts[] = {
    {"", {}},
    {"\n\r\n", {}},
    {"a,b\n,\n", {"a|b:1", "|:2"}},
    {"\xEF\xBB\xBF" "a,b\r\n\r\nc d, e \r\n", {"a|b:1", "c d| e :3"}},
    {"a;b\nc;d,e", {"a|b:1", "c|d,e:2"}},
    {"a\tb,c;d\n1\t2", {"a|b,c;d:1", "1|2:2"}},
    {"\"a,\"\"b\"\"\",\"\"\n\"\",x\"y\"\n", {"a,\"b\"|:1", "|x\"y\":2"}},
    {"\"two\r\nlines\"\tb\r\nc\td\n", {"two\r\nlines|b:2", "c|d:3"}},
    {"\"tab\tid\",\"semi;colon\"\n\t,;\n", {"tab\tid|semi;colon:1", "\t|;:2"}},
    {"\"a\"b,\"c\"\r\n", {"ab|c:1"}},
    {"one\n\"two\"\n", {"one:1", "two:2"}}};

TEST(Records, AreFieldsBetweenSeparatorsAndQuotes) {
  const ScratchFolder folder;
  for (const auto& [text, expected] : texts) {
    EXPECT_EQ(records_of(write_file(folder / "plain", text)), expected) << text;
    EXPECT_EQ(records_of(write_file(folder / "x.gz", gzip(text))), expected) << text;
  }
}

TEST(Records, OfAnyLengthAreWhole) {
  const ScratchFolder folder;
  const std::string wide(3000000, 'x');  // longer than any buffer
  const std::string text = wide + ",1\n\"" + wide + "\n" + wide + "\",2\n3,4";
  for (const std::string& bytes : {text, gzip(text)})
    EXPECT_EQ(records_of(write_file(folder / "x", bytes)),
              (Words{wide + "|1:1", wide + "\n" + wide + "|2:3", "3|4:4"}));
}

TEST(Records, RefuseWhatIsNotWhole) {
  const ScratchFolder folder;
  const std::string whole = gzip("a,b\n" + std::string(1000, 'x')), x = (folder / "x").string();
  const auto message = [&](const std::string& bytes) {
    return error_of([&] { records_of(write_file(x, bytes)); });
  };
  EXPECT_EQ(message("a,b\n\"c,d\ne,f\n"),
            x + ":2: a quotation mark begins a field that has no end: expected another after it");
  const std::string unreadable = ": expected a whole file, plain or compressed by gzip";
  EXPECT_EQ(message(whole.substr(0, whole.size() / 2)),
            "cannot read " + x + " (it ends too early)" + unreadable);
  std::string damaged = whole;
  damaged[whole.size() - 6] ^= 1;  // of the checksum
  EXPECT_EQ(message(damaged), "cannot read " + x + " (it is damaged)" + unreadable);
  EXPECT_ERROR(records_of(folder.path()), folder.path().string() + " is not a file: expected a "
                                                                   "test");
}

// ----------------------------------------------------------------------------------------- ids

TEST(IdsTest, AreNumberedInTheOrderInWhichTheyCome) {
  Ids ids;
  EXPECT_EQ(ids.find("x"), -1);
  constexpr int32_t n = 5000;  // the table grows
  for (int round = 0; round < 2; ++round)
    for (int32_t k = 0; k < n; ++k) ASSERT_EQ(ids.number("id " + std::to_string(7 * k)), k);
  EXPECT_EQ(ids.number(""), n);
  EXPECT_EQ(ids.size(), size_t{n} + 1);
  EXPECT_EQ(ids[n - 1], "id " + std::to_string(7 * (n - 1)));
  EXPECT_EQ(ids[0], "id 0");
  EXPECT_EQ(ids.find("id 7"), 1);
  EXPECT_EQ(ids.find("id 8"), -1);
}

TEST(IdsTest, MapsAreReadAsTheyAreWritten) {
  const ScratchFolder folder;
  const Words ids = {"a b", "tab\there", "two\nlines", "\"", "x,y"};
  const auto path = write_file(folder / "map", id_map_text("item_id", "itemID", ids));
  EXPECT_EQ(read_file(path), "item_id\titemID\na b\t0\n\"tab\there\"\t1\n\"two\nlines\"\t2\n"
                             "\"\"\"\"\t3\nx,y\t4\n");
  EXPECT_EQ(read_id_map(path, 5), ids);
  EXPECT_EQ(read_id_map(path, 2), Words(ids.begin(), ids.begin() + 2));
  const auto mmrec = write_file(folder / "i_id_mapping.csv", "asin\titemID\nB2\t1\nB1\t0\n");
  EXPECT_EQ(read_id_map(mmrec, 2), (Words{"B1", "B2"}));
}

TEST(IdsTest, RefuseAMap) {
  const ScratchFolder folder;
  const std::string x = (folder / "x").string(), pair = ": expected an original id and its number",
                    twice = " stands twice: expected each once";
  const std::pair<const char*, std::string> cases[] = {
      {"id\tn\na\t0\nb\n", x + ":3: has 1 fields: expected 2, as in the first line"},
      {"id\tn\na\t-1\n", x + ":2" + pair},
      {"id\tn\n\t0\n", x + ":2" + pair},
      {"id\tn\na\t0\na\t1\n", x + ":3: the id 'a' or the number 1" + twice},
      {"id\tn\na\t0\nb\t0\n", x + ":3: the id 'b' or the number 0" + twice},
      {"id\tn\na\t0\nb\t2\n", x + " has no id of number 1: expected one for each number below 2"}};
  for (const auto& [text, words] : cases) {
    write_file(x, text);
    EXPECT_ERROR(read_id_map(x, 2), words);
  }
}

}  // namespace
}  // namespace bm3::test
