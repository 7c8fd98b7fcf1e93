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
  size_t n_users = 0, n_items = 0;
  std::vector<Interaction> train, valid, test;
  bool drawn = false;  // the split, for want of one in the file
  size_t size() const { return train.size() + valid.size() + test.size(); }
};

/// Reads an .inter file, as data/README.md describes it; without x_label `split_by_user` makes the
/// split by `seed`. Throws, with the line where there is one, for what that forbids, where nothing
/// is left to train on, and as RecordReader and `check_node_count` do.
Interactions read_inter(const std::filesystem::path& path, uint64_t seed);

/// Returns the text of an .inter file with the three columns, part by part.
std::string inter_text(const Interactions& data);

/// Returns a number that other interactions, or the same in another order, most likely lack: a hash
/// by Fowler, Noll and Vo.
uint64_t checksum(const Interactions& data);

/// Throws unless an int32_t can number all nodes of the graph, users and then items, by which the
/// model knows them. `name` stands in the message.
void check_node_count(size_t n_users, size_t n_items, const std::string& name);

/// Splits 8:1:1 by user, as data/README.md says: by `time` (of equal ones in the order of `all`)
/// or, without times, at random by `seed`. Within a part, the order of `all` stays. [4.3]
Interactions split_by_user(size_t n_users, size_t n_items, const std::vector<Interaction>& all,
                           uint64_t seed, const std::function<double(size_t row)>& time = {});

}  // namespace bm3
