#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace bm3 {
namespace {

/// The paper's data sets, by the sizes of which the real ones are known.
struct Known {
  const char* name;
  int64_t n_users, n_items;
  size_t n_interactions;
};
constexpr Known known[] = {{"baby", 19445, 7050, 160792},
                           {"sports", 35598, 18357, 296337},
                           {"elec", 192403, 63001, 1689188}};

/// How many of the numbers below n stand in no pair.
int64_t count_isolated(int64_t n, const std::vector<Interaction>& pairs,
                       int32_t Interaction::* number) {
  std::vector<char> met(static_cast<size_t>(n));
  for (const Interaction& pair : pairs) met[static_cast<size_t>(pair.*number)] = 1;
  return std::count(met.begin(), met.end(), 0);
}

double mib(size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// Returns this process's memory in MiB by a field of /proc/self/status: VmRSS, what it has now, or
/// VmHWM, the most that it has had (of this program alone, unlike getrusage's).
double process_memory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == field + ":" && status >> kib) return kib / 1024;
  return 0;
}

}  // namespace

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
  std::fprintf(stderr, "data         %s: %lld users, %lld items, %zu interactions (%zu training, "
               "%zu validation, %zu test), sparsity %.2f%%\n",
               data.name.c_str(), static_cast<long long>(x.n_users),
               static_cast<long long>(x.n_items), x.size(), x.train.size(), x.valid.size(),
               x.test.size(), 100 * (1 - static_cast<double>(x.size()) / cells));
  if (x.drawn)
    std::fputs("split        8:1:1 for each user, drawn by --seed: the file has no column "
               "x_label\n", stderr);
  const int64_t users = count_isolated(x.n_users, x.train, &Interaction::user);
  const int64_t items = count_isolated(x.n_items, x.train, &Interaction::item);
  if (users + items > 0)
    std::fprintf(stderr, "isolated     %lld of the users, %lld of the items: no training "
                 "interactions; such items are ranked, too\n",
                 static_cast<long long>(users), static_cast<long long>(items));
  for (const auto& m : data.modalities)
    std::fprintf(stderr, "modality     %s: %lld-d, %.1f MiB\n", m.name.c_str(),
                 static_cast<long long>(m.dim),
                 mib(static_cast<size_t>(m.dim * x.n_items) * sizeof(float)));
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
               ops.name().c_str(), mib(ops.allocated()), process_memory("VmRSS"));
}

void print_progress(size_t epoch, size_t batches_done, size_t batches) {
  static const bool terminal = isatty(STDERR_FILENO);
  constexpr size_t width = 40;
  const size_t filled = width * batches_done / batches;
  if (!terminal || filled == width * (batches_done - 1) / batches) return;
  const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
  std::fprintf(stderr, "\repoch %4zu [%s]", epoch, bar.c_str());
}

void print_epoch(const Epoch& e) {
  if (isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);  // the bar's line, emptied
  std::fprintf(stderr, "epoch %4zu  loss %.5f (", e.number, total(e.losses));
  const char* between = "";
  for (const Loss& loss : e.losses) {
    std::fprintf(stderr, "%s%s %.5f", between, loss.name.c_str(), loss.weight * loss.value);
    between = ", ";
  }
  std::fprintf(stderr, ")  valid R@20 %.4f N@20 %.4f  %.2f + %.2f s%s\n", e.valid.recall[at20],
               e.valid.ndcg[at20], e.train_seconds, e.valid_seconds, e.best ? "  * best" : "");
}

void print_end(const TrainResult& result, const Ops<float>& ops) {
  std::fprintf(stderr, "\nbest epoch %zu of %zu; most memory: %.1f MiB allocated, %.0f MiB of the "
               "process\n",
               result.best_epoch, result.epochs.size(), mib(ops.most_allocated()),
               process_memory("VmHWM"));
}

void print_results(std::vector<std::pair<std::string, Metrics>> rows, const Dataset& data,
                   const ModelKind& model) {
  if (const Published* p = published_figures(data, model))
    rows.push_back({"the paper's " + model.name + ", test",
                    {{0, p->recall10, p->recall20}, {0, p->ndcg10, p->ndcg20}}});
  std::printf("%-34s %7s %7s %7s %7s\n", data.name.c_str(), "R@10", "R@20", "N@10", "N@20");
  for (const auto& [words, m] : rows)
    std::printf("%-34s %7.4f %7.4f %7.4f %7.4f\n", words.c_str(), m.recall[at10], m.recall[at20],
                m.ndcg[at10], m.ndcg[at20]);
  if (data.synthetic) print_made_up(stdout, data.name);
}

}  // namespace bm3
