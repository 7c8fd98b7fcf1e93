#pragma once
// A made data set with planted structure, for those who lack a real one.
#include <cstdint>
#include <string>
#include <vector>

#include "data/inter.h"

namespace bm3 {

struct SyntheticModality {
  std::string name;
  size_t dim;    // d_m
  double noise;  // standard deviation; the signal has 1
};

/// Defaults: a stand-in of Amazon Baby's sizes.
struct SyntheticSpec {
  size_t n_users = 19445, n_items = 7050, n_interactions = 160792;
  std::vector<SyntheticModality> modalities = {{"image", 4096, 3.0}, {"text", 384, 1.0}};
  uint64_t seed = 2023;
};

/// Returns n_interactions distinct pairs, at least five for every user and every item, split 8:1:1
/// by user. Topics, the items of a topic, and users follow power laws; a user's items are those of
/// three topics, but for a share of any. Throws when the sizes leave no such data set.
Interactions synthesise(const SyntheticSpec& spec);

/// out [count, dim] = the features of items first .. first + count in one modality: the vector of
/// the item's topic plus noise. A pure function of (spec, modality, item).
void synthetic_features(const SyntheticSpec& spec, size_t modality, size_t first, size_t count,
                        float* out);

}  // namespace bm3
