#include "model/batch.h"

#include <algorithm>

namespace bm3 {
namespace {

size_t padded(size_t n, size_t to) { return (n + to - 1) / to * to; }

/// Numbers the distinct values of `key(k)`, k < size, by first occurrence: rows[k'] = value, and
/// row_of[value] = k'. Returns how many there are.
template <class Key>
size_t number_rows(int32_t* rows, std::vector<int32_t>& row_of, size_t size, const Key& key) {
  size_t n = 0;
  for (size_t k = 0; k < size; ++k) {
    int32_t& row = row_of[static_cast<size_t>(key(k))];
    if (row >= 0) continue;
    rows[n] = key(k);
    row = static_cast<int32_t>(n++);
  }
  return n;
}

/// Groups pairs by row: begin [n + 1] and target [size], in the order of the pairs.
template <class Row, class Target>
void group(int32_t* begin, int32_t* targets, size_t n, size_t size, const Row& row,
           const Target& target) {
  std::fill(begin, begin + n + 1, 0);
  for (size_t k = 0; k < size; ++k) ++begin[row(k) + 1];
  for (size_t r = 0; r < n; ++r) begin[r + 1] += begin[r];
  for (size_t k = 0; k < size; ++k) targets[begin[row(k)]++] = target(k);
  for (size_t r = n; r > 0; --r) begin[r] = begin[r - 1];
  begin[0] = 0;
}

}  // namespace

BatchLoader::BatchLoader(Device& device, int64_t n_users, int64_t n_items, size_t max_size)
    : device_(device),
      n_users_(n_users),
      max_users_(padded(std::min(max_size, static_cast<size_t>(n_users)), device.row_padding())),
      max_items_(padded(std::min(max_size, static_cast<size_t>(n_items)), device.row_padding())),
      row_of_user_(static_cast<size_t>(n_users), -1),
      row_of_item_(static_cast<size_t>(n_items), -1),
      before_(max_items_, -1),
      host_(2 * max_users_ + 4 * max_items_ + 2 + 2 * max_size),
      memory_(device, 2 * host_.size()) {}

Batch BatchLoader::load(const Interaction* pairs, size_t size, size_t slot) {
  // Fixed places, so that every batch of the same sizes lies in the same memory.
  const size_t items = max_users_ + max_items_, carried = items + max_items_;
  const size_t by_user = carried + max_items_, by_item = by_user + max_users_ + 1;
  const size_t user_targets = by_item + max_items_ + 1;
  const size_t item_targets = user_targets + (host_.size() - user_targets) / 2;
  int32_t* const h = host_.data();
  std::fill(h, h + by_user, -1);

  const auto user = [&](size_t k) { return pairs[k].user; };
  const auto item = [&](size_t k) { return pairs[k].item; };
  const auto user_row = [&](size_t k) { return row_of_user_[static_cast<size_t>(user(k))]; };
  const auto item_row = [&](size_t k) { return row_of_item_[static_cast<size_t>(item(k))]; };
  const size_t distinct_users = number_rows(h, row_of_user_, size, user);
  const size_t distinct_items = number_rows(h + items, row_of_item_, size, item);
  const size_t n_users = padded(distinct_users, device_.row_padding());
  const size_t n_items = padded(distinct_items, device_.row_padding());
  for (size_t r = 0; r < distinct_items; ++r)
    h[n_users + r] = static_cast<int32_t>(n_users_) + h[items + r];
  group(h + by_user, h + user_targets, n_users, size, user_row, item_row);
  group(h + by_item, h + item_targets, n_items, size, item_row, user_row);
  for (size_t r = 0; r < max_items_; ++r)
    if (before_[r] >= 0) h[carried + r] = row_of_item_[static_cast<size_t>(before_[r])];
  std::copy_n(h + items, max_items_, before_.begin());
  for (size_t k = 0; k < size; ++k)
    row_of_user_[static_cast<size_t>(user(k))] = row_of_item_[static_cast<size_t>(item(k))] = -1;

  int32_t* const m = memory_.data() + slot * host_.size();
  device_.upload(m, h, host_.size() * sizeof(int32_t));
  return {size,      n_users, n_items, m, m + n_users, m + items,
          {n_users, m + by_user, m + user_targets},
          {n_items, m + by_item, m + item_targets},
          m + carried, slot};
}

}  // namespace bm3
