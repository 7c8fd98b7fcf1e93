#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "text.h"

namespace bm3 {
namespace {

/// The paper's data sets, by the sizes of which the real ones are known.
struct Known {
  const char* name;
  size_t n_users, n_items, n_interactions;
};
constexpr Known known[] = {{"baby", 19445, 7050, 160792},
                           {"sports", 35598, 18357, 296337},
                           {"elec", 192403, 63001, 1689188}};

/// How many of the numbers below n stand in no pair.
size_t count_isolated(size_t n, const std::vector<Interaction>& pairs,
                      int32_t Interaction::* number) {
  std::vector<char> met(n);
  for (const Interaction& pair : pairs) met[pair.*number] = 1;
  return std::count(met.begin(), met.end(), 0);
}

double mib(size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

bool is_terminal() {
  const char* const term = std::getenv("TERM");
  return isatty(STDERR_FILENO) && !(term && std::string(term) == "dumb");
}

/// Whether standard error is a terminal that wants colours (no-color.org).
bool wants_colour() {
  const char* const none = std::getenv("NO_COLOR");
  return is_terminal() && !(none && *none);
}

/// A positive number in six characters.
std::string in_six(double x) {
  char text[32];
  const int decimals = x < 10 ? 4 : x < 100 ? 3 : x < 1000 ? 2 : x < 10000 ? 1 : 0;
  std::snprintf(text, sizeof text, x < 1e6 ? "%.*f" : "%.*e", decimals, x);
  return text;
}

constexpr size_t most_parts = 4;  // of the loss, that 80 columns have room for

/// Returns the losses that are on; none where their columns would not fit.
std::vector<Loss> shown(const std::vector<Loss>& losses) {
  std::vector<Loss> out;
  for (const Loss& loss : losses)
    if (loss.weight != 0) out.push_back(loss);
  if (out.size() > most_parts) out.clear();
  return out;
}

}  // namespace

std::string duration(double seconds) {
  char text[32];
  const double minutes = seconds / 60, hours = minutes / 60;
  if (minutes < 1)
    std::snprintf(text, sizeof text, "%.0fs", seconds);
  else if (hours < 1)
    std::snprintf(text, sizeof text, "%.0fm", minutes);
  else
    std::snprintf(text, sizeof text, hours < 100 ? "%.1fh" : "%.0fh", hours);
  return text;
}

void print_made_up(std::FILE* to, const std::string& name) {
  const auto same_name = [&](const Known& x) { return name == x.name; };
  if (std::any_of(std::begin(known), std::end(known), same_name))
    std::fprintf(to, "This %s is a made-up stand-in, not Amazon's data: its figures say nothing "
                 "about the paper's.\ndata/README.md tells how to get the real files.\n",
                 name.c_str());
  else
    std::fprintf(to, "The data set %s is made up: its figures say nothing about real data.\n",
                 name.c_str());
}

const Published* published_figures(const Dataset& data, const ModelKind& model) {
  const Interactions& x = data.interactions;
  for (const Known& k : known)
    for (const Published& p : model.published)
      if (data.name == k.name && data.name == p.data && x.n_users == k.n_users &&
          x.n_items == k.n_items && x.size() == k.n_interactions && !data.synthetic)
        return &p;
  return nullptr;
}

void print_data(const Dataset& data, const ModelKind& model) {
  const Interactions& x = data.interactions;
  const double cells = static_cast<double>(x.n_users) * static_cast<double>(x.n_items);
  std::fprintf(stderr, "data         %s: %zu users, %zu items, %zu interactions (%zu training, "
               "%zu validation, %zu test), sparsity %.2f%%\n",
               data.name.c_str(), x.n_users, x.n_items, x.size(), x.train.size(), x.valid.size(),
               x.test.size(), 100 * (1 - static_cast<double>(x.size()) / cells));
  if (x.drawn)
    std::fputs("split        8:1:1 for each user, drawn by --split-seed: the file has no column "
               "x_label\n", stderr);
  const size_t users = count_isolated(x.n_users, x.train, &Interaction::user);
  const size_t items = count_isolated(x.n_items, x.train, &Interaction::item);
  if (users + items > 0)
    std::fprintf(stderr, "isolated     %zu of the users, %zu of the items: no training "
                 "interactions; such items are ranked, too\n", users, items);
  for (const auto& m : data.modalities)
    std::fprintf(stderr, "modality     %s: %zu-d, %.1f MiB\n", m.name.c_str(), m.dim,
                 mib(m.dim * x.n_items * sizeof(float)));
  if (data.modalities.empty()) std::fputs("modality     none\n", stderr);
  for (const auto& file : data.unread) std::fprintf(stderr, "not read     %s\n", file.c_str());
  if (!model.reads_features)
    std::fprintf(stderr, "             %s reads no features\n", model.name.c_str());
  if (data.synthetic) print_made_up(stderr, data.name);
}

void print_setup(const TrainOptions& options, size_t n_parameters, const Ops<float>& ops) {
  std::string words;
  for (const Setting& setting : options.settings.known())
    words += (words.empty() ? "" : ", ") + setting.name + " " + options.settings.text(setting.name);
  std::fprintf(stderr, "model        %s (%s), %zu parameters\nsettings     %s\n",
               options.model->name.c_str(), options.model->words.c_str(), n_parameters,
               words.c_str());
  std::fprintf(stderr, "device       %s; %.1f MiB allocated; memory of the process %.0f MiB\n\n",
               ops.name().c_str(), mib(ops.allocated()), process_mib("VmRSS"));
}

void print_progress(size_t epoch, size_t batches_done, size_t batches) {
  static const bool terminal = is_terminal();
  constexpr size_t width = 40;
  const size_t filled = width * batches_done / batches;
  if (!terminal || filled == width * (batches_done - 1) / batches) return;
  const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
  std::fprintf(stderr, "\repoch %4zu [%s]", epoch, bar.c_str());
}

void EpochTable::print(const Epoch& e) {
  if (is_terminal()) std::fputs("\r\033[K", stderr);  // the bar's line, emptied
  if (lines_++ == 0) {
    std::fputs("R@20, N@20: validation; train, eval: seconds; since: epochs since the best (*);\n"
               "left: at most, to the last epoch\n\nepoch   loss", stderr);
    for (const Loss& loss : shown(e.losses)) std::fprintf(stderr, " %6.6s", loss.name.c_str());
    std::fputs("   R@20   N@20 train  eval since   left\n", stderr);
  }
  seconds_ += e.train_seconds + e.valid_seconds;
  const double mean = seconds_ / static_cast<double>(lines_);
  std::string line = std::to_string(e.number);
  line.insert(0, line.size() < 5 ? 5 - line.size() : 0, ' ');
  line += " " + in_six(total(e.losses));
  for (const Loss& loss : shown(e.losses)) line += " " + in_six(loss.value);
  for (const double x : {e.valid.recall(at20), e.valid.ndcg(at20)})
    line += " " + (e.valid.n_users > 0 ? in_six(x) : "     -");
  std::fprintf(stderr, "%s %5.5s %5.5s ", line.c_str(), in_six(e.train_seconds).c_str(),
               in_six(e.valid_seconds).c_str());
  if (e.best)
    std::fputs(wants_colour() ? "    \033[32m*\033[0m" : "    *", stderr);
  else
    std::fprintf(stderr, "%5zu", e.since_best);
  std::fprintf(stderr, " %6s\n",
               duration(mean * static_cast<double>(epochs_ - e.number)).c_str());
}

void print_end(const TrainResult& result, const Settings& settings, const Ops<float>& ops) {
  const size_t patience = settings.whole("patience"), n = result.epochs.size();
  std::string why = result.ended;
  if (why == complete && n == result.best_epoch + patience)
    why = std::to_string(patience) + " epochs brought no better validation R@20 (--patience)";
  else if (why == complete)
    why = "after the last of " + std::to_string(n) + " epochs (--epochs)";
  std::fprintf(stderr, "\nstopped      %s\nbest epoch   %zu of %zu\nmost memory  %.1f MiB "
               "allocated, %.0f MiB of the process\n",
               why.c_str(), result.best_epoch, n, mib(ops.most_allocated()),
               process_mib("VmHWM"));
}

void print_advice(const TrainResult& result, const Dataset& data, const Settings& settings) {
  const size_t pairs = data.interactions.train.size();
  if (settings.whole("batch") >= pairs)
    std::fprintf(stderr, "note: a batch holds all %zu training interactions, so an epoch is one "
                 "step: try a smaller --batch (README, Tuning)\n", pairs);
  if (result.test.recall(at20) < result.by_popularity.recall(at20))
    std::fputs("note: this is below the ranking by popularity: try a smaller --batch, a larger "
               "--patience or another --lr (README, Tuning)\n", stderr);
}

void print_results(std::vector<std::pair<std::string, Metrics>> rows, const Dataset& data,
                   const ModelKind& model) {
  if (const Published* p = published_figures(data, model))
    rows.push_back({model.name + ", published, test",
                    {{0, p->figures[0], p->figures[1], 0, 0, p->figures[2], p->figures[3]}, 1}});
  std::printf("%-34s %7s %7s %7s %7s\n", data.name.c_str(), "R@10", "R@20", "N@10", "N@20");
  for (const auto& [words, m] : rows)
    if (m.n_users > 0)
      std::printf("%-34s %7.4f %7.4f %7.4f %7.4f\n", words.c_str(), m.recall(at10),
                  m.recall(at20), m.ndcg(at10), m.ndcg(at20));
    else
      std::printf("%-34s none, the data have no such split\n", words.c_str());
  if (data.synthetic) print_made_up(stdout, data.name);
}

void print_users(const std::vector<UserMetrics>& users) {
  std::fputs("userID\titems", stdout);
  for (size_t m = 0; m < n_metrics; ++m) std::printf("\t%s", metric_name(m).c_str());
  for (const UserMetrics& of : users) {
    std::printf("\n%d\t%zu", of.user, of.n_items);
    for (double value : of.values) std::printf("\t%s", shortest(value).c_str());
  }
  std::puts("");
}

}  // namespace bm3
