#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace bm3 {
namespace {

constexpr double mib = 1 << 20;

/// The paper's BM3 on each of its data sets (Table 3), and the sizes by which the data is known.
struct Published {
  const char* name;
  int64_t n_users, n_items;
  size_t n_interactions;
  double recall10, recall20, ndcg10, ndcg20;
};
constexpr Published published[] = {
    {"baby", 19445, 7050, 160792, 0.0564, 0.0883, 0.0301, 0.0383},
    {"sports", 35598, 18357, 296337, 0.0656, 0.0980, 0.0355, 0.0438},
    {"elec", 192403, 63001, 1689188, 0.0437, 0.0648, 0.0247, 0.0302}};

/// Whether `name` is that of one of the paper's data sets.
bool is_published(const std::string& name) {
  return std::any_of(std::begin(published), std::end(published),
                     [&](const Published& p) { return name == p.name; });
}

void print_made_up(std::FILE* to, const std::string& name) {
  if (is_published(name))
    std::fprintf(to, "This %s is a made-up stand-in, not Amazon's data: its figures say nothing "
                 "about the paper's.\ndata/README.md tells how to get the real files.\n",
                 name.c_str());
  else
    std::fprintf(to, "The data set %s is made up: its figures say nothing about real data.\n",
                 name.c_str());
}

/// How many of the numbers below n stand in no pair.
int64_t count_isolated(int64_t n, const std::vector<Interaction>& pairs,
                       int32_t Interaction::* number) {
  std::vector<char> met(static_cast<size_t>(n));
  for (const Interaction& pair : pairs) met[static_cast<size_t>(pair.*number)] = 1;
  return std::count(met.begin(), met.end(), 0);
}

void print_row(const std::string& words, double r10, double r20, double n10, double n20) {
  std::printf("%-34s %7.4f %7.4f %7.4f %7.4f\n", words.c_str(), r10, r20, n10, n20);
}

}  // namespace

double process_memory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == field + ":" && status >> kib) return kib * 1024 / mib;
  return 0;
}

void print_data(const Dataset& data) {
  const Interactions& x = data.interactions;
  const double cells = static_cast<double>(x.n_users) * static_cast<double>(x.n_items);
  std::fprintf(stderr, "data         %s: %lld users, %lld items, %zu interactions (%zu training, "
               "%zu validation, %zu test), sparsity %.2f%%\n",
               data.name.c_str(), static_cast<long long>(x.n_users),
               static_cast<long long>(x.n_items), x.size(), x.train.size(), x.valid.size(),
               x.test.size(), 100 * (1 - static_cast<double>(x.size()) / cells));
  if (x.drawn)
    std::fputs("split        8:1:1 for each user, drawn by --seed: the file has no column x_label\n",
               stderr);
  const int64_t users = count_isolated(x.n_users, x.train, &Interaction::user);
  const int64_t items = count_isolated(x.n_items, x.train, &Interaction::item);
  if (users + items > 0)
    std::fprintf(stderr, "isolated     %lld of the users, %lld of the items: no training "
                 "interactions; such items are ranked, too\n",
                 static_cast<long long>(users), static_cast<long long>(items));
  for (const auto& m : data.modalities)
    std::fprintf(stderr, "modality     %s: %lld-d, %.1f MiB\n", m.name.c_str(),
                 static_cast<long long>(m.dim),
                 static_cast<double>(m.dim * x.n_items) * sizeof(float) / mib);
  if (data.modalities.empty()) std::fputs("modality     none\n", stderr);
  for (const auto& file : data.unread) std::fprintf(stderr, "not read     %s\n", file.c_str());
  if (data.synthetic) print_made_up(stderr, data.name);
}

void print_setup(const TrainOptions& options, const Dataset& data, size_t n_parameters,
                 const std::string& device) {
  const Bm3Config& model = options.train.model;
  int64_t n_features = 0;
  for (const auto& m : data.modalities) n_features += m.dim * data.interactions.n_items;
  std::fprintf(stderr, "model        L = %zu, d = %zu, p = %g, lambda = %g (%s), mm-weight = %g, "
               "losses %s\n",
               model.n_layers, model.d, model.dropout, model.reg_weight, name_of(model.reg_form),
               model.mm_weight, losses_of(model).c_str());
  std::fprintf(stderr, "parameters   %zu", n_parameters);
  if (n_features)
    std::fprintf(stderr, ", and %lld %s feature values", static_cast<long long>(n_features),
                 name_of_features(model.tuned));
  std::fprintf(stderr, "\ndevice       %s; memory of the process %.0f MiB\n\n", device.c_str(),
               process_memory("VmRSS"));
}

void print_memory(const std::vector<MemoryPart>& parts, const std::string& device) {
  std::printf("%-42s %10s\n", ("training on the " + device + " holds").c_str(), "MiB");
  const auto line = [](const std::string& words, size_t bytes) {
    std::printf("%-42s %10.2f\n", words.c_str(), static_cast<double>(bytes) / mib);
  };
  for (const MemoryPart& part : parts)
    if (part.bytes > 0) line(part.name, part.bytes);
  line("in all", total(parts));
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
  std::fprintf(stderr, "epoch %4zu  loss %.5f (rec %.5f, align %.5f, mask %.5f, reg %.5f)  "
               "valid R@20 %.4f N@20 %.4f  %.2f + %.2f s%s\n",
               e.number, e.loss.total(), e.loss.rec, e.loss.align, e.loss.mask, e.loss.reg,
               e.valid.recall[at20], e.valid.ndcg[at20], e.train_seconds, e.valid_seconds,
               e.best ? "  * best" : "");
}

void print_results(const std::vector<ResultRow>& rows, const Dataset& data) {
  std::printf("%-34s %7s %7s %7s %7s\n", data.name.c_str(), "R@10", "R@20", "N@10", "N@20");
  for (const auto& [words, m] : rows)
    print_row(words, m.recall[at10], m.recall[at20], m.ndcg[at10], m.ndcg[at20]);
  const Interactions& x = data.interactions;
  for (const Published& p : published)
    if (!data.synthetic && data.name == p.name && x.n_users == p.n_users &&
        x.n_items == p.n_items && x.size() == p.n_interactions)
      print_row("the paper's BM3, v and t, test", p.recall10, p.recall20, p.ndcg10, p.ndcg20);
  if (data.synthetic) print_made_up(stdout, data.name);
}

}  // namespace bm3
