// Readers of text: records, maps of original ids, and .inter files, what they accept, what they
// refuse and in which words.
#include "data/dataset.h"
#include "data/import.h"
#include "data/inter.h"
#include "data/lines.h"
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

// --------------------------------------------------------------------------------- .inter files

Interactions parse(const std::string& text, uint64_t seed = 1) {
  const ScratchFolder folder;
  return read_inter(write_file(folder / "x.inter", text), seed);
}

/// What the text is refused with, from the file's name on.
std::string message(const std::string& text) {
  const std::string all = error_of([&] { parse(text); });
  return all.empty() ? "" : all.substr(all.find("x.inter"));
}

TEST(Inter, ReadsColumnsInAnyOrderAndLineEndsOfBothKinds) {
  const std::string three = "userID\titemID\tx_label\n0\t5\t0\n0\t7\t1\n2\t11\t0\n2\t5\t2";
  std::string crlf;
  for (char c : three) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  for (const std::string& text :
       {three, crlf, "\xEF\xBB\xBF" + three, std::string(three).replace(0, 6, " userID  "),
        std::string(three).replace(14, 7, "x_label "),
        std::string("rating\tx_label\titemID\ttimestamp\tuserID\tuser_id\n"
                    "5.0\t0\t5\t1\t0\tA\n\t1\t7\tyesterday\t0\tA\n-1\t0\t11\t\t2\t\n"
                    "4\t2\t5\t9\t2\tB")})
    for (const char* end : {"", "\n", "\r\n", "\n\n", "\r\n\r\n\n"})
      EXPECT_EQ(inter_text(parse(text + end)),
                "userID\titemID\tx_label\n0\t5\t0\n2\t11\t0\n0\t7\t1\n2\t5\t2\n");
}

/// By `split_by_user`, which test_import.cpp proves.
TEST(Inter, DrawsTheSplitBySeed) {
  std::string text = "userID\titemID\n";
  for (int k = 0; k < 100; ++k)
    text += std::to_string(k / 20) + '\t' + std::to_string(k % 20) + '\n';
  EXPECT_EQ(inter_text(parse(text, 1)), inter_text(parse(text, 1)));
  EXPECT_NE(inter_text(parse(text, 1)), inter_text(parse(text, 2)));
}

TEST(Inter, CountsNumbersThatDoNotOccur) {
  const Interactions data = parse("userID\titemID\tx_label\n7\t900\t0\n7\t3\t1\n9\t3\t2\n");
  EXPECT_EQ(data.n_users, 10U);
  EXPECT_EQ(data.n_items, 901U);
}

TEST(Inter, RefusesAFile) {
  const std::string names = ": expected tab-separated names with userID and itemID",
                    head = "userID\titemID\tx_label\n",
                    empty = " split empty: expected at least one interaction",
                    meant = " in the header: did you mean ",
                    once = ": expected each pair once (`bm3 import` merges them)";
  const std::pair<std::string, std::string> cases[] = {
      {"", " is empty: expected a header line and interactions"},
      {"\n\r\n\n", " is empty: expected a header line and interactions"},
      {"userID\tx_label\n0\t1\n", ":1: no column itemID in the header 'userID x_label'" + names},
      {"0\t1\t0\n", ":1: no column userID in the header '0 1 0'" + names},
      {"userID itemID\n0 1\n", ":1: no column userID in the header 'userID itemID'" + names},
      {"userID\titemID\tuserID\n0\t1\t2\n", ":1: the column userID stands twice: expected it once"},
      {"userID\titemID\tX_Label\n", ":1: 'X_Label'" + meant + "x_label?"},
      {"userID\titemID\t x-label \n", ":1: 'x-label'" + meant + "x_label?"},
      {"user_id\titemID\n", ":1: 'user_id'" + meant + "userID?"},
      {"userID\tItem ID\n", ":1: 'Item ID'" + meant + "itemID?"},
      {"user_id:token\titem_id:token\n", ":1: 'user_id:token'" + meant + "userID?"},
      {"userID\titem_id:token\n", ":1: 'item_id:token'" + meant + "itemID?"},
      {"userID\titemID\r0\t1\r0\t2\r", ":1: no column itemID in the header 'userID itemID 0 1 0 "
                                           "2'" + names},
      {"userID\titemID\n9\t9\n1\t1\n9\t9\n1\t1\n9\t9\n",
       ":4: user 9 and item 9 stand in an earlier line (such lines: 3)" + once},
      {"userID\titemID\n0\t" + std::string(1000, '\x1b') + "\n",  // one line, and a short one
       ":2: itemID is '" + std::string(40, ' ') +
           "...': expected a whole number from 0"},
      {"userID\titemID\n0\t1010\n",
       " has numbers up to 1010: expected them below 1010 (1000 + 10 * 1 interactions)"},
      {"userID\titemID\n2147483647\t1\n",
       " has numbers up to 2147483647: expected them below 1010 (1000 + 10 * 1 interactions)"},
      {head, " leaves the training (x_label 0)" + empty},
      {head + "0\t0\t1\n0\t1\t2\n", " leaves the training (x_label 0)" + empty},
      {"userID\titemID\n0\t0\n0\t1\n1\t0\n1\t1\n",
       " has no user with three interactions: expected some, to split 8:1:1"}};
  for (const auto& [text, words] : cases) EXPECT_EQ(message(text), "x.inter" + words);
}

TEST(Inter, RefusesALine) {
  const std::string head = "userID\titemID\tx_label\n0\t0\t0\n", tail = "\n1\t0\t1\n1\t1\t2\n",
                    number = ": expected a whole number from 0",
                    label = ": expected 0 (train), 1 (validation) or 2 (test)";
  const std::pair<const char*, std::string> cases[] = {
      {"0\t1", "has 2 fields: expected 3, as in the first line"},
      {"0\t1\t0\t0", "has 4 fields: expected 3, as in the first line"},
      {"zero\t1\t0", "userID is 'zero'" + number},
      {"0\t1.0\t0", "itemID is '1.0'" + number},
      {"0\t\t0", "itemID is ''" + number},
      {"0\t 1\t0", "itemID is ' 1'" + number},
      {"0\t0x1\t0", "itemID is '0x1'" + number},
      {"-1\t1\t0", "userID is '-1'" + number},
      {"0\t2147483648\t0", "itemID is '2147483648'" + number},
      {"0\t99999999999999999999\t0", "itemID is '99999999999999999999'" + number},
      {"0\t1\t3", "x_label is '3'" + label},
      {"0\t1\t-1", "x_label is '-1'" + label},
      {"0\t1\ttrain", "x_label is 'train'" + label},
      {"0\t0\t1", "user 0 and item 0 stand in an earlier line (such lines: 1): expected each "
                   "pair once (`bm3 import` merges them)"}};
  for (const auto& [line, words] : cases)
    EXPECT_EQ(message(head + line + tail), "x.inter:3: " + words) << line;
  EXPECT_EQ(message(head + "\n0\t1039\t0" + tail), "");  // a blank line is passed over
}

/// A file with so many would be gigabytes.
TEST(Inter, RefusesMoreNodesThanAnInt32Numbers) {
  for (size_t n_users : {size_t{1}, size_t{1} << 30, size_t{INT32_MAX}}) {
    const size_t most = INT32_MAX - n_users;
    EXPECT_ERROR(check_node_count(n_users, most, "x.inter"), "");
    EXPECT_ERROR(check_node_count(n_users, most + 1, "x.inter"),
                 "x.inter has " + std::to_string(n_users) + " users and " +
                     std::to_string(most + 1) +
                     " items: expected at most 2147483647 of both together");
  }
}

}  // namespace
}  // namespace bm3::test
