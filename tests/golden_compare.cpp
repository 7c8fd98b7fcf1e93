// The comparison of the C++ with a golden, and its bounds.
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
  size_t n = std::max(g.settings.whole("dim"), g.n_users() + g.n_items());
  for (const auto& m : g.modalities) n = std::max(n, m.dim);
  for (size_t s = 0; s < g.n_steps; ++s)
    n = std::max(n, g.batch_size(s) * (2 + g.modalities.size()));
  return n;
}

/// How far an array may be off in a precision: see `check_golden`.
class Bounds {
 public:
  Bounds(const Golden& g, bool any_float32) : n_(longest_sum(g)) {
    MagnitudeOps ops;
    const GoldenRun<double> exact(ops, g, {false, any_float32}, &ops);
    terms_ = exact.terms;
    if (!any_float32) return;
    for (const Result& r : exact.results) moves_[r.name] = 0;
    for (uint64_t seed = 1; seed <= 4; ++seed) {  // one change alone may leave an array where it is
      const GoldenRun<double> moved(ops, g, {false, true, unit, seed});
      for (size_t k = 0; k < exact.results.size(); ++k) {
        double& move = moves_.at(exact.results[k].name);
        move = std::max(
            move, compare(exact.results[k].values, moved.results[k].values, least_scale).error);
      }
    }
  }
  /// `roundings`: how many of the two sides are float32.
  double of(const std::string& name, int roundings) const {
    if (roundings == 0) return golden_bound;
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
  std::vector<double> expected;
  for (size_t k = 0; k < result.values.size(); ++k)
    expected.push_back(golden.values.at(result.place(k)));
  const auto off = [&](size_t k) {
    const double difference = std::abs(result.values[k] - expected[k]);
    return std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity();
  };
  size_t worst = 0;
  for (size_t k = 1; k < expected.size(); ++k)
    if (off(k) > off(worst)) worst = k;
  return {result.name, compare(result.values, expected, floor), bound, result.place(worst),
          result.values.at(worst), expected.at(worst)};
}

/// Whether both have lists without an item of the user's training or one twice, of one length.
bool are_lists(const Golden& g, const Result& lists, const std::vector<double>& golden) {
  using Entries = std::set<std::pair<size_t, double>>;  // user and item
  Entries ours, theirs;
  for (const auto& [user, item] : g.data.train) ours.emplace(static_cast<size_t>(user), item);
  theirs = ours;
  for (size_t k = 0; k < golden.size(); ++k) {
    const double item = lists.values[k];
    if (item < -1 || item >= static_cast<double>(g.n_items())) return false;
    if ((item < 0) != (golden[k] < 0)) return false;
    if (item >= 0 && !(ours.emplace(k / lists.cols, item).second &&
                       theirs.emplace(k / lists.cols, golden[k]).second))
      return false;
  }
  return true;
}

/// The lists beside the golden ones. Where an item differs, the error is the difference of the two
/// items' scores, relative to the largest of all: within rounding, either order is right.
Comparison compare_lists(const Golden& g, const Result& lists, const std::vector<double>& scores,
                         double bound) {
  const std::vector<double>& golden = g.at(lists.name).values;
  const auto scores_of = [&](const std::vector<double>& items) {
    std::vector<double> out(items.size());
    for (size_t k = 0; k < items.size(); ++k)
      if (items[k] >= 0)
        out[k] = scores[k / lists.cols * g.n_items() + static_cast<size_t>(items[k])];
    return out;
  };
  Comparison out{lists.name, never(golden.size()), bound, 0, lists.values[0], golden[0]};
  if (!are_lists(g, lists, golden)) return out;
  out = compare_values({lists.name, "", lists.cols, {}, scores_of(lists.values)},
                       {{}, scores_of(golden), false},
                       std::max(least_scale, largest_magnitude(scores)), bound);
  out.found = lists.values[out.worst];
  out.expected = golden[out.worst];
  return out;
}

/// The metrics of the lists [n_users, k].
template <class T>
void compare_metrics(Ops<T>& ops, const Golden& g, const std::vector<double>& lists,
                     GoldenReport& report) {
  const Array<int32_t> item(ops, std::vector<int32_t>(lists.begin(), lists.end()));
  const auto means = [&](const std::vector<Interaction>& part) {
    return by_name(Evaluator<T>(ops, part, g.data)
                       .metrics(item.matrix(g.n_users(), lists.size() / g.n_users())));
  };
  const auto of_valid = means(g.data.valid), of_test = means(g.data.test);
  for (const auto& [name, value] : g.metrics) {
    const auto slash = name.find('/');
    const auto& ours = name.substr(0, slash) == "valid" ? of_valid : of_test;
    report.compared.push_back(compare_values(
        {"metrics/" + name, "", 1, {}, {ours.at(name.substr(slash + 1))}}, {{1}, {value}},
        least_scale, golden_bound));
  }
}

bool is_output(const std::string& name) {
  const std::string rest = name.substr(name.find('/') + 1);
  return name.rfind("final/", 0) == 0 ||
         (name.rfind("step_", 0) == 0 && rest != "users" && rest != "items" &&
          rest != "negatives" && rest.rfind("mask.", 0) != 0);
}

const Result* find(const std::vector<Result>& results, const std::string& name) {
  for (const Result& r : results)
    if (r.name == name) return &r;
  return nullptr;
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
  const bool any_float32 = in_float32 || std::any_of(g.arrays.begin(), g.arrays.end(), [](auto& a) {
    return is_output(a.first) && a.second.single;
  });
  const Bounds bounds(g, any_float32);
  const GoldenRun<T> waits(ops, g, {true, any_float32}), caught_up(ops, g, {false, any_float32});

  GoldenReport report{{}, {}, caught_up.results};
  for (size_t k = 0; k < report.results.size(); ++k) {
    const std::string& name = report.results[k].name;
    const FileArray* golden = g.find(name);
    if (!golden) continue;
    const int roundings = int{in_float32} + int{golden->single};
    const double bound = bounds.of(name, roundings), floor = bounds.floor(name, roundings);
    const auto beside = [&](const std::vector<Result>& results) {
      return name == "final/top_k"
                 ? compare_lists(g, results[k], find(results, "final/scores")->values, bound)
                 : compare_values(results[k], *golden, floor, bound);
    };
    const Comparison a = beside(caught_up.results), b = beside(waits.results);
    report.compared.push_back(a.agreement.error < b.agreement.error ? b : a);
  }
  for (const auto& [name, array] : g.arrays)
    if (is_output(name) && !find(report.results, name)) report.left_out.push_back(name);
  const FileArray* golden_lists = g.find("final/top_k");  // rounding does not touch them
  const Result* lists = find(report.results, "final/top_k");
  if (golden_lists || (lists && !any_float32))
    compare_metrics(ops, g, golden_lists ? golden_lists->values : lists->values, report);
  else
    for (const auto& [name, value] : g.metrics) report.left_out.push_back("metrics/" + name);
  return report;
}

template GoldenReport check_golden<float>(Ops<float>&, const Golden&);
template GoldenReport check_golden<double>(Ops<double>&, const Golden&);

}  // namespace bm3::test
