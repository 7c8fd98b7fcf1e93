// The reader of .inter files: what it accepts, what it refuses and in which words.
#include "data/inter.h"
#include "scratch.h"

namespace bm3::test {
namespace {

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
  constexpr int n_users = 400, n_items = 20;
  for (int k = 0; k < n_users * n_items; ++k)
    text += std::to_string(k / n_items) + '\t' + std::to_string(k % n_items) + '\n';
  const auto one = parse(text, 1), again = parse(text, 1), other = parse(text, 2);
  EXPECT_EQ(inter_text(one), inter_text(again));
  EXPECT_NE(inter_text(one), inter_text(other));
  // Each place of a user's list is drawn equally often: 2 of 20, 400 times, in both parts.
  for (const auto* part : {&one.valid, &one.test}) {
    EXPECT_EQ(part->size(), 800U);
    std::vector<double> drawn(n_items);
    for (const auto& [user, item] : *part) ++drawn[static_cast<size_t>(item)];
    double chi2 = 0;  // 19 degrees of freedom: above 43.8 once in 1000 seeds, and this one is fixed
    for (double n : drawn) chi2 += (n - 40) * (n - 40) / 40;
    EXPECT_TRUE(chi2 < 43.8) << chi2;
  }
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
