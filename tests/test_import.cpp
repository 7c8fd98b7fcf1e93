// Import: ratings in each format, repeated pairs, the core, the split, features.
// ref/check_import.py compares the whole with pandas.
#include <cmath>
#include <numeric>

#include "data/dataset.h"
#include "data/import.h"
#include "data/npy.h"
#include "random.h"
#include "scratch.h"
#include "text.h"

namespace bm3::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// ------------------------------------------------------------------------------------- ratings

/// Ratings as "user item time" between commas, and the lines left out.
std::string shown(const Ratings& ratings) {
  Words rows;
  for (const auto& [user, item, time] : ratings.rows)
    rows.push_back(join({std::string(ratings.users[user]), std::string(ratings.items[item]),
                         shortest(time)}, " "));
  return join(rows, ",") + (ratings.incomplete ? " -" + shortest(ratings.incomplete) : "");
}

struct File {
  std::string text;
  RatingColumns columns;
  bool with_time;
  std::string expected;
};

const File files[] = {
    {"u1,i1,5.0,30\nu2,i1,1.0,20\n", {}, true, "u1 i1 30,u2 i1 20"},  // Amazon's ratings_X.csv
    {"u1,i1,5.0,30\nu2,i1,1.0,20\n", {}, false, "u1 i1 0,u2 i1 0"},
    {"userId,movieId,rating,timestamp\n1,7,5,1e9\n", {}, true, "1 7 1e+09"},
    {"item_id:token\tuser_id:token\ttimestamp:float\na\tb\t2.5\n", {}, true, "b a 2.5"},
    {"userID\titemID\tx_label\n0\t1\t0\n", {}, false, "0 1 0"},
    {"who;what\nu;i\n", {"who", "what", ""}, false, "u i 0"},
    {"who,what,asin\nu,i,x\n", {"who", "what", ""}, false, "u i 0"},
    {"a:token,b:token\nu,i\n", {"a", "b:token", ""}, false, "u i 0"},
    {"3,i,u\n2,j,u\n", {"3", "2", "1"}, true, "u i 3,u j 2"},
    {"user,item,time\nu,i,3\n,i,3\nu,,3\nu,i,\nv,i,4\n", {}, true, "u i 3,v i 4 -3"},
    {"user,item\n\"a,b\",\" c \"\r\n\"a,b\",d\r\n", {}, false, "a,b  c  0,a,b d 0"},
    {"{\"reviewerID\": \"A\", \"asin\": \"B\", \"unixReviewTime\": 5, \"x\": [1]}\n\n"
     "{\"asin\": \"C\", \"reviewerID\": \"\\u00e9\\\"\", \"unixReviewTime\": \"6\"}\n",
     {}, true, "A B 5,é\" C 6"},
    {"{\"u\": 1, \"i\": 2.5}\n{\"u\": null, \"i\": 3}\n{\"i\": 3}\r\n", {"u", "i", ""}, false,
     "1 2.5 0 -2"}};

TEST(RatingsTest, AreReadInEveryFormat) {
  const ScratchFolder folder;
  for (const auto& [text, columns, with_time, expected] : files)
    for (const std::string& bytes : {text, gzip(text), "\xEF\xBB\xBF" + text})
      EXPECT_EQ(shown(read_ratings(write_file(folder / "x", bytes), columns, with_time)), expected)
          << text;
}

TEST(RatingsTest, RefuseAFile) {
  const ScratchFolder folder;
  const std::string x = (folder / "x").string();
  const std::string or_number = "=NAME, or a number where the first line is a rating";
  const File cases[] = {
      {"", {}, false, x + " has no rating with a user and an item: expected some"},
      {"user,item\n,b\n", {}, false, x + " has no rating with a user and an item: expected some"},
      {"a,b\n1,2\n", {}, false,
       x + ":1: no column of users in 'a b': expected --columns user" + or_number},
      {"a,b,5,x\n", {}, false,
       x + ":1: no column of users in 'a b 5 x': expected --columns user" + or_number},
      {"a,b,1,2\n", {"", "", "9"}, true,
       x + ":1: the column of users is '': expected a number from 1 to 4, or --columns with names "
           "alone"},
      {"user,item\n1,2\n", {}, true,
       x + ":1: no column of times in 'user item': expected --columns time" + or_number},
      {"user,item,a\n", {"", "", "b"}, true,
       x + ":1: no column is named 'b' in 'user item a': expected one with the times"},
      {"user,user\n", {"user", "", ""}, false,
       x + ":1: several columns are named 'user' in 'user user': expected one with the users"},
      {"1,2\n", {"1", "3", ""}, false,
       x + ":1: the column of items is '3': expected a number from 1 to 2, or --columns with names "
           "alone"},
      {"1,2\n", {"1", "0", ""}, false,
       x + ":1: the column of items is '0': expected a number from 1 to 2, or --columns with names "
           "alone"},
      {"user_id:token,b\n", {"1", "2", ""}, false,
       x + ":1: names stand in 'user_id:token b': expected --columns with names instead of "
           "numbers"},
      {"user,item\n1,2\n1,2,3\n", {}, false,
       x + ":3: has 3 fields: expected 2, as in the first line"},
      {"user,item,time\n1,2,now\n", {}, true, x + ":2: the time is 'now': expected a number"},
      {"user,item,time\n1,2,nan\n", {}, true, x + ":2: the time is 'nan': expected a number"},
      {"{\"user\": 1, \"item\": 2}\n[1]\n", {}, false,
       x + ":2: expected a JSON object, as in the first line"},
      {"{'user': 1}\n", {}, false, x + ":1: expected a JSON object, as in the first line"},
      {"{\"user\": 1}\n", {}, false,
       x + ":1: no column of items in 'user': expected --columns item" + or_number},
      {"{\"user\": [1], \"item\": 2}\n", {}, false,
       x + ":1: 'user' is '[1]': expected text or a number below 2^63"},
      // As a double it may be another user's.
      {"{\"user\": 18446744073709551617, \"item\": 2}\n", {}, false,
       x + ":1: 'user' is '1.8446744073709552e+19': expected text or a number below 2^63"}};
  EXPECT_ERROR(read_ratings(x, {}, false),
               "cannot open " + x + " (No such file or directory): expected a file of ratings");
  for (const auto& [text, columns, with_time, words] : cases) {
    write_file(x, text);
    EXPECT_ERROR(read_ratings(x, columns, with_time), words);
  }
}

// --------------------------------------------------------------------------- merge, core, split

Ratings ratings(const Words& rows) {
  Ratings out;
  for (const auto& row : rows) {
    const auto words = split(row, ' ');
    out.rows.push_back({out.users.number(words[0]), out.items.number(words[1]), 0});
    if (words.size() > 2) parse(words[2], out.rows.back().time);
  }
  return out;
}

TEST(Import, MergesRepeatedPairs) {
  Ratings x = ratings({"b i 5", "a i 9", "b j 1", "b i 3", "a j 2", "b i 4", "a i 9"});
  EXPECT_EQ(merge_repeated(x), 3U);
  EXPECT_EQ(shown(x), "b i 3,a i 9,b j 1,a j 2");
  EXPECT_EQ(merge_repeated(x), 0U);
}

/// With a core of 2: u1 has one item, i1, which then has one user, u2, who then has one item.
TEST(Import, KeepsTheCoreWhoeverFallsOutLater) {
  Ratings x = ratings({"u1 i1", "u2 i1", "u2 i2", "a i2", "a i3", "b i2", "b i3"});
  keep_core(x, 2);
  EXPECT_EQ(shown(x), "a i2 0,a i3 0,b i2 0,b i3 0");
  keep_core(x, 3);
  EXPECT_TRUE(x.rows.empty());
}

/// The label of each of user u's u ratings, of items 0, 1, ..; two at a time, the last items first.
std::vector<std::vector<int>> labels(bool by_time, uint64_t seed) {
  constexpr int n_users = 60;
  std::vector<Interaction> rows;
  for (int k = 0; k < n_users; ++k)
    for (int u = n_users - 1; u > k; --u) rows.push_back({u, k});
  std::function<double(size_t)> time;
  if (by_time) time = [&](size_t row) { return static_cast<double>(-rows[row].item / 2); };
  const Interactions data = split_by_user(n_users, n_users, rows, seed, time);
  std::vector<std::vector<int>> label(n_users);
  for (size_t u = 0; u < label.size(); ++u) label[u].assign(u, -1);
  const std::vector<Interaction>* parts[] = {&data.train, &data.valid, &data.test};
  for (int part = 0; part < 3; ++part)
    for (const auto& [user, item] : *parts[part])
      label[static_cast<size_t>(user)].at(static_cast<size_t>(item)) = part;
  return label;
}

/// The last in time, the first of two first; or of Fisher and Yates' shuffle with Philox's words
/// of (seed, user, place).
TEST(Import, SplitsEightToOneToOneByUser) {
  for (const auto& [by_time, seed] : {std::pair<bool, uint64_t>{true, 1}, {false, 1}, {false, 2}}) {
    const auto label = labels(by_time, seed);
    for (size_t n = 0; n < label.size(); ++n) {
      std::vector<size_t> order(n);
      std::iota(order.begin(), order.end(), size_t{0});
      if (by_time)
        std::stable_sort(order.begin(), order.end(),
                         [](size_t a, size_t b) { return a / 2 > b / 2; });
      for (size_t k = n; k > 1 && !by_time; --k)
        std::swap(order[k - 1],
                  order[philox(seed, Stream::split, static_cast<uint32_t>(n), k).x[0] % k]);
      const size_t held = n < 3 ? 0 : n < 10 ? 2 : n / 5, valid = held / 2;
      for (size_t k = 0; k < n; ++k)
        EXPECT_EQ(label[n][order[k]], k < n - held ? 0 : k < n - held + valid ? 1 : 2) << n;
    }
  }
}

// ------------------------------------------------------------------------------------ features

int32_t item_of(std::string_view id) { return id == "B00000000x" ? 0 : id == "b c" ? 2 : -1; }

std::string bytes_of(const std::vector<float>& values) {
  return std::string(npy_bytes(values.data(), values.size()));
}

TEST(ItemFeaturesTest, AreReadInEveryFormat) {
  const ScratchFolder folder;
  const std::string csv = "id,one,two\nB00000000x,1, 2\nother,5,6\n\"b c\",3,1e1\n";
  const auto npy = write_file(folder / "m.npy", npy_header(3, 2) + bytes_of({1, 2, 5, 6, 3, 10}));
  write_file(folder / "ids", "B00000000x\r\nother\r\nb c\r\n");
  const FeatureSource sources[] = {
      {"m", write_file(folder / "m.csv", csv), ""},
      {"m", write_file(folder / "m.b.txt", csv), ""},  // no .b file
      {"m", write_file(folder / "m.csv.gz", gzip(csv.substr(11))), ""},  // without names
      {"m", npy, folder / "ids"}};
  for (const auto& source : sources) {
    const ItemFeatures x = read_item_features(source, 4, item_of);
    EXPECT_EQ(x.dim, 2U);
    EXPECT_EQ(x.rows, (std::vector<float>{1, 2, 2, 6, 3, 10, 2, 6})) << source.file;
    EXPECT_EQ(x.missing, 2U);
  }
  write_file(folder / "m.csv", csv + "b c,7,8\n");
  const ItemFeatures again = read_item_features(sources[0], 3, item_of);
  EXPECT_EQ(again.rows, (std::vector<float>{1, 2, 4, 5, 7, 8}));
}

TEST(ItemFeaturesTest, OfMcAuleysFiles) {
  const ScratchFolder folder;
  std::vector<float> a(4096), b(4096);
  for (size_t c = 0; c < a.size(); ++c) a[c] = static_cast<float>(c), b[c] = -1;
  const std::string bytes = "other     " + bytes_of(b) + "B00000000x" + bytes_of(a);
  for (const auto& path : {write_file(folder / "image_features_X.b", bytes),
                           write_file(folder / "image_features_X.b.gz", gzip(bytes))}) {
    const ItemFeatures x = read_item_features({"image", path, ""}, 2, item_of);
    EXPECT_EQ(x.dim, 4096U);
    EXPECT_EQ(x.missing, 1U);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), x.rows.begin()));
    EXPECT_TRUE(std::equal(a.begin(), a.end(), x.rows.begin() + 4096));  // the mean of one
  }
  const fs::path x = write_file(folder / "x.b", bytes.substr(0, bytes.size() - 1));
  EXPECT_ERROR(read_item_features({"image", x, ""}, 2, item_of),
               x.string() + ": record 1 has 16393 bytes: expected 16394, an id of 10 and 4096 "
                            "float32 numbers");
  a[7] = NAN;
  write_file(x, "B00000000x" + bytes_of(a));
  EXPECT_ERROR(read_item_features({"image", x, ""}, 2, item_of),
               x.string() + ": record 0 has a number that is not finite: expected finite ones");
}

TEST(ItemFeaturesTest, RefuseAFile) {
  const ScratchFolder folder;
  const std::string x = (folder / "x.csv").string(), m = (folder / "m.npy").string(),
                    ids = (folder / "ids").string();
  const auto message = [&](const std::string& text) {
    write_file(x, text);
    return error_of([&] { read_item_features({"x", x, ""}, 3, item_of); });
  };
  const std::string none = " has none of the data set's items: expected features by the items' ids "
                           "in the ratings";
  EXPECT_EQ(message("other,1\n"), x + none);
  EXPECT_EQ(message(""), x + none);
  EXPECT_EQ(message("b c\n"), x + ":1: expected an id and numbers between commas or tabs");
  EXPECT_EQ(message("b c,1\nb c,1,2\n"), x + ":2: has 3 fields: expected 2, as in the first line");
  EXPECT_EQ(message("b c,1,inf\n"), x + ":1: field 3 is 'inf': expected a finite float32 number");
  EXPECT_EQ(message("b c,1e-99\n"), "");  // 0 by float32
  EXPECT_EQ(message("b c,one\n"), x + ":1: field 2 is 'one': expected a finite float32 number");
  write_file(m, npy_header(2, 1) + bytes_of({1, 2}));
  const auto with_ids = [&](const std::string& text) {
    write_file(ids, text);
    return error_of([&] { read_item_features({"m", m, ids}, 3, item_of); });
  };
  EXPECT_EQ(with_ids("b c\n"), ids + " has 1 ids: expected 2, one for each row of " + m);
  EXPECT_EQ(with_ids("b c\nd\ne\n"),
            ids + " has 3 ids: expected 2, one for each row of " + m);
  write_file(m, npy_header(0, 100000000000000000));
  EXPECT_EQ(with_ids("b c\n"), ids + " has 1 ids: expected 0, one for each row of " + m);
}

// ---------------------------------------------------------------------------------- the data set

TEST(Import, WritesADataSetWithMaps) {
  const ScratchFolder folder;
  // Three users with four items each; "x" falls out with its item.
  std::string text = "who,what\nx,i9\n";
  for (const char* user : {"u 2", "u1", "\"q\"\"\""})
    for (int k = 3; k >= 0; --k) text += std::string(user) + ",i" + std::to_string(k) + "\n";
  ImportSpec spec;
  spec.ratings = write_file(folder / "r.csv", text + "u1,i0\n,i0\n");
  spec.columns = {"who", "what", ""};
  spec.core = 3;
  spec.features = {{"sound", write_file(folder / "s.csv", "i3,1\ni1,2\ni0,6\n"), ""}};
  Words told;
  const auto tell = [&](const std::string& line) { told.push_back(line); };
  import_dataset(spec, "toy", folder / "data", tell);
  EXPECT_EQ(names_below(folder / "data/toy"),
            (Words{"item_ids.tsv", "sound_feat.npy", "toy.inter", "user_ids.tsv"}));
  EXPECT_EQ(told, (Words{"ratings      14 of 4 users and 5 items; 1 repeat a pair and are merged, "
                         "1 lines lack a user or an item and are left out",
                         "core         1 ratings fall out, of users or items with fewer than 3",
                         "split        3 users, 4 items; 6 interactions for training, 3 for "
                         "validation, 3 for test, by seed 999",
                         "features     sound: 1-d; 1 of 4 items without features, which get the "
                         "mean of the others"}));
  const Dataset data = load_dataset(folder / "data", "toy", 1);
  EXPECT_EQ(data.user_ids, (Words{"u 2", "u1", "q\""}));
  EXPECT_EQ(data.item_ids, (Words{"i3", "i2", "i1", "i0"}));
  EXPECT_FALSE(data.interactions.drawn);
  std::vector<float> sound(4);
  data.modalities.at(0).read_rows(0, 4, sound.data());
  EXPECT_EQ(sound, (std::vector<float>{1, 3, 2, 6}));
}

TEST(Import, LeavesNothingWhereItFails) {
  const ScratchFolder folder;
  ImportSpec spec;
  spec.ratings = write_file(folder / "r.csv", "user,item\na,i\nb,i\na,j\n");
  const std::string r = spec.ratings.string();
  const auto message = [&] {
    return error_of([&] { import_dataset(spec, "toy", folder.path(), [](const auto&) {}); });
  };
  EXPECT_EQ(message(), r + " has no user and item left with 5 ratings each: expected a smaller "
                           "--core");
  spec.core = 1;
  EXPECT_EQ(message(), r + " leaves no user with three ratings: expected some, to split 8:1:1");
  write_file(spec.ratings, "user,item\na,i\na,k\na,j\n");
  spec.features = {{"sound", write_file(folder / "s.csv", "z,1\n"), ""}};
  EXPECT_EQ(message(), (folder / "s.csv").string() + " has none of the data set's items: expected "
                       "features by the items' ids in the ratings");
  EXPECT_EQ(names_below(folder.path()), (Words{"r.csv", "s.csv"}));
}

}  // namespace
}  // namespace bm3::test
