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
  uint32_t table;
  Random4 operator()(size_t row, uint64_t block) const {
    return philox(seed, static_cast<uint32_t>(Stream::synthetic) + table,
                  static_cast<uint32_t>(row), block);
  }
  double uniform(size_t row, uint64_t block) const { return uniform01((*this)(row, block).x[0]); }
  /// Mean 0 and variance 1: four uniform numbers' sum, scaled.
  double normal(size_t row, uint64_t block) const {
    const Random4 r = (*this)(row, block);
    return (uniform01(r.x[0]) + uniform01(r.x[1]) + uniform01(r.x[2]) + uniform01(r.x[3]) - 2) *
           1.7320508075688772;
  }
};

size_t n_topics(const SyntheticSpec& spec) {
  return static_cast<size_t>(std::max<int64_t>(1, spec.n_items / topic_size));
}

size_t topic_of(const SyntheticSpec& spec, size_t item) {
  return Source{spec.seed, items}(item, n_factors).x[0] % n_topics(spec);
}

/// An item's latent factors: its topic's, and a smaller part of its own.
Factors item_factors(const SyntheticSpec& spec, size_t item) {
  const size_t topic = topic_of(spec, item);
  Factors f;
  for (size_t k = 0; k < n_factors; ++k)
    f[k] = Source{spec.seed, topics}.normal(topic, k) +
           own_factors * Source{spec.seed, items}.normal(item, k);
  return f;
}

/// 0, w_0, w_0 + w_1, ..: weights summed up, by which `pick` draws.
struct Weights {
  std::vector<double> sums = {0};
  void add(double weight) { sums.push_back(sums.back() + weight); }
  size_t pick(double u) const {
    const auto at = std::upper_bound(sums.begin() + 1, sums.end() - 1, u * sums.back());
    return static_cast<size_t>(at - sums.begin()) - 1;
  }
};

struct Topic {
  std::vector<size_t> items;
  Weights popularity;  // of each
};

/// What the drawing of interactions looks up.
struct World {
  std::vector<Factors> item;
  std::vector<Topic> topic;
  Weights popularity;  // of each topic
};

World make_world(const SyntheticSpec& spec) {
  World world;
  world.topic.resize(n_topics(spec));
  for (size_t i = 0; i < static_cast<size_t>(spec.n_items); ++i) {
    world.item.push_back(item_factors(spec, i));
    Topic& topic = world.topic[topic_of(spec, i)];
    topic.items.push_back(i);
    // A random rank in (0, 1] gives a power law of popularity.
    const double rank = Source{spec.seed, popularity}.uniform(i, 0);
    topic.popularity.add(std::pow(rank + 1e-3, -popularity_power));
  }
  for (const Topic& topic : world.topic) world.popularity.add(topic.popularity.sums.back());
  return world;
}

/// A user's taste: two or three topics, by popularity, and a direction among the factors.
struct Taste {
  std::array<size_t, 3> topic;
  Factors direction;
  double match(const Factors& item) const {
    return std::inner_product(direction.begin(), direction.end(), item.begin(), 0.0);
  }
};

Taste taste_of(const SyntheticSpec& spec, const World& world, size_t user) {
  const Source source{spec.seed, users};
  Taste taste;
  for (size_t k = 0; k < taste.topic.size(); ++k)
    taste.topic[k] = world.popularity.pick(source.uniform(user, n_factors + k));
  for (size_t k = 0; k < n_factors; ++k)
    taste.direction[k] = sharpness * source.normal(user, k) / std::sqrt(double{n_factors});
  return taste;
}

/// One item by popularity, and but for the share `wandering` times exp(taste . factors) in one of
/// the user's topics, by rejection; `draw` numbers the random words.
size_t draw_item(const World& world, const Taste& taste, const Source& source, size_t user,
                 uint64_t& draw) {
  const bool wander = source.uniform(user, draw++) < wandering;
  for (;;) {
    const Random4 r = source(user, draw++);
    const Topic& topic = world.topic[wander ? world.popularity.pick(uniform01(r.x[1]))
                                            : taste.topic[r.x[1] % taste.topic.size()]];
    const size_t item = topic.items[topic.popularity.pick(uniform01(r.x[2]))];
    const double match = taste.match(world.item[item]);
    if (wander || uniform01(r.x[3]) < std::exp(std::min(0.0, match - 2 * sharpness))) return item;
  }
}

/// `n` different items for a user, in the order of the draws.
std::vector<size_t> draw_items(const SyntheticSpec& spec, const World& world, const Taste& taste,
                               size_t user, size_t n) {
  const Source source{spec.seed, draws};
  std::vector<size_t> chosen;
  std::unordered_set<size_t> known;
  for (uint64_t draw = 0; chosen.size() < n;) {
    // An active user soon knows the favourites: after many draws any item will do.
    const size_t item = draw < 200 * n ? draw_item(world, taste, source, user, draw)
                                       : source(user, draw++).x[0] % world.item.size();
    if (known.insert(item).second) chosen.push_back(item);
  }
  return chosen;
}

/// How many interactions each user has: `core` and a heavy-tailed share of the rest.
std::vector<int64_t> activities(const SyntheticSpec& spec) {
  const auto n = static_cast<size_t>(spec.n_users);
  const int64_t rest = spec.n_interactions - core * spec.n_users, most = spec.n_items / 2;
  std::vector<double> share(n);
  double sum = 0;
  for (size_t u = 0; u < n; ++u)
    sum += share[u] = std::pow(Source{spec.seed, activity}.uniform(u, 0), -0.6) - 1;
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
            std::vector<std::vector<size_t>>& chosen) {
  std::vector<int64_t> count(world.item.size());
  std::vector<std::vector<size_t>> fans(world.topic.size());
  for (size_t u = 0; u < chosen.size(); ++u) {
    for (size_t i : chosen[u]) ++count[i];
    for (size_t topic : tastes[u].topic) fans[topic].push_back(u);
  }
  for (size_t item = 0; item < count.size(); ++item) {
    const auto& likely = fans[topic_of(spec, item)];
    for (uint64_t draw = 0; count[item] < core; ++draw) {
      const Random4 r = Source{spec.seed, repairs}(item, draw);
      const bool anyone = likely.empty() || draw > 200;
      const size_t u = anyone ? r.x[0] % chosen.size() : likely[r.x[0] % likely.size()];
      const double match = tastes[u].match(world.item[item]);
      if (!anyone && uniform01(r.x[2]) > std::exp(std::min(0.0, match - sharpness))) continue;
      size_t& place = chosen[u][r.x[1] % chosen[u].size()];
      if (count[place] <= core || std::count(chosen[u].begin(), chosen[u].end(), item)) continue;
      --count[place];
      ++count[item];
      place = item;
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
  std::vector<std::vector<size_t>> chosen(activity_of.size());
#pragma omp parallel for schedule(dynamic, 64)
  for (size_t u = 0; u < chosen.size(); ++u) {
    tastes[u] = taste_of(spec, world, u);
    chosen[u] = draw_items(spec, world, tastes[u], u, static_cast<size_t>(activity_of[u]));
  }
  repair(spec, world, tastes, chosen);

  std::vector<Interaction> all;
  for (size_t u = 0; u < chosen.size(); ++u)
    for (size_t item : chosen[u])
      all.push_back({static_cast<int32_t>(u), static_cast<int32_t>(item)});
  return split_by_seed(spec.n_users, spec.n_items, all, spec.seed);
}

void synthetic_features(const SyntheticSpec& spec, size_t modality, int64_t first, int64_t count,
                        float* out) {
  const auto& [name, dim, noise] = spec.modalities[modality];
  const auto columns = static_cast<size_t>(dim);
  // Two tables a modality, beyond the enumerated ones: the projection and the noise.
  const uint32_t table = projection + 2 * static_cast<uint32_t>(modality);
  std::vector<float> A(n_factors * columns);  // how each column of features looks at the factors
  for (size_t k = 0; k < n_factors; ++k)
    for (size_t c = 0; c < columns; ++c)
      A[k * columns + c] =
          static_cast<float>(Source{spec.seed, table}.normal(c, k) /
                             std::sqrt(double{n_factors} * (1 + own_factors * own_factors)));
  const auto spread = static_cast<float>(noise * 3.4641016151377544);  // of a uniform number
#pragma omp parallel for schedule(static)
  for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
    const size_t item = static_cast<size_t>(first) + r;
    const Factors f = item_factors(spec, item);
    float* const row = out + r * columns;
    for (size_t c = 0; c < columns; c += 4) {
      const Random4 words = Source{spec.seed, table + 1}(item, c / 4);
      for (size_t lane = 0; lane < 4 && c + lane < columns; ++lane)
        row[c + lane] = spread * (static_cast<float>(uniform01(words.x[lane])) - 0.5F);
    }
    for (size_t k = 0; k < n_factors; ++k)
      for (size_t c = 0; c < columns; ++c)
        row[c] += A[k * columns + c] * static_cast<float>(f[k]);
    for (size_t c = 0; c < columns; ++c) row[c] = std::max(0.0F, row[c]);
  }
}

}  // namespace bm3
