#include "layers/batch.h"

#include <algorithm>

namespace bm3 {
namespace {

size_t padded(size_t n, size_t to) { return (n + to - 1) / to * to; }

constexpr int32_t unknown = INT32_MAX;

/// Numbers the values of `key(k)`, k < size, that row_of does not know yet, by first occurrence:
/// rows[n..] = value, row_of[value] = its place; of[k] = that of key(k). Returns how many there are
/// now, n at first. New or not: no branch, which would often be mispredicted.
template <class Key>
size_t number_rows(int32_t* rows, std::vector<int32_t>& row_of, int32_t* of, size_t n, size_t size,
                   const Key& key) {
  auto next = static_cast<int32_t>(n);
  for (size_t k = 0; k < size; ++k) {
    const int32_t value = key(k);
    int32_t& row = row_of[static_cast<size_t>(value)];
    const bool is_new = row == unknown;
    of[k] = row = std::min(row, next);
    rows[row] = value;
    next += is_new;
  }
  return static_cast<size_t>(next);
}

/// Groups the pairs k < size by row[k] < n, in their order: begin [n + 1], and put(place, k).
template <class Put>
void group(int32_t* begin, size_t n, size_t size, const int32_t* row, const Put& put) {
  std::fill(begin, begin + n + 1, 0);
  for (size_t k = 0; k < size; ++k) ++begin[row[k]];
  for (size_t r = 0; r < n; ++r) begin[r + 1] += begin[r];  // each row's end
  for (size_t k = size; k-- > 0;) put(--begin[row[k]], k);
}

}  // namespace

BatchLoader::BatchLoader(Device& device, size_t n_users, size_t n_items, size_t max_size,
                         bool negatives)
    : device_(device),
      n_users_(n_users),
      max_size_(max_size),
      max_users_(padded(std::min(max_size, n_users), device.row_padding())),
      max_items_(padded(std::min(max_size * (negatives ? 2 : 1), n_items), device.row_padding())),
      negatives_(negatives),
      row_of_user_(n_users, unknown),
      row_of_item_(n_items, unknown),
      user_row_(max_size),
      item_row_(max_size),
      negative_row_(max_size),
      edge_(max_size),
      host_(1 + 2 * max_users_ + 4 * max_items_ + 3 + 6 * max_size),
      memory_(device, host_.size()),
      step_(reinterpret_cast<uint32_t*>(memory_.data())) {}

void BatchLoader::set_step(size_t t) {
  const auto step = static_cast<uint32_t>(t);
  device_.upload(step_, &step, sizeof step);
}

Batch BatchLoader::load(size_t t, const Interaction* pairs, const int32_t* negatives,
                        size_t size) {
  // Fixed places, so that every batch of the same sizes lies in the same memory.
  size_t taken = 1;  // step_
  const auto take = [&](size_t n) { return std::exchange(taken, taken + n); };
  const size_t nodes = take(max_users_ + max_items_), items = take(max_items_);
  const size_t by_user = take(max_users_ + 1), by_item = take(max_items_ + 1);
  const size_t by_negative = take(max_items_ + 1), positive = take(max_size_);
  const size_t user = take(max_size_), edge = take(max_size_), negative = take(max_size_);
  const size_t n_user = take(max_size_), n_edge = take(max_size_);
  int32_t *const h = host_.data(), *const at = memory_.data();
  h[0] = static_cast<int32_t>(t);

  const auto user_of = [&](size_t k) { return pairs[k].user; };
  const auto item_of = [&](size_t k) { return pairs[k].item; };
  const auto negative_of = [&](size_t k) { return negatives[k]; };
  const size_t users = number_rows(h + nodes, row_of_user_, user_row_.data(), 0, size, user_of);
  size_t distinct = number_rows(h + items, row_of_item_, item_row_.data(), 0, size, item_of);
  if (negatives_)
    distinct = number_rows(h + items, row_of_item_, negative_row_.data(), distinct, size,
                           negative_of);
  const size_t n_users = padded(users, device_.row_padding());
  const size_t n_items = padded(distinct, device_.row_padding());
  std::fill(h + nodes + users, h + nodes + n_users + n_items, -1);
  std::fill(h + items + distinct, h + items + n_items, -1);
  for (size_t r = 0; r < distinct; ++r)
    h[nodes + n_users + r] = static_cast<int32_t>(n_users_) + h[items + r];

  group(h + by_user, n_users, size, user_row_.data(), [&](int32_t place, size_t k) {
    edge_[k] = place;
    h[positive + static_cast<size_t>(place)] = item_row_[k];
    if (negatives_) h[negative + static_cast<size_t>(place)] = negative_row_[k];
  });
  const auto put_to = [&](size_t targets, size_t edges) {
    return [=](int32_t place, size_t k) {
      h[targets + static_cast<size_t>(place)] = user_row_[k];
      h[edges + static_cast<size_t>(place)] = edge_[k];
    };
  };
  group(h + by_item, n_items, size, item_row_.data(), put_to(user, edge));
  if (negatives_)
    group(h + by_negative, n_items, size, negative_row_.data(), put_to(n_user, n_edge));
  for (size_t k = 0; k < users; ++k) row_of_user_[static_cast<size_t>(h[nodes + k])] = unknown;
  for (size_t k = 0; k < distinct; ++k) row_of_item_[static_cast<size_t>(h[items + k])] = unknown;
  device_.upload(at, h, (negatives_ ? taken : negative) * sizeof(int32_t));

  Batch batch;
  batch.size = size;
  batch.step = step_;
  batch.users = {at + nodes, n_users};
  batch.items = {at + items, n_items};
  batch.nodes = {at + nodes, n_users + n_items};
  batch.by_user = {n_users, at + by_user, at + positive};
  batch.by_item = {n_items, at + by_item, at + user, at + edge};
  if (negatives_) {
    batch.by_negative = {n_items, at + by_negative, at + n_user, at + n_edge};
    batch.triples = {batch.by_user, at + negative};
  }
  return batch;
}

}  // namespace bm3
