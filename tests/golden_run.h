#pragma once
// The steps of a golden by the C++.
#include "golden.h"
#include "magnitude_ops.h"
#include "random.h"

namespace bm3::test {

/// How to run a golden's steps.
struct How {
  bool wait = false;             // rows of tuned features that a batch does not touch
  bool needs_gradients = false;  // end where the golden lacks gradients, or go on with our own
  double jitter = 0;             // change parameters and features by a relative +-jitter, at random
  uint64_t seed = 0;
};

template <class T>
class GoldenRun {
 public:
  /// With `magnitudes`, which are then the `ops`, `terms` are filled, too.
  GoldenRun(Ops<T>& ops, const Golden& g, const How& how, MagnitudeOps* magnitudes = nullptr)
      : ops_(ops),
        g_(g),
        how_(how),
        magnitudes_(magnitudes),
        at_(ops, g),
        adam_(ops, at_.model->parameters(), at_.model->tuned_features(), g.adam, g.n_steps) {
    Random random(how.seed);
    const auto set = [&](Matrix<T> to, const std::string& name) {
      std::vector<T> values;
      for (double x : g.at("init/" + name).values)
        values.push_back(static_cast<T>(x * (1 + (random.below(2) ? how.jitter : -how.jitter))));
      upload(to, values);
    };
    for (const auto& p : at_.model->parameters().all()) set(p.value, p.name);
    for (const auto& e : at_.model->features()) set(e.value, "feature." + e.name);
    for (size_t s = 0; s < g.n_steps; ++s)
      if (!step(s)) return;
    finish();
  }

  std::vector<Result> results;          // in the order of computation
  std::map<std::string, double> terms;  // of losses and gradients: the largest sum of magnitudes

 private:
  bool step(size_t s) {
    step_ = s;
    Model<T>& model = *at_.model;
    const Batch batch = at_.load(g_, s);
    items_ = host_rows(batch.items);
    adam_.begin_step(batch);
    set_masks(batch);
    if (magnitudes_) put_terms(batch);
    model.forward(batch);
    for (Trace& t : model.trace(batch)) put_trace(t, batch);
    put_losses(results);
    model.backward(batch);
    put_gradients(batch, results);
    if (!inject(batch) && how_.needs_gradients) return false;
    adam_.step(batch);
    put_parameters(s + 1 == g_.n_steps);
    return true;
  }

  void upload(Matrix<T> to, const std::vector<T>& values) {
    ops_.upload(to.at, values.data(), values.size() * sizeof(T));
  }
  std::vector<int32_t> host_rows(Rows rows) { return host<int32_t>(ops_, {rows.at, 1, rows.n}); }

  /// Masks of a batch's rows out of the golden's whole ones; where it has none all is kept.
  void set_masks(const Batch& batch) {
    for (const Mask& m : at_.model->masks(batch)) {
      const FileArray* golden = g_.find(Golden::in_step(step_, "mask." + m.name));
      std::vector<uint8_t> values;
      for (int32_t row : host_rows(m.rows))
        for (size_t c = 0; c < m.mask.cols; ++c)
          values.push_back(row >= 0 && (!golden || golden->values[static_cast<size_t>(row) *
                                                                      m.mask.cols + c] != 0));
      ops_.upload(m.mask.at, values.data(), values.size());
    }
  }

  static void put(std::vector<Result>& to, const std::string& name, const std::string& equation,
                  size_t cols, const std::vector<T>& values) {
    to.push_back({name, equation, cols, {}, {values.begin(), values.end()}});
  }
  /// Puts rows of an array, without padding.
  static void put_rows(std::vector<Result>& to, const std::string& name,
                       const std::string& equation, size_t cols, const std::vector<int32_t>& rows,
                       const double* values) {
    Result result{name, equation, cols, {}, {}};
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r] < 0) continue;
      result.rows.push_back(rows[r]);
      result.values.insert(result.values.end(), values + r * cols, values + (r + 1) * cols);
    }
    to.push_back(std::move(result));
  }

  void put_trace(Trace& t, const Batch& batch) {
    const std::string name = Golden::in_step(step_, t.name);
    const FileArray* golden = g_.find(name);
    if (golden && golden->shape.size() == 1) t.rows = order_of_pairs(batch);
    if (t.rows.empty())
      results.push_back({name, t.equation, t.cols, {}, std::move(t.values)});
    else
      put_rows(results, name, t.equation, t.cols, t.rows, t.values.data());
  }

  /// The places of by_user's pairs in the batch: by users' first occurrence.
  std::vector<int32_t> order_of_pairs(const Batch& batch) const {
    const auto& users = g_.at(Golden::in_step(step_, "users")).values;
    std::vector<int32_t> order(batch.size);
    for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int32_t>(k);
    const auto first = [&](int32_t k) {
      return std::find(users.begin(), users.end(), users[static_cast<size_t>(k)]);
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return first(a) < first(b); });
    return order;
  }

  void put_losses(std::vector<Result>& to) {
    const std::vector<Loss> losses = at_.model->take_losses();
    for (const Loss& loss : losses)
      to.push_back({Golden::in_step(step_, "loss." + loss.name), "", 1, {}, {loss.value}});
    to.push_back({Golden::in_step(step_, "loss.total"), "", 1, {}, {total(losses)}});
  }

  /// Gradients from the last parameter to the first, as a backward pass meets them.
  void put_gradients(const Batch& batch, std::vector<Result>& to) {
    const std::string grad = Golden::in_step(step_, "grad/");
    for (auto* e : at_.model->tuned_features()) {
      const std::vector<T> rows = host<T>(ops_, e->gradient(batch.items.n));
      std::vector<T> all(e->value.size());  // rows that the batch does not touch have none
      for (size_t k = 0; k < rows.size(); ++k)
        if (items_[k / e->value.cols] >= 0) all[place(*e, k)] = rows[k];
      put(to, grad + "feature." + e->name, "", e->value.cols, all);
    }
    const auto& parameters = at_.model->parameters().all();
    for (auto p = parameters.rbegin(); p != parameters.rend(); ++p)
      put(to, grad + p->name, "", p->gradient.cols, host<T>(ops_, p->gradient));
  }
  /// Where the k-th value of the batch's rows is in all features.
  size_t place(const Features<T>& e, size_t k) const {
    const size_t cols = e.value.cols;
    return static_cast<size_t>(items_[k / cols]) * cols + k % cols;
  }

  /// Puts the terms of this step's losses and gradients.
  void put_terms(const Batch& batch) {
    Model<T>& model = *at_.model;
    std::vector<Matrix<T>> inputs = {model.parameters().values()};
    for (auto& e : model.features()) inputs.push_back(e.value);
    std::vector<std::vector<T>> values;
    for (const auto& input : inputs) values.push_back(host<T>(ops_, input));
    std::vector<Result> sums;
    if constexpr (sizeof(T) == sizeof(double))
      magnitudes_->over_magnitudes(inputs, [&] { model.forward(batch); },
                                   [&] { model.backward(batch); });
    put_losses(sums);
    put_gradients(batch, sums);
    for (const Result& sum : sums) terms[sum.name] = largest_magnitude(sum.values);
    for (size_t k = 0; k < inputs.size(); ++k) upload(inputs[k], values[k]);
  }

  /// Replaces the model's gradients by the golden ones; false where one is absent.
  bool inject(const Batch& batch) {
    const auto golden = [&](const std::string& name) {
      return g_.find(Golden::in_step(step_, "grad/" + name));
    };
    const auto tuned = at_.model->tuned_features();
    for (const auto& p : at_.model->parameters().all())
      if (!golden(p.name)) return false;
    for (const auto* e : tuned)
      if (!golden("feature." + e->name)) return false;
    for (const auto& p : at_.model->parameters().all()) {
      const auto& values = golden(p.name)->values;
      upload(p.gradient, {values.begin(), values.end()});
    }
    for (auto* e : tuned) {
      const auto& values = golden("feature." + e->name)->values;
      std::vector<T> rows(batch.items.n * e->value.cols);
      for (size_t k = 0; k < rows.size(); ++k)
        if (items_[k / e->value.cols] >= 0) rows[k] = static_cast<T>(values[place(*e, k)]);
      upload(e->gradient(batch.items.n), rows);
    }
    return true;
  }

  /// Parameters after the step. Of features that wait, the batch's rows; all are caught up at the
  /// end.
  void put_parameters(bool last) {
    const std::string after = Golden::in_step(step_, "after/");
    for (const auto& p : at_.model->parameters().all())
      put(results, after + p.name, "", p.value.cols, host<T>(ops_, p.value));
    const bool all = last || !how_.wait;
    if (all) adam_.catch_up();
    for (auto* e : at_.model->tuned_features()) {
      const std::vector<T> values = host<T>(ops_, e->value);
      put(results, after + "feature." + e->name, "", e->value.cols, values);
      if (all) continue;
      Result& result = results.back();
      std::copy_if(items_.begin(), items_.end(), std::back_inserter(result.rows),
                   [](int32_t row) { return row >= 0; });
      result.values.clear();
      for (size_t k = 0; k < result.rows.size() * result.cols; ++k)
        result.values.push_back(values[result.place(k)]);
    }
  }

  void finish() {
    const Embeddings<T> ranked = at_.model->embeddings();
    const size_t w = ranked.user.cols, users = g_.n_users(), items = g_.n_items();
    const std::vector<T> user = host<T>(ops_, ranked.user), item = host<T>(ops_, ranked.item);
    put(results, "final/user", "", w, user);
    put(results, "final/item", "", w, item);
    std::vector<double> scores(users * items);  // [Eq. 13]
    for (size_t k = 0; k < scores.size(); ++k)
      for (size_t c = 0; c < w; ++c)
        scores[k] += double{user[k / items * w + c]} * double{item[k % items * w + c]};
    results.push_back({"final/scores", "s(u, i)", items, {}, std::move(scores)});

    const FileArray* golden = g_.find("final/top_k");
    const size_t k = golden ? golden->shape[1] : std::min(items, longest_list);
    std::vector<int32_t> everyone(users);
    for (size_t u = 0; u < users; ++u) everyone[u] = static_cast<int32_t>(u);
    const Ranking lists = rank<T>(ops_, ranked.user, ranked.item, everyone, at_.graph, k);
    results.push_back({"final/top_k", "", k, {}, {lists.item.begin(), lists.item.end()}});
  }

  Ops<T>& ops_;
  const Golden& g_;
  const How how_;
  MagnitudeOps* const magnitudes_;
  GoldenModel<T> at_;
  Adam<T> adam_;
  size_t step_ = 0;
  std::vector<int32_t> items_;  // rows of the batch at hand
};

}  // namespace bm3::test
