#include "data/synthetic.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "error.h"
#include "random.h"

namespace bm3 {
namespace {

constexpr size_t core = 5;          // least interactions of a user and of an item
constexpr size_t topic_size = 18;   // items of a topic; the last may have fewer
constexpr double wandering = 0.33;  // a user's share of items of any topic
constexpr double user_power = 1.5, item_power = 2;  // as in `pick`
enum Table : uint32_t { activity, tastes, draws, repairs, looks };

/// Draws for one table, numbered by (row, block).
struct Source {
  uint64_t seed;
  uint32_t table;
  Random4 operator()(size_t row, uint64_t block) const {
    return philox(seed, static_cast<uint32_t>(Stream::synthetic) + table,
                  static_cast<uint32_t>(row), block);
  }
};

/// Returns one of 0 .. n - 1, the first ones more often: k with a density of k^(1 / power - 1).
size_t pick(uint32_t word, size_t n, double power) {
  return static_cast<size_t>(static_cast<double>(n) * std::pow(uniform01(word), power));
}

/// Draws how many interactions each user has: `core`, and the rest by a power law.
std::vector<size_t> activities(const SyntheticSpec& spec) {
  const size_t most = spec.n_items / 2;
  std::vector<size_t> count(spec.n_users, core);
  size_t left = spec.n_interactions - core * spec.n_users;
  for (uint64_t draw = 0; left > 0; ++draw) {
    const Random4 r = Source{spec.seed, activity}(0, draw);
    size_t& n = count[pick(r.x[0], count.size(), user_power)];
    if (n < most) ++n, --left;
  }
  return count;
}

/// Draws n different items for a user, in the order of the draws.
std::vector<size_t> draw_items(const SyntheticSpec& spec, size_t user, size_t n) {
  const size_t n_topics = (spec.n_items + topic_size - 1) / topic_size;
  const Random4 taste = Source{spec.seed, tastes}(user, 0);
  std::vector<size_t> chosen;
  std::unordered_set<size_t> known;
  for (uint64_t draw = 0; chosen.size() < n; ++draw) {
    const Random4 r = Source{spec.seed, draws}(user, draw);
    const size_t first = topic_size * pick(taste.x[r.x[1] % 3], n_topics, item_power),
                 size = std::min(topic_size, spec.n_items - first),
                 liked = first + pick(r.x[2], size, item_power),
                 item = uniform01(r.x[0]) < wandering ? r.x[3] % spec.n_items : liked;
    if (known.insert(item).second) chosen.push_back(item);
  }
  return chosen;
}

/// Gives every item `core` interactions: one that lacks some takes the place of a frequent one.
void repair(const SyntheticSpec& spec, std::vector<std::vector<size_t>>& chosen) {
  std::vector<size_t> count(spec.n_items);
  for (const auto& items : chosen)
    for (const size_t item : items) ++count[item];
  for (size_t item = 0; item < count.size(); ++item)
    for (uint64_t draw = 0; count[item] < core; ++draw) {
      const Random4 r = Source{spec.seed, repairs}(item, draw);
      auto& own = chosen[r.x[0] % chosen.size()];
      size_t& place = own[r.x[1] % own.size()];
      if (count[place] <= core || std::count(own.begin(), own.end(), item)) continue;
      --count[place];
      ++count[item];
      place = item;
    }
}

}  // namespace

Interactions synthesise(const SyntheticSpec& spec) {
  const size_t least = core * std::max(spec.n_users, spec.n_items);
  const size_t most = spec.n_users * (spec.n_items / 4);
  if (spec.n_users < 2 * core || spec.n_items < 8 * core || spec.n_interactions < least ||
      spec.n_interactions > most || spec.n_users > INT32_MAX / 2 || spec.n_items > INT32_MAX / 2)
    throw Error("cannot make ", spec.n_interactions, " interactions of ", spec.n_users,
                " users and ", spec.n_items, " items: expected at least 10 users, 40 items, five "
                "interactions for each, and at most users * items / 4");
  const std::vector<size_t> count = activities(spec);
  std::vector<std::vector<size_t>> chosen;
  for (size_t u = 0; u < count.size(); ++u) chosen.push_back(draw_items(spec, u, count[u]));
  repair(spec, chosen);
  std::vector<Interaction> all;
  for (size_t u = 0; u < chosen.size(); ++u)
    for (const size_t item : chosen[u])
      all.push_back({static_cast<int32_t>(u), static_cast<int32_t>(item)});
  return split_by_user(spec.n_users, spec.n_items, all, spec.seed);
}

void synthetic_features(const SyntheticSpec& spec, size_t modality, size_t first, size_t count,
                        float* out) {
  const double noise = spec.modalities[modality].noise;
  const size_t columns = spec.modalities[modality].dim;
  const uint32_t table = looks + 2 * static_cast<uint32_t>(modality);
  const double scale = std::sqrt(12.0);  // a uniform number's variance is 1 / 12
#pragma omp parallel for schedule(static)
  for (size_t r = 0; r < count; ++r) {
    const size_t item = first + r;
    for (size_t c = 0; c < columns; c += 4) {
      const Random4 of_topic = Source{spec.seed, table}(item / topic_size, c / 4),
                    own = Source{spec.seed, table + 1}(item, c / 4);
      for (size_t lane = 0; lane < std::min<size_t>(4, columns - c); ++lane)
        out[r * columns + c + lane] =
            static_cast<float>(scale * (uniform01(of_topic.x[lane]) - 0.5 +
                                        noise * (uniform01(own.x[lane]) - 0.5)));
    }
  }
}

}  // namespace bm3
