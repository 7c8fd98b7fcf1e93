#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "error.h"
#include "random.h"

namespace bm3 {
namespace {

constexpr int64_t core = 5;       // least interactions of a user and of an item
constexpr size_t n_factors = 64;  // of an item and of a taste
constexpr int64_t topic_size = 18;   // items of a topic, on average
constexpr double own_factors = 0.6;  // an item's own part beside its topic's
constexpr double popularity_power = 0.7, sharpness = 1.5, wandering = 0.4;

using Factors = std::array<double, n_factors>;
enum Table : uint32_t { topics, items, users, activity, popularity, draws, repairs, projection };

/// Draws for one table, numbered by (row, block).
struct Source {
  uint64_t seed;
  Table table;
  Random4 operator()(uint32_t row, uint64_t block) const {
    return philox(seed, static_cast<uint32_t>(Stream::synthetic) + table, row, block);
  }
  double uniform(uint32_t row, uint64_t block) const { return uniform01((*this)(row, block).x[0]); }
  /// Mean 0 and variance 1: four uniform numbers' sum, scaled.
  double normal(uint32_t row, uint64_t block) const {
    const Random4 r = (*this)(row, block);
    return (uniform01(r.x[0]) + uniform01(r.x[1]) + uniform01(r.x[2]) + uniform01(r.x[3]) - 2) *
           1.7320508075688772;
  }
};

uint32_t n_topics(const SyntheticSpec& spec) {
  return static_cast<uint32_t>(std::max<int64_t>(1, spec.n_items / topic_size));
}

uint32_t topic_of(const SyntheticSpec& spec, int64_t item) {
  return Source{spec.seed, items}(static_cast<uint32_t>(item), n_factors).x[0] % n_topics(spec);
}

/// An item's latent factors: its topic's, and a smaller part of its own.
Factors item_factors(const SyntheticSpec& spec, int64_t item) {
  const uint32_t topic = topic_of(spec, item);
  Factors f;
  for (size_t k = 0; k < n_factors; ++k)
    f[k] = Source{spec.seed, topics}.normal(topic, k) +
           own_factors * Source{spec.seed, items}.normal(static_cast<uint32_t>(item), k);
  return f;
}

double dot(const Factors& a, const Factors& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Everything that the drawing of interactions looks up.
struct World {
  std::vector<Factors> item;
  std::vector<std::vector<int32_t>> of_topic;   // items
  std::vector<std::vector<double>> cumulative;  // popularity of a topic's items, summed up
  std::vector<double> topic_cumulative;
};

World make_world(const SyntheticSpec& spec) {
  World world;
  world.of_topic.resize(n_topics(spec));
  world.cumulative.resize(n_topics(spec));
  for (int64_t i = 0; i < spec.n_items; ++i) {
    world.item.push_back(item_factors(spec, i));
    const uint32_t topic = topic_of(spec, i);
    // A random rank in (0, 1] gives a power law of popularity.
    const double rank = Source{spec.seed, popularity}.uniform(static_cast<uint32_t>(i), 0);
    auto& sums = world.cumulative[topic];
    sums.push_back((sums.empty() ? 0 : sums.back()) + std::pow(rank + 1e-3, -popularity_power));
    world.of_topic[topic].push_back(static_cast<int32_t>(i));
  }
  for (const auto& sums : world.cumulative)
    world.topic_cumulative.push_back(
        (world.topic_cumulative.empty() ? 0 : world.topic_cumulative.back()) +
        (sums.empty() ? 0 : sums.back()));
  return world;
}

size_t pick(const std::vector<double>& cumulative, double u) {
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), u * cumulative.back());
  return std::min(static_cast<size_t>(at - cumulative.begin()), cumulative.size() - 1);
}

/// A user's taste: two or three topics, by popularity, and a direction among the factors.
struct Taste {
  std::array<size_t, 3> topic;
  Factors direction;
};

Taste taste_of(const SyntheticSpec& spec, const World& world, int64_t user) {
  const Source source{spec.seed, users};
  const auto row = static_cast<uint32_t>(user);
  Taste taste;
  for (size_t k = 0; k < taste.topic.size(); ++k)
    taste.topic[k] = pick(world.topic_cumulative, source.uniform(row, n_factors + k));
  for (size_t k = 0; k < n_factors; ++k)
    taste.direction[k] = sharpness * source.normal(row, k) / std::sqrt(double{n_factors});
  return taste;
}

/// One item by popularity, and but for the share `wandering` times exp(taste . factors) in one of
/// the user's topics, by rejection; `draw` numbers the random words.
int32_t draw_item(const World& world, const Taste& taste, const Source& source, uint32_t user,
                  uint64_t& draw) {
  const bool wander = source.uniform(user, draw++) < wandering;
  for (;;) {
    const Random4 r = source(user, draw++);
    const size_t topic = wander ? pick(world.topic_cumulative, uniform01(r.x[1]))
                                : taste.topic[r.x[1] % taste.topic.size()];
    const int32_t item = world.of_topic[topic][pick(world.cumulative[topic], uniform01(r.x[2]))];
    const double match = dot(taste.direction, world.item[static_cast<size_t>(item)]);
    if (wander || uniform01(r.x[3]) < std::exp(std::min(0.0, match - 2 * sharpness))) return item;
  }
}

/// How many interactions each user has: `core` and a heavy-tailed share of the rest.
std::vector<int64_t> activities(const SyntheticSpec& spec) {
  const auto n = static_cast<size_t>(spec.n_users);
  const int64_t rest = spec.n_interactions - core * spec.n_users;
  const int64_t most = spec.n_items / 2;
  std::vector<double> share(n);
  for (size_t u = 0; u < n; ++u)
    share[u] = std::pow(Source{spec.seed, activity}.uniform(static_cast<uint32_t>(u), 0), -0.6) - 1;
  const double sum = std::accumulate(share.begin(), share.end(), 0.0);
  std::vector<int64_t> count(n, core);
  int64_t left = rest;
  for (size_t u = 0; u < n; ++u) {
    const auto extra = static_cast<int64_t>(static_cast<double>(rest) * share[u] / sum);
    count[u] += std::min({extra, most - core, left});
    left -= count[u] - core;
  }
  for (size_t u = 0; left > 0; u = (u + 1) % n)
    if (count[u] < most) ++count[u], --left;
  return count;
}

/// Gives every item `core` interactions: one that lacks some takes the place of a frequent item in
/// the list of a user who likes its topic.
void repair(const SyntheticSpec& spec, const World& world, const std::vector<Taste>& tastes,
            std::vector<std::vector<int32_t>>& chosen) {
  std::vector<int64_t> count(static_cast<size_t>(spec.n_items));
  std::vector<std::vector<size_t>> fans(n_topics(spec));
  for (size_t u = 0; u < chosen.size(); ++u) {
    for (int32_t i : chosen[u]) ++count[static_cast<size_t>(i)];
    for (size_t topic : tastes[u].topic) fans[topic].push_back(u);
  }
  for (int64_t item = 0; item < spec.n_items; ++item) {
    const auto& likely = fans[topic_of(spec, item)];
    const auto row = static_cast<uint32_t>(item);
    for (uint64_t draw = 0; count[static_cast<size_t>(item)] < core; ++draw) {
      const Random4 r = Source{spec.seed, repairs}(row, draw);
      const bool anyone = likely.empty() || draw > 200;
      const size_t u = anyone ? r.x[0] % chosen.size() : likely[r.x[0] % likely.size()];
      const double match = dot(tastes[u].direction, world.item[static_cast<size_t>(item)]);
      if (!anyone && uniform01(r.x[2]) > std::exp(std::min(0.0, match - sharpness))) continue;
      int32_t& place = chosen[u][r.x[1] % chosen[u].size()];
      if (count[static_cast<size_t>(place)] <= core ||
          std::count(chosen[u].begin(), chosen[u].end(), static_cast<int32_t>(item)))
        continue;
      --count[static_cast<size_t>(place)];
      ++count[static_cast<size_t>(item)];
      place = static_cast<int32_t>(item);
    }
  }
}

void check(const SyntheticSpec& spec) {
  const int64_t least = core * std::max(spec.n_users, spec.n_items);
  const int64_t most = spec.n_users * (spec.n_items / 4);
  if (spec.n_users < 2 * core || spec.n_items < 8 * core || spec.n_interactions < least ||
      spec.n_interactions > most || spec.n_users > INT32_MAX / 2 || spec.n_items > INT32_MAX / 2)
    throw Error("cannot make " + std::to_string(spec.n_interactions) + " interactions of " +
                std::to_string(spec.n_users) + " users and " + std::to_string(spec.n_items) +
                " items: expected at least 10 users, 40 items, five interactions for each, and at "
                "most users * items / 4");
}

}  // namespace

Interactions synthesise(const SyntheticSpec& spec) {
  check(spec);
  const World world = make_world(spec);
  const std::vector<int64_t> activity_of = activities(spec);
  std::vector<Taste> tastes(activity_of.size());
  std::vector<std::vector<int32_t>> chosen(activity_of.size());
#pragma omp parallel for schedule(dynamic, 64)
  for (int64_t u = 0; u < spec.n_users; ++u) {
    const auto user = static_cast<size_t>(u);
    tastes[user] = taste_of(spec, world, u);
    std::unordered_set<int32_t> known;
    uint64_t draw = 0;
    // An active user soon knows the favourites: after many draws any item will do.
    const uint64_t patience = 200 * static_cast<uint64_t>(activity_of[user]);
    while (static_cast<int64_t>(chosen[user].size()) < activity_of[user]) {
      const Source source{spec.seed, draws};
      const auto row = static_cast<uint32_t>(u);
      const int32_t item = draw < patience
                               ? draw_item(world, tastes[user], source, row, draw)
                               : static_cast<int32_t>(source(row, draw++).x[0] %
                                                      static_cast<uint32_t>(spec.n_items));
      if (known.insert(item).second) chosen[user].push_back(item);
    }
  }
  repair(spec, world, tastes, chosen);

  Interactions data;
  data.n_users = spec.n_users;
  data.n_items = spec.n_items;
  std::vector<Interaction> all;
  for (size_t u = 0; u < chosen.size(); ++u)
    for (int32_t item : chosen[u]) all.push_back({static_cast<int32_t>(u), item});
  split_by_user(data, all, spec.seed);
  return data;
}

void synthetic_features(const SyntheticSpec& spec, size_t modality, int64_t first, int64_t count,
                        float* out) {
  const auto& [name, dim, noise] = spec.modalities[modality];
  const auto columns = static_cast<size_t>(dim);
  // Two tables a modality, beyond the enumerated ones: the projection and the noise.
  const auto table = static_cast<uint32_t>(projection) + 2 * static_cast<uint32_t>(modality);
  std::vector<float> A(n_factors * columns);  // how each column of features looks at the factors
  for (size_t k = 0; k < n_factors; ++k)
    for (size_t c = 0; c < columns; ++c)
      A[k * columns + c] = static_cast<float>(
          Source{spec.seed, Table{table}}.normal(static_cast<uint32_t>(c), k) /
          std::sqrt(double{n_factors} * (1 + own_factors * own_factors)));
  const auto spread = static_cast<float>(noise * 3.4641016151377544);  // of a uniform number
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < count; ++r) {
    const Factors f = item_factors(spec, first + r);
    const Source source{spec.seed, Table{table + 1}};
    float* const row = out + static_cast<size_t>(r) * columns;
    for (size_t c = 0; c < columns; c += 4) {
      const Random4 words = source(static_cast<uint32_t>(first + r), c / 4);
      for (size_t lane = 0; lane < 4 && c + lane < columns; ++lane)
        row[c + lane] = spread * (static_cast<float>(uniform01(words.x[lane])) - 0.5F);
    }
    for (size_t k = 0; k < n_factors; ++k) {
      const float* const look = A.data() + k * columns;
      const auto factor = static_cast<float>(f[k]);
      for (size_t c = 0; c < columns; ++c) row[c] += look[c] * factor;
    }
    for (size_t c = 0; c < columns; ++c) row[c] = std::max(0.0F, row[c]);
  }
}

}  // namespace bm3
