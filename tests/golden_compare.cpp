// The comparison of the C++ with a golden, and its bounds.
#include <set>

#include "compare.h"
#include "golden_run.h"

namespace bm3::test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon() / 2;  // float32's rounding unit u

/// The least magnitude that an error is relative to: 1e-10 of it is rounding beside values of 1.
constexpr double least_scale = 1e-6;

/// The longest sum behind a value: a row of a product, a column of a batch's rows, a node's edges.
size_t longest_sum(const Golden& g) {
  size_t n = std::max({g.settings.whole("dim"), g.n_users() + g.n_items(),
                       g.largest_batch() * (2 + g.modalities.size())});
  for (const auto& m : g.modalities) n = std::max(n, m.dim);
  return n;
}

/// How far an array may be off in a precision: see `check_golden`.
class Bounds {
 public:
  Bounds(const Golden& g, bool any_float32) : n_(longest_sum(g)) {
    MagnitudeOps ops;
    const GoldenRun<double> exact(ops, g, {any_float32}, &ops);
    terms_ = exact.terms;
    if (!any_float32) return;
    for (const Result& r : exact.results) moves_[r.name] = 0;
    for (uint64_t seed = 1; seed <= 4; ++seed) {  // one change alone may leave an array where it is
      const GoldenRun<double> moved(ops, g, {true, unit, seed});
      for (size_t k = 0; k < exact.results.size(); ++k) {
        double& move = moves_.at(exact.results[k].name);
        move = std::max(
            move, compare(exact.results[k].values, moved.results[k].values, least_scale).error);
      }
    }
  }
  /// `roundings`: how many of the two sides are float32.
  double of(const std::string& name, int roundings) const {
    if (roundings == 0 || name.rfind("metrics/", 0) == 0) return golden_bound;
    if (name == "final/top_k") return 2 * of("final/scores", roundings);  // of a gap
    return roundings * rounding<float>(n_) * (1 + moves_.at(name) / unit);
  }
  /// The magnitude that an array's error is relative to, at least.
  double floor(const std::string& name, int roundings) const {
    const double of_terms =
        roundings == 0 ? rounding<double>(n_) : roundings * rounding<float>(n_);
    const auto terms = terms_.find(name);
    return terms == terms_.end()
               ? least_scale
               : std::max(least_scale, terms->second * of_terms / of(name, roundings));
  }

 private:
  size_t n_;
  std::map<std::string, double> terms_, moves_;  // moves: by a change of the inputs by u
};

Comparison compare_values(const Result& result, const FileArray& golden, double floor,
                          double bound) {
  const auto expected = gather(golden.values, result.rows, result.cols());
  Agreement found = compare(result.values, expected, floor);
  found.at = result.place(found.at);
  return {result.name, found, bound};
}

/// Whether these are users' lists [n_users, k] without an item of the user's training or one twice.
bool are_lists(const Golden& g, size_t k, const std::vector<double>& items) {
  std::set<std::pair<size_t, double>> taken;  // user and item
  for (const auto& [user, item] : g.data.train) taken.emplace(static_cast<size_t>(user), item);
  for (size_t n = 0; n < items.size(); ++n) {
    if (items[n] == -1) continue;
    if (!(items[n] >= 0 && items[n] < static_cast<double>(g.n_items()))) return false;
    if (!taken.emplace(n / k, items[n]).second) return false;
  }
  return true;
}

/// The lists beside the golden ones. Where an item differs, the error is the difference of the two
/// items' scores, relative to the largest of all: within rounding, either order is right.
Comparison compare_lists(const Golden& g, const Result& lists, const std::vector<double>& scores,
                         double bound) {
  const std::vector<double>& golden = g.find(lists.name)->values;
  const auto scores_of = [&](const std::vector<double>& items) {
    std::vector<double> out(items.size());
    for (size_t k = 0; k < items.size(); ++k)
      if (items[k] >= 0)
        out[k] = scores[k / lists.cols() * g.n_items() + static_cast<size_t>(items[k])];
    return out;
  };
  Agreement found{golden.size(), std::numeric_limits<double>::infinity()};
  const auto end = [](double a, double b) { return (a < 0) == (b < 0); };
  if (are_lists(g, lists.cols(), lists.values) && are_lists(g, lists.cols(), golden) &&
      std::equal(golden.begin(), golden.end(), lists.values.begin(), lists.values.end(), end))
    found = compare(scores_of(lists.values), scores_of(golden),
                    std::max(least_scale, largest_magnitude(scores)));
  found.found = lists.values[found.at];
  found.expected = golden[found.at];
  return {lists.name, found, bound};
}

}  // namespace

const Comparison* GoldenReport::first_wrong() const {
  for (const Comparison& c : compared)
    if (!c.ok()) return &c;
  return nullptr;
}

template <class T>
GoldenReport check_golden(Ops<T>& ops, const Golden& g) {
  constexpr bool in_float32 = sizeof(T) == sizeof(float);
  const bool any_float32 =
      in_float32 || std::any_of(g.outputs.begin(), g.outputs.end(), [&](const auto& name) {
        return g.find(name) && g.find(name)->single;
      });
  const Bounds bounds(g, any_float32);
  GoldenReport report{{}, {}, GoldenRun<T>(ops, g, {any_float32}).results};
  for (const Result& result : report.results) {
    const std::string& name = result.name;
    const FileArray* golden = g.find(name);
    if (!golden) continue;
    const int roundings = int{in_float32} + int{golden->single};
    const double bound = bounds.of(name, roundings), floor = bounds.floor(name, roundings);
    report.compared.push_back(
        name == "final/top_k"
            ? compare_lists(g, result, find(report.results, "final/scores")->values, bound)
            : compare_values(result, *golden, floor, bound));
  }
  for (const auto& name : g.outputs)
    if (g.find(name) && !find(report.results, name)) report.left_out.push_back(name);
  return report;
}

template GoldenReport check_golden<float>(Ops<float>&, const Golden&);
template GoldenReport check_golden<double>(Ops<double>&, const Golden&);

}  // namespace bm3::test
