#pragma once
// The steps of a golden directory by the C++.
#include "evaluate.h"
#include "golden_terms.h"

namespace bm3::test {

/// What the C++ has beside a golden directory.
struct Results {
  std::map<std::string, std::vector<double>> arrays;  // by their names, all rows
  /// By the names of gradients and losses: the largest magnitude of what they are sums of.
  std::map<std::string, double> terms;
  std::vector<int32_t> lists;  // [n_users, k]; empty when the run ended before
};

/// Rows of tuned features that a batch does not touch wait with their momentum, as in training, or
/// are caught up after every step.
enum class Untouched { wait, caught_up };

template <class T>
std::vector<double> as_double(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

/// `values` as T, each times 1 +- jitter.
template <class T>
std::vector<T> jittered(const std::vector<double>& values, double jitter, Random& random) {
  std::vector<T> out;
  for (double x : values)
    out.push_back(static_cast<T>(x * (1 + (random.below(2) ? jitter : -jitter))));
  return out;
}

template <class T>
class GoldenRun {
 public:
  /// Parameters and features are changed by a relative +-jitter, at random by `seed`. Without
  /// golden gradients Adam gets the model's own or, when it `needs_gradients`, the run ends.
  GoldenRun(Ops<T>& ops, const Golden& g, Untouched untouched, bool needs_gradients,
            double jitter = 0, uint64_t seed = 0)
      : ops_(ops),
        g_(g),
        untouched_(untouched),
        needs_gradients_(needs_gradients),
        graph_(make_graph<T>(ops, g.data.n_users, g.data.n_items, g.data.train, g.degree_epsilon)),
        loader_(ops, g.data.n_users, g.data.n_items, largest_batch(g)),
        model_(ops, graph_, g.config, g.modalities, loader_),
        adam_(ops, model_, g.adam, g.n_steps) {
    Random random(seed);
    std::vector<T> all;
    for (const auto& slot : model_.slots()) {
      const auto values = jittered<T>(g.at("init/" + slot.name).values, jitter, random);
      all.insert(all.end(), values.begin(), values.end());
    }
    model_.values().upload(all);
    for (auto& e : model_.modalities())
      e.features.upload(jittered<T>(g.at("init/feature." + e.name).values, jitter, random));
  }

  /// All steps and, unless a step lacked gradients that were needed, the final scores and lists. A
  /// run in which rows wait has the model's results for the batch's rows alone and puts them in the
  /// place of those in `results`.
  void run(Results& results) {
    for (size_t s = 0; s < g_.n_steps; ++s)
      if (!step(s, results)) return;
    finish(results);
  }

 private:
  static size_t largest_batch(const Golden& g) {
    size_t largest = 0;
    for (size_t s = 0; s < g.n_steps; ++s) largest = std::max(largest, g.batch(s).size());
    return largest;
  }

  bool step(size_t s, Results& results) {
    const auto pairs = g_.batch(s);
    const Batch batch = loader_.load(pairs.data(), pairs.size());
    const auto put = [&](const std::string& name, const std::vector<T>& values,
                         const std::vector<int32_t>& rows = {}) {
      const std::string in_step = Golden::in_step(s, name);
      if (g_.find(in_step)) put_rows_of(results.arrays[in_step], g_.at(in_step), values, rows);
    };
    adam_.begin_step(batch);
    put_terms(s, batch, results.terms);
    layers(put);
    forward(s, batch);
    put("H", model_.H().host());
    if (untouched_ == Untouched::wait)
      put_rows(batch, put);
    else
      put_all_rows(s, put);
    model_.backward(batch);
    put_losses(s, results);
    put_gradients(batch, put);
    if (!inject(s, batch) && needs_gradients_) return false;
    adam_.step(batch);
    put_parameters(batch, s + 1 == g_.n_steps, put);
    return true;
  }

  void forward(size_t s, const Batch& batch) {
    model_.encode(batch);
    upload_masks(s, batch);
    model_.losses(batch);
  }

  /// Puts `values` into these rows of an array, or all of it; rows that nobody puts are NaN.
  static void put_rows_of(std::vector<double>& array, const GoldenArray& golden,
                          const std::vector<T>& values, const std::vector<int32_t>& rows) {
    if (rows.empty()) return void(array = as_double(values));
    array.resize(golden.values.size(), std::numeric_limits<double>::quiet_NaN());
    const size_t cols = golden.shape[1];
    for (size_t k = 0; k < values.size(); ++k)
      array[static_cast<size_t>(rows[k / cols]) * cols + k % cols] = values[k];
  }

  /// The layers one by one; the model itself sums them by Horner's rule.
  template <class Put>
  void layers(const Put& put) {
    const size_t d = g_.config.d, n = (model_.n_users() + model_.n_items()) * d;
    Array<T> x(ops_, n), y(ops_, n);
    const T* from = model_.values().data();  // E: users' rows, then items'
    for (size_t l = 1; l <= g_.config.n_layers; ++l) {
      ops_.propagate(y.data(), from, from, T(1), T(0), T(0), graph_, d);
      put("layer_" + std::to_string(l), y.host());
      std::swap(x, y);
      from = x.data();
    }
  }

  std::vector<int32_t> rows_of(const int32_t* on_device, size_t n) const {
    std::vector<int32_t> rows(n);
    ops_.download(rows.data(), on_device, n * sizeof(int32_t));
    return rows;
  }

  /// The tables of a batch's matrices.
  std::vector<BatchTable> tables(const Batch& batch) const {
    const auto items = rows_of(batch.items, batch.n_items);
    std::vector<BatchTable> out{{"user", rows_of(batch.users, batch.n_users), 0},
                                {"item", items, batch.n_users}};
    for (const auto& m : g_.modalities)
      out.push_back({m.name, items, out.back().first + batch.n_items});
    return out;
  }

  bool kept(size_t s, const std::string& name, size_t entry) const {
    const GoldenArray* mask = g_.find(Golden::in_step(s, "mask." + name));
    return !mask || mask->values[entry] != 0;
  }

  void upload_masks(size_t s, const Batch& batch) {
    const size_t d = g_.config.d;
    std::vector<uint8_t> masks;
    for (const BatchTable& table : tables(batch))
      for (int32_t row : table.rows)
        for (size_t c = 0; c < d; ++c)
          masks.push_back(row >= 0 && kept(s, table.name, static_cast<size_t>(row) * d + c));
    model_.masks().upload(masks);
  }

  void put_losses(size_t s, Results& results) {
    const LossParts loss = model_.take_losses();
    const auto put = [&](const std::string& name, double value) {
      results.arrays[Golden::in_step(s, "loss." + name)] = {value};
    };
    put("rec", loss.rec);
    put("align", loss.align);
    put("mask", loss.mask);
    put("reg", loss.reg);
    put("total", loss.total());
  }

  /// Projections, predictions and views of all rows, by the model's operations over whole tables.
  template <class Put>
  void put_all_rows(size_t s, const Put& put) {
    const size_t d = g_.config.d, users = model_.n_users(), items = model_.n_items();
    put_table(s, "user", model_.H().data(), users, put);
    put_table(s, "item", model_.H().data() + users * d, items, put);
    for (const auto& e : model_.modalities()) {
      Array<T> projection(ops_, items * d);
      ops_.linear_forward(projection.data(), e.features.data(), nullptr, value(e.name + ".weight"),
                          value(e.name + ".bias"), items, e.dim, d);
      put_table(s, e.name, projection.data(), items, put);
    }
  }
  const T* value(const std::string& parameter) {
    return model_.values().data() + model_.slot(parameter).offset;
  }

  /// What follows from rows z [n, d] of H or of a projection.
  template <class Put>
  void put_table(size_t s, const std::string& name, const T* z, size_t n, const Put& put) {
    const size_t d = g_.config.d;
    Array<T> h(ops_, n * d);
    ops_.linear_forward(h.data(), z, nullptr, value("predictor.weight"), value("predictor.bias"), n,
                        d, d);
    std::vector<T> rows(n * d), seen(n * d);
    ops_.download(rows.data(), z, n * d * sizeof(T));
    for (size_t k = 0; k < n * d; ++k)
      seen[k] = view_entry(rows[k], kept(s, name, k), scale_of_kept());
    put("projection." + name, rows);
    put("predicted." + name, h.host());
    put("view." + name, seen);
  }
  T scale_of_kept() const { return static_cast<T>(1 / (1 - g_.config.dropout)); }

  /// Projections, predictions and views of the batch's rows, as the model left them.
  template <class Put>
  void put_rows(const Batch& batch, const Put& put) {
    const size_t d = g_.config.d;
    const auto z = model_.z().host(), h = model_.predicted().host();
    const auto mask = model_.masks().host();
    const View<T> view{z.data(), mask.data(), scale_of_kept()};
    for (const BatchTable& table : tables(batch)) {
      std::vector<int32_t> rows;
      std::vector<T> projection, predicted, seen;
      for (size_t r = 0; r < table.rows.size(); ++r) {
        if (table.rows[r] < 0) continue;
        rows.push_back(table.rows[r]);
        const auto at = static_cast<std::ptrdiff_t>((table.first + r) * d);
        const auto end = at + static_cast<std::ptrdiff_t>(d);
        projection.insert(projection.end(), z.begin() + at, z.begin() + end);
        predicted.insert(predicted.end(), h.begin() + at, h.begin() + end);
        for (size_t c = 0; c < d; ++c) seen.push_back(view[(table.first + r) * d + c]);
      }
      put("projection." + table.name, projection, rows);
      put("predicted." + table.name, predicted, rows);
      put("view." + table.name, seen, rows);
    }
  }

  template <class Put>
  void put_gradients(const Batch& batch, const Put& put) {
    const auto gradients = model_.gradients().host();
    for (const auto& slot : model_.slots()) put("grad/" + slot.name, slice(gradients, slot));
    if (!g_.config.tuned) return;
    const auto items = rows_of(batch.items, batch.n_items);
    for (auto& e : model_.modalities()) {
      const auto of_rows = e.d_features.host();
      std::vector<T> all(e.features.size());  // rows that the batch does not touch have none
      for (size_t r = 0; r < items.size(); ++r)
        for (size_t j = 0; j < e.dim && items[r] >= 0; ++j)
          all[static_cast<size_t>(items[r]) * e.dim + j] = of_rows[r * e.dim + j];
      put("grad/feature." + e.name, all);
    }
  }

  /// Puts the golden gradients in the place of the model's; false where one is absent.
  bool inject(size_t s, const Batch& batch) {
    for (const std::string& name : g_.trainable())
      if (!g_.find(Golden::in_step(s, "grad/" + name))) return false;
    const auto golden = [&](const std::string& name) {
      const auto& values = g_.at(Golden::in_step(s, "grad/" + name)).values;
      return std::vector<T>(values.begin(), values.end());
    };
    std::vector<T> all;
    for (const auto& slot : model_.slots()) {
      const auto gradient = golden(slot.name);
      all.insert(all.end(), gradient.begin(), gradient.end());
    }
    model_.gradients().upload(all);
    if (!g_.config.tuned) return true;
    const auto items = rows_of(batch.items, batch.n_items);
    for (auto& e : model_.modalities()) {
      const auto gradient = golden("feature." + e.name);
      std::vector<T> of_rows(items.size() * e.dim);
      for (size_t r = 0; r < items.size(); ++r)
        for (size_t j = 0; j < e.dim && items[r] >= 0; ++j)
          of_rows[r * e.dim + j] = gradient[static_cast<size_t>(items[r]) * e.dim + j];
      e.d_features.upload(of_rows);
    }
    return true;
  }

  /// Parameters after the step. Of features that wait, the batch's rows; all are caught up at the
  /// end.
  template <class Put>
  void put_parameters(const Batch& batch, bool last, const Put& put) {
    const auto values = model_.values().host();
    for (const auto& slot : model_.slots()) put("after/" + slot.name, slice(values, slot));
    if (!g_.config.tuned) return;
    const bool all = last || untouched_ == Untouched::caught_up;
    if (all) adam_.catch_up();
    std::vector<int32_t> rows = rows_of(batch.items, batch.n_items);
    rows.erase(std::remove(rows.begin(), rows.end(), -1), rows.end());
    for (auto& e : model_.modalities()) {
      const auto features = e.features.host();
      if (all) {
        put("after/feature." + e.name, features);
        continue;
      }
      std::vector<T> of_rows;
      for (int32_t row : rows) {
        const auto at = features.begin() + static_cast<std::ptrdiff_t>(row) *
                                               static_cast<std::ptrdiff_t>(e.dim);
        of_rows.insert(of_rows.end(), at, at + static_cast<std::ptrdiff_t>(e.dim));
      }
      put("after/feature." + e.name, of_rows, rows);
    }
  }

  /// Puts the terms of this step's losses and gradients.
  void put_terms(size_t s, const Batch& batch, std::map<std::string, double>& terms) {
    forward(s, batch);
    model_.take_losses();
    backward_over_magnitudes(
        ops_, model_, batch,
        cosine_terms(g_.config, g_.batch(s), tables(batch), model_.predicted().host()));
    put_gradients(batch, [&](const std::string& name, const std::vector<T>& sums) {
      terms[Golden::in_step(s, name)] = largest_magnitude(sums);
    });
    const double mm = g_.config.mm_weight * static_cast<double>(g_.modalities.size());
    const std::pair<const char*, double> losses[] = {  // means of 1 + C
        {"rec", 2}, {"align", mm}, {"mask", mm}, {"total", 2 + 2 * mm}};
    for (const auto& [name, sum] : losses) terms[Golden::in_step(s, "loss.") + name] = sum;
  }

  void finish(Results& results) {
    const size_t d = g_.config.d, users = model_.n_users(), items = model_.n_items();
    const T* h = model_.predict_all();
    std::vector<T> host((users + items) * d);
    ops_.download(host.data(), h, host.size() * sizeof(T));
    const auto middle = host.begin() + static_cast<std::ptrdiff_t>(users * d);
    const auto &h_u = results.arrays["final/predicted.user"] = {host.begin(), middle},
               &h_i = results.arrays["final/predicted.item"] = {middle, host.end()};
    std::vector<double> scores(users * items);  // [Eq. 13]
    for (size_t k = 0; k < scores.size(); ++k)
      for (size_t c = 0; c < d; ++c) scores[k] += h_u[k / items * d + c] * h_i[k % items * d + c];

    const GoldenArray* golden = g_.find("final/top_k");
    const size_t k = golden ? golden->shape[1] : std::min(items, longest_list);
    std::vector<int32_t> everyone(users);
    for (size_t u = 0; u < users; ++u) everyone[u] = static_cast<int32_t>(u);
    const Array<int32_t> rows(ops_, everyone);
    Array<int32_t> item(ops_, std::vector<int32_t>(users * k, -2));
    Array<T> score(ops_, users * k);
    ops_.top_k(item.data(), score.data(), h, h + users * d, rows.data(), graph_, k, users, d);
    results.lists = item.host();
    const auto listed = score.host();  // the ranking's own scores in the place of the host's
    for (size_t at = 0; at < listed.size(); ++at)
      if (results.lists[at] >= 0)
        scores[at / k * items + static_cast<size_t>(results.lists[at])] = listed[at];
    results.arrays["final/scores"] = std::move(scores);
  }

  Ops<T>& ops_;
  const Golden& g_;
  Untouched untouched_;
  bool needs_gradients_;
  Graph<T> graph_;
  BatchLoader loader_;
  Bm3<T> model_;
  Adam<T> adam_;
};

}  // namespace bm3::test
