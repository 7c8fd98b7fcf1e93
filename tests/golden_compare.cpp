// The comparison of the C++ with a golden directory, and its bounds.
#include <set>

#include "golden_run.h"
#include "rounding.h"

namespace bm3::test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon() / 2;  // float32's rounding unit u

/// The least magnitude that an error is relative to. A cosine loss is a mean of 1 + C, as exact as
/// these terms, however small it is; elsewhere 1e-10 of it is rounding beside values of size 1.
double least_scale(const std::string& name) {
  for (const char* loss : {"/loss.rec", "/loss.align", "/loss.mask"})
    if (name.find(loss) != std::string::npos) return 1;
  return 1e-6;
}

Agreement never(size_t count) { return {count, std::numeric_limits<double>::infinity()}; }

/// The rows of a golden array that the C++ has.
std::vector<double> expected(const GoldenArray& array, const Computed& computed) {
  if (computed.rows.empty()) return array.values;
  const size_t cols = array.shape[1];
  std::vector<double> out;
  for (int32_t row : computed.rows)
    for (size_t c = 0; c < cols; ++c)
      out.push_back(array.values[static_cast<size_t>(row) * cols + c]);
  return out;
}

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
    Lists unused;
    GoldenRun<double>(*ops, g, true, jitter, seed).run(results, unused);
    return results;
  };
  const Results exact = run(0, 0);
  std::map<std::string, double> moves;
  for (uint64_t seed = 1; seed <= 4; ++seed)  // one change alone may leave an array where it is
    for (const auto& [name, moved] : run(unit, seed)) {
      const double move = compare(exact.at(name).values, moved.values, least_scale(name)).error;
      moves[name] = std::max(moves[name], move);
    }
  for (auto& [name, move] : moves) move = rounding<float>(longest_sum(g)) * (1 + move / unit);
  for (const char* listed : {"final/scores", "final/top_k"})  // a product: as far as both factors
    if (moves.count("final/predicted.user"))
      moves[listed] = moves["final/predicted.user"] + moves["final/predicted.item"];
  return moves;
}

/// Whether the lists are in order by their own scores, equal ones by the lower item number.
bool in_order(const Lists& lists, size_t k) {
  for (size_t at = 0; at < lists.item.size(); ++at) {
    if (at % k == 0 || lists.item[at] < 0) continue;
    const double before = lists.score[at - 1], score = lists.score[at];
    const bool later = before > score || (before == score && lists.item[at - 1] < lists.item[at]);
    if (lists.item[at - 1] < 0 || !later) return false;
  }
  return true;
}

/// The lists beside the golden ones. Where an item differs, the error is the difference of the two
/// items' scores, relative to the largest: within rounding, either order is right.
Agreement compare_lists(const Golden& g, const Lists& lists, const Results& results) {
  const GoldenArray& golden = g.at("final/top_k");
  const size_t k = golden.shape[1], d = g.config.d;
  if (!in_order(lists, k)) return never(lists.item.size());
  const auto &h_u = results.at("final/predicted.user").values,
             &h_i = results.at("final/predicted.item").values;
  std::set<std::pair<size_t, int32_t>> seen;  // no training item may be listed, none twice
  for (const auto& [user, item] : g.data.train) seen.emplace(static_cast<size_t>(user), item);
  const auto score = [&](size_t user, int32_t item) {
    double sum = 0;
    for (size_t c = 0; c < d; ++c)
      sum += h_u[user * d + c] * h_i[static_cast<size_t>(item) * d + c];
    return sum;
  };
  Agreement result{lists.item.size(), 0};
  double largest = least_scale("final/top_k");
  for (size_t at = 0; at < lists.item.size(); ++at) {
    const auto theirs = static_cast<int32_t>(golden.values[at]);
    if ((theirs < 0) != (lists.item[at] < 0)) return never(lists.item.size());
    if (theirs < 0) continue;
    if (!seen.emplace(at / k, theirs).second) return never(lists.item.size());
    largest = std::max(largest, std::abs(lists.score[at]));
    const double gap = score(at / k, theirs) - score(at / k, lists.item[at]);
    result.error = std::max(result.error, std::abs(gap));
  }
  result.error /= largest;
  return result;
}

/// The listed items' scores beside the golden matrix.
Agreement compare_scores(const Golden& g, const Lists& lists) {
  const auto items = static_cast<size_t>(g.data.n_items);
  const size_t k = lists.item.size() / static_cast<size_t>(g.data.n_users);
  std::vector<double> ours, theirs;
  for (size_t at = 0; at < lists.item.size(); ++at) {
    if (lists.item[at] < 0) continue;
    ours.push_back(lists.score[at]);
    theirs.push_back(
        g.at("final/scores").values[at / k * items + static_cast<size_t>(lists.item[at])]);
  }
  return compare(ours, theirs, least_scale("final/scores"));
}

/// The metrics of the golden lists, which rounding does not touch; without them, of ours.
template <class T>
void compare_metrics(Ops<T>& ops, const Golden& g, const Lists& lists, GoldenReport& report) {
  const GoldenArray* golden = g.find("final/top_k");
  Ranking ranking;
  if (golden)
    for (double item : golden->values) ranking.item.push_back(static_cast<int32_t>(item));
  else
    ranking.item = lists.item;
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
                                       least_scale(name)),
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
  Lists lists;
  GoldenRun<T>(ops, g, any_float32).run(results, lists);
  const auto float32 = any_float32 ? float32_bounds(g) : std::map<std::string, double>();

  GoldenReport report;
  for (const auto& [name, array] : g.arrays) {
    if (!is_output(name)) continue;
    const bool listed = name == "final/scores" || name == "final/top_k";
    const auto found = results.find(name);
    if (listed ? lists.item.empty() : found == results.end()) {
      report.left_out.push_back(name);
      continue;
    }
    const int roundings = int{in_float32} + int{array.single};
    report.compared.push_back(
        {name,
         name == "final/scores"  ? compare_scores(g, lists)
         : name == "final/top_k" ? compare_lists(g, lists, results)
                                 : compare(found->second.values, expected(array, found->second),
                                           least_scale(name)),
         roundings == 0 ? golden_bound : roundings * float32.at(name)});
  }
  if (g.find("final/top_k") || (!lists.item.empty() && !any_float32))
    compare_metrics(ops, g, lists, report);
  else
    for (const auto& [name, value] : g.metrics) report.left_out.push_back("metrics/" + name);
  return report;
}

template GoldenReport check_golden<float>(Ops<float>&, const Golden&);
template GoldenReport check_golden<double>(Ops<double>&, const Golden&);

}  // namespace bm3::test
