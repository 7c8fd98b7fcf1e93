// The comparison of the C++ with a golden directory, and its bounds.
#include <set>

#include "golden_run.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon() / 2;  // float32's rounding unit u

/// The least magnitude that an error is relative to: 1e-10 of it is rounding beside values of 1.
constexpr double least_scale = 1e-6;

Agreement never(size_t count) { return {count, std::numeric_limits<double>::infinity()}; }

/// The longest sum behind a value: a row of a product, a column of a batch's rows, a node's edges.
size_t longest_sum(const Golden& g) {
  size_t n = std::max(g.config.d, static_cast<size_t>(g.data.n_users + g.data.n_items));
  for (const auto& m : g.modalities) n = std::max(n, m.dim);
  for (size_t s = 0; s < g.n_steps; ++s)
    n = std::max(n, g.batch(s).size() * (2 + g.modalities.size()));
  return n;
}

/// By array, how far float32 may be off: see `check_golden`.
std::map<std::string, double> float32_bounds(const Golden& g) {
  const auto ops = make_cpu_ops<double>(1);
  const auto run = [&](double jitter, uint64_t seed) {
    Results results;
    GoldenRun<double>(*ops, g, Untouched::caught_up, true, jitter, seed).run(results);
    return results.arrays;
  };
  const auto exact = run(0, 0);
  std::map<std::string, double> moves;
  for (uint64_t seed = 1; seed <= 4; ++seed)  // one change alone may leave an array where it is
    for (const auto& [name, moved] : run(unit, seed)) {
      const double move = compare(exact.at(name), moved, least_scale).error;
      moves[name] = std::max(moves[name], move);
    }
  for (auto& [name, move] : moves) move = rounding<float>(longest_sum(g)) * (1 + move / unit);
  if (moves.count("final/scores")) moves["final/top_k"] = 2 * moves["final/scores"];  // of a gap
  return moves;
}

/// The score of entry `at` of the lists [n_users, k]; its item is there.
double score_of(const Golden& g, const Results& results, const std::vector<int32_t>& lists,
                size_t at) {
  const size_t k = lists.size() / static_cast<size_t>(g.data.n_users);
  const auto items = static_cast<size_t>(g.data.n_items), item = static_cast<size_t>(lists[at]);
  return results.arrays.at("final/scores")[at / k * items + item];
}

/// Whether the lists are in order by their own scores, equal ones by the lower item number.
bool in_order(const Golden& g, const Results& results) {
  const auto& lists = results.lists;
  const size_t k = lists.size() / static_cast<size_t>(g.data.n_users);
  for (size_t at = 0; at < lists.size(); ++at) {
    if (at % k == 0 || lists[at] < 0) continue;
    if (lists[at - 1] < 0) return false;
    const double before = score_of(g, results, lists, at - 1);
    const double score = score_of(g, results, lists, at);
    if (!(before > score || (before == score && lists[at - 1] < lists[at]))) return false;
  }
  return true;
}

/// The lists beside the golden ones. Where an item differs, the error is the difference of the two
/// items' scores, relative to the largest of all: within rounding, either order is right.
Agreement compare_lists(const Golden& g, const Results& results) {
  const std::vector<double>& golden = g.at("final/top_k").values;
  const std::vector<int32_t>& ours = results.lists;
  const std::vector<int32_t> theirs(golden.begin(), golden.end());
  const size_t k = g.at("final/top_k").shape[1];
  if (!in_order(g, results)) return never(ours.size());
  std::set<std::pair<size_t, int32_t>> seen;  // no training item may be listed, none twice
  for (const auto& [user, item] : g.data.train) seen.emplace(static_cast<size_t>(user), item);
  Agreement result{ours.size(), 0};
  for (size_t at = 0; at < ours.size(); ++at) {
    if (ours[at] < -1 || (theirs[at] < 0) != (ours[at] < 0)) return never(ours.size());
    if (theirs[at] < 0) continue;
    if (!seen.emplace(at / k, theirs[at]).second) return never(ours.size());
    const double gap = score_of(g, results, theirs, at) - score_of(g, results, ours, at);
    result.error = std::max(result.error, std::abs(gap));
  }
  result.error /= std::max(least_scale, largest_magnitude(results.arrays.at("final/scores")));
  return result;
}

/// The metrics of the golden lists, which rounding does not touch; without them, of ours.
template <class T>
void compare_metrics(Ops<T>& ops, const Golden& g, const std::vector<int32_t>& lists,
                     GoldenReport& report) {
  const GoldenArray* golden = g.find("final/top_k");
  Ranking ranking;
  if (golden)
    for (double item : golden->values) ranking.item.push_back(static_cast<int32_t>(item));
  else
    ranking.item = lists;
  ranking.k = ranking.item.size() / static_cast<size_t>(g.data.n_users);
  for (int32_t u = 0; u < g.data.n_users; ++u) ranking.users.push_back(u);
  const Metrics of_valid = evaluate(ops, ranking, held_out(g.data.valid, g.data));
  const Metrics of_test = evaluate(ops, ranking, held_out(g.data.test, g.data));
  for (const auto& [name, value] : g.metrics) {
    const Metrics& m = name.rfind("valid/", 0) == 0 ? of_valid : of_test;
    const auto at = name.find('@'), start = name.find('/') + 1;
    const std::string kind = name.substr(start, at - start);
    const auto& values = kind == "recall"      ? m.recall
                         : kind == "ndcg"      ? m.ndcg
                         : kind == "precision" ? m.precision
                                               : m.map;
    const auto cutoff = std::find(cutoffs.begin(), cutoffs.end(), std::stoul(name.substr(at + 1)));
    const double ours = values[static_cast<size_t>(cutoff - cutoffs.begin())];
    report.compared.push_back({"metrics/" + name,
                               compare(std::vector<double>{ours}, std::vector<double>{value},
                                       least_scale),
                               golden_bound});
  }
}

bool is_output(const std::string& name) {
  if (name.rfind("final/", 0) == 0) return true;
  const size_t slash = name.find('/');
  const std::string rest = slash == std::string::npos ? "" : name.substr(slash + 1);
  return name.rfind("step_", 0) == 0 && rest != "users" && rest != "items" &&
         rest.rfind("mask.", 0) != 0;
}

}  // namespace

bool GoldenReport::ok() const {
  return !compared.empty() &&
         std::all_of(compared.begin(), compared.end(), [](const auto& c) { return c.ok(); });
}

template <class T>
GoldenReport check_golden(Ops<T>& ops, const Golden& g) {
  constexpr bool in_float32 = sizeof(T) == sizeof(float);
  const bool any_float32 = in_float32 || std::any_of(g.arrays.begin(), g.arrays.end(), [](auto& a) {
    return is_output(a.first) && a.second.single;
  });
  Results results;
  for (Untouched untouched : {Untouched::caught_up, Untouched::wait})
    GoldenRun<T>(ops, g, untouched, any_float32).run(results);
  const auto float32 = any_float32 ? float32_bounds(g) : std::map<std::string, double>();
  const size_t n = longest_sum(g);

  GoldenReport report;
  for (const auto& [name, array] : g.arrays) {
    if (!is_output(name)) continue;
    const bool lists = name == "final/top_k";
    const auto found = results.arrays.find(name);
    if (lists ? results.lists.empty() : found == results.arrays.end()) {
      report.left_out.push_back(name);
      continue;
    }
    const int roundings = int{in_float32} + int{array.single};
    const double bound = roundings == 0 ? golden_bound : roundings * float32.at(name);
    const double of_terms = roundings == 0 ? rounding<double>(n) : roundings * rounding<float>(n);
    const auto terms = results.terms.find(name);
    const double scale = terms == results.terms.end()
                             ? least_scale
                             : std::max(least_scale, terms->second * of_terms / bound);
    report.compared.push_back({name,
                               lists ? compare_lists(g, results)
                                     : compare(found->second, array.values, scale),
                               bound});
  }
  if (g.find("final/top_k") || (!results.lists.empty() && !any_float32))
    compare_metrics(ops, g, results.lists, report);
  else
    for (const auto& [name, value] : g.metrics) report.left_out.push_back("metrics/" + name);
  return report;
}

template GoldenReport check_golden<float>(Ops<float>&, const Golden&);
template GoldenReport check_golden<double>(Ops<double>&, const Golden&);

}  // namespace bm3::test
