#pragma once
// The steps of a golden directory by the C++.
#include "evaluate.h"
#include "golden.h"
#include "model_check.h"

namespace bm3::test {

/// What the C++ has for a golden array: these rows of it, or all where `rows` is empty.
struct Computed {
  std::vector<double> values;
  std::vector<int32_t> rows;
};
using Results = std::map<std::string, Computed>;

struct Lists {
  std::vector<int32_t> item;  // [n_users, k]
  std::vector<double> score;
};

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
  GoldenRun(Ops<T>& ops, const Golden& g, bool needs_gradients, double jitter = 0,
            uint64_t seed = 0)
      : ops_(ops),
        g_(g),
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

  /// All steps and, unless a step lacked gradients that were needed, the final scores and lists.
  void run(Results& results, Lists& lists) {
    for (size_t s = 0; s < g_.n_steps; ++s)
      if (!step(s, results)) return;
    finish(results, lists);
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
      if (g_.find(in_step)) results[in_step] = {as_double(values), rows};
    };
    adam_.begin_step(batch);
    layers(put);
    model_.encode(batch);
    put("H", model_.H().host());
    upload_masks(s, batch);
    model_.predict(batch);
    model_.losses(batch);
    model_.backward(batch);
    put_losses(s, results);
    put_rows(batch, put);
    put_gradients(batch, put);
    if (!inject(s, batch) && needs_gradients_) return false;
    adam_.step(batch);
    put_parameters(batch, s + 1 == g_.n_steps, put);
    return true;
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

  /// The tables of a batch's matrices: name, rows in the golden array (-1: padding), first row.
  struct Table {
    std::string name;
    std::vector<int32_t> rows;
    size_t first;
  };
  std::vector<Table> tables(const Batch& batch) const {
    const auto items = rows_of(batch.items, batch.n_items);
    std::vector<Table> out{{"user", rows_of(batch.users, batch.n_users), 0},
                           {"item", items, batch.n_users}};
    for (const auto& m : g_.modalities)
      out.push_back({m.name, items, out.back().first + batch.n_items});
    return out;
  }

  void upload_masks(size_t s, const Batch& batch) {
    const size_t d = g_.config.d;
    std::vector<uint8_t> masks;
    for (const Table& table : tables(batch)) {
      const GoldenArray* mask = g_.find(Golden::in_step(s, "mask." + table.name));
      const auto kept = [&](int32_t row, size_t c) {
        return !mask || (row >= 0 && mask->values[static_cast<size_t>(row) * d + c] != 0);
      };
      for (int32_t row : table.rows)
        for (size_t c = 0; c < d; ++c) masks.push_back(kept(row, c));
    }
    model_.masks().upload(masks);
  }

  void put_losses(size_t s, Results& results) {
    const LossParts loss = model_.take_losses();
    const auto put = [&](const std::string& name, double value) {
      results[Golden::in_step(s, "loss." + name)] = {{value}, {}};
    };
    put("rec", loss.rec);
    put("align", loss.align);
    put("mask", loss.mask);
    put("reg", loss.reg);
    put("total", loss.total());
  }

  /// Projections, predictions and views of the batch's rows.
  template <class Put>
  void put_rows(const Batch& batch, const Put& put) {
    const size_t d = g_.config.d;
    const auto z = model_.z().host(), h = model_.predicted().host();
    const auto mask = model_.masks().host();
    const View<T> view{z.data(), mask.data(), static_cast<T>(1 / (1 - g_.config.dropout))};
    for (const Table& table : tables(batch)) {
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

  /// Parameters after the step. Features are all caught up only at the end, so that rows do wait
  /// with their momentum before: until then, the batch's rows.
  template <class Put>
  void put_parameters(const Batch& batch, bool last, const Put& put) {
    const auto values = model_.values().host();
    for (const auto& slot : model_.slots()) put("after/" + slot.name, slice(values, slot));
    if (!g_.config.tuned) return;
    if (last) adam_.catch_up();
    std::vector<int32_t> rows = rows_of(batch.items, batch.n_items);
    rows.erase(std::remove(rows.begin(), rows.end(), -1), rows.end());
    for (auto& e : model_.modalities()) {
      const auto features = e.features.host();
      std::vector<T> of_rows;
      for (int32_t row : rows) {
        const auto at = features.begin() + static_cast<std::ptrdiff_t>(row) *
                                               static_cast<std::ptrdiff_t>(e.dim);
        of_rows.insert(of_rows.end(), at, at + static_cast<std::ptrdiff_t>(e.dim));
      }
      if (last)
        put("after/feature." + e.name, features);
      else
        put("after/feature." + e.name, of_rows, rows);
    }
  }

  void finish(Results& results, Lists& lists) {
    const size_t d = g_.config.d, users = model_.n_users(), items = model_.n_items();
    const T* h = model_.predict_all();
    std::vector<T> host((users + items) * d);
    ops_.download(host.data(), h, host.size() * sizeof(T));
    const auto middle = host.begin() + static_cast<std::ptrdiff_t>(users * d);
    const std::vector<T> of_users(host.begin(), middle), of_items(middle, host.end());
    results["final/predicted.user"] = {as_double(of_users), {}};
    results["final/predicted.item"] = {as_double(of_items), {}};

    const GoldenArray* golden = g_.find("final/top_k");
    const size_t k = golden ? golden->shape[1] : std::min(items, longest_list);
    std::vector<int32_t> everyone(users);
    for (size_t u = 0; u < users; ++u) everyone[u] = static_cast<int32_t>(u);
    const Array<int32_t> rows(ops_, everyone);
    Array<int32_t> item(ops_, std::vector<int32_t>(users * k, -2));
    Array<T> score(ops_, users * k);
    ops_.top_k(item.data(), score.data(), h, h + users * d, rows.data(), graph_, k, users, d);
    lists = {item.host(), as_double(score.host())};
  }

  Ops<T>& ops_;
  const Golden& g_;
  bool needs_gradients_;
  Graph<T> graph_;
  BatchLoader loader_;
  Bm3<T> model_;
  Adam<T> adam_;
};

}  // namespace bm3::test
