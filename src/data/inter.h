#pragma once
// Interactions in MMRec's layout: a tab-separated file with a header.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace bm3 {

struct Interaction {
  int32_t user, item;
};

/// The split of a data set: numbers are 0 .. n_users - 1 and 0 .. n_items - 1; no pair occurs
/// twice.
struct Interactions {
  int64_t n_users = 0, n_items = 0;
  std::vector<Interaction> train, valid, test;
  bool drawn = false;  // the split, for want of one in the file
  size_t size() const { return train.size() + valid.size() + test.size(); }
};

/// Reads an .inter file: records as RecordReader reads them, of the header's columns userID and
/// itemID, blanks around them aside, in any order; others are ignored. x_label (0 train, 1
/// validation, 2 test) is the split; without it `split_by_seed` makes one.
/// Throws, with the line: a column missing, there twice, or nearly named as one of the three; a
/// field too many or too few; what is no number, or negative; another x_label; a pair that occurs
/// twice. Throws for a number of 1000 + 10 * (number of interactions) or more (a slip that would
/// allocate that many rows), where nothing is left to train on, and as `check_node_count` does.
Interactions read_inter(const std::filesystem::path& path, uint64_t seed);

/// Returns the text of an .inter file with the three columns, part by part.
std::string inter_text(const Interactions& data);

/// Returns a number that other interactions, or the same in another order, most likely lack: a hash
/// by Fowler, Noll and Vo.
uint64_t checksum(const Interactions& data);

/// Throws unless an int32_t can number all nodes of the graph, users and then items, by which the
/// model knows them. `name` stands in the message.
void check_node_count(int64_t n_users, int64_t n_items, const std::string& name);

/// Shuffles a user's rows, drawn from (seed, user) (Fisher and Yates).
void shuffle_rows(std::vector<size_t>& rows, uint64_t seed, size_t user);

/// Splits interactions by user: `order` puts the rows of one user in order; part_of(k, n) says
/// where the k-th of n goes: 0 training, 1 validation, 2 test. Within a part, the order of `all`
/// stays.
Interactions split_by_user(int64_t n_users, int64_t n_items, const std::vector<Interaction>& all,
                           const std::function<void(std::vector<size_t>& rows, size_t user)>& order,
                           const std::function<size_t(size_t k, size_t n)>& part_of);

/// 8:1:1 per user, at random by `seed`: of a user's n interactions, floor(n / 10 + 1/2) but at
/// least one of three or more go to validation, as many to test, the rest to training. [4.3]
Interactions split_by_seed(int64_t n_users, int64_t n_items, const std::vector<Interaction>& all,
                           uint64_t seed);

}  // namespace bm3
