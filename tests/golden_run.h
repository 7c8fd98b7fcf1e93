#pragma once
// The steps of a golden by the C++.
#include <numeric>

#include "golden.h"
#include "magnitude_ops.h"
#include "random_inputs.h"

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
    adam_.begin_step(batch);
    set_masks(batch);
    if (magnitudes_) put_terms(batch);
    model.forward(batch);
    for (const Trace& t : model.trace(batch)) put_trace(t, batch);
    put_losses(results);
    model.backward(batch);
    put_gradients(batch, results);
    if (!inject(batch) && how_.needs_gradients) return false;
    adam_.step(batch);
    put_parameters(batch, s + 1 == g_.n_steps);
    return true;
  }

  void upload(Matrix<T> to, const std::vector<T>& values) {
    ops_.upload(to.at, values.data(), values.size() * sizeof(T));
  }
  std::vector<int32_t> host_rows(Rows rows) { return host<int32_t>(ops_, {rows.at, 1, rows.n}); }
  static std::vector<int32_t> without_padding(std::vector<int32_t> rows) {
    while (!rows.empty() && rows.back() < 0) rows.pop_back();
    return rows;
  }

  /// Masks of a batch's rows out of the golden's whole ones; where it has none all is kept.
  void set_masks(const Batch& batch) {
    for (const Mask& m : at_.model->masks(batch)) {
      const FileArray* golden = g_.find(Golden::in_step(step_, "mask." + m.name));
      std::vector<uint8_t> values;
      for (int32_t row : host_rows(m.rows))
        for (size_t c = 0; c < m.mask.cols; ++c)
          values.push_back(
              row >= 0 &&
              (!golden || golden->values[static_cast<size_t>(row) * m.mask.cols + c] != 0));
      ops_.upload(m.mask.at, values.data(), values.size());
    }
  }

  void put_trace(const Trace& t, const Batch& batch) {
    Result result{Golden::in_step(step_, t.name), t.equation, t.cols, without_padding(t.rows),
                  t.values};
    const FileArray* golden = g_.find(result.name);
    if (golden && golden->shape.size() == 1) result.rows = order_of_pairs(batch);
    if (!result.rows.empty()) result.values.resize(result.rows.size() * t.cols);
    results.push_back(std::move(result));
  }

  /// The places of by_user's pairs in the batch: by users' first occurrence.
  std::vector<int32_t> order_of_pairs(const Batch& batch) const {
    const auto& users = g_.at(Golden::in_step(step_, "users")).values;
    std::vector<int32_t> order = first_rows(batch.size);
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

  /// What Adam updates. The embedding tables, which come first among the parameters, come last in a
  /// backward pass.
  struct Trained {
    std::string name;
    Matrix<T> value, gradient;
    std::vector<int32_t> rows;  // of the gradient, which may lack those of untouched features
  };
  std::vector<Trained> trained(const Batch& batch) {
    std::vector<Trained> out;
    for (const auto& p : at_.model->parameters().all())
      out.push_back({p.name, p.value, p.gradient, first_rows(p.value.rows)});
    for (auto* e : at_.model->tuned_features())
      out.push_back({"feature." + e->name, e->value, e->gradient(batch.items.n),
                     without_padding(host_rows(batch.items))});
    std::rotate(out.begin(), out.begin() + 2, out.end());
    return out;
  }
  static std::vector<int32_t> first_rows(size_t n) {
    std::vector<int32_t> rows(n);
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }

  /// Puts gradients, 0 in rows of features that the batch does not touch.
  void put_gradients(const Batch& batch, std::vector<Result>& to) {
    for (const Trained& p : trained(batch)) {
      const std::vector<T> values = host<T>(ops_, p.gradient);
      Result result{Golden::in_step(step_, "grad/" + p.name), "", p.value.cols, p.rows,
                    std::vector<double>(p.value.size())};
      for (size_t k = 0; k < p.rows.size() * result.cols; ++k)
        result.values[result.place(k)] = values[k];
      result.rows.clear();
      to.push_back(std::move(result));
    }
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
    const std::vector<Trained> all = trained(batch);
    const auto golden = [&](const Trained& p) {
      return g_.find(Golden::in_step(step_, "grad/" + p.name));
    };
    if (!std::all_of(all.begin(), all.end(), golden)) return false;
    for (const Trained& p : all) {
      const Result at{"", "", p.value.cols, p.rows, {}};
      std::vector<T> values(p.gradient.size());
      for (size_t k = 0; k < p.rows.size() * at.cols; ++k)
        values[k] = static_cast<T>(golden(p)->values[at.place(k)]);
      upload(p.gradient, values);
    }
    return true;
  }

  /// Puts parameters after the step. Of features that wait, the batch's rows; all are caught up at
  /// the end.
  void put_parameters(const Batch& batch, bool last) {
    const bool all = last || !how_.wait;
    if (all) adam_.catch_up();
    for (const Trained& p : trained(batch)) {
      const std::vector<T> values = host<T>(ops_, p.value);
      Result result{Golden::in_step(step_, "after/" + p.name), "", p.value.cols,
                    all ? first_rows(p.value.rows) : p.rows, {}};
      for (size_t k = 0; k < result.rows.size() * result.cols; ++k)
        result.values.push_back(values[result.place(k)]);
      results.push_back(std::move(result));
    }
  }

  void finish() {
    const Embeddings<T> ranked = at_.model->embeddings();
    const size_t w = ranked.user.cols, users = g_.n_users(), items = g_.n_items();
    const std::vector<T> user = host<T>(ops_, ranked.user), item = host<T>(ops_, ranked.item);
    std::vector<double> scores(users * items);  // [Eq. 13]
    for (size_t k = 0; k < scores.size(); ++k)
      for (size_t c = 0; c < w; ++c)
        scores[k] += double{user[k / items * w + c]} * double{item[k % items * w + c]};
    results.push_back({"final/user", "", w, {}, {user.begin(), user.end()}});
    results.push_back({"final/item", "", w, {}, {item.begin(), item.end()}});
    results.push_back({"final/scores", "s(u, i)", items, {}, std::move(scores)});

    const FileArray* golden = g_.find("final/top_k");
    const size_t k = golden ? golden->shape[1] : std::min(items, longest_list);
    const auto lists = rank<T>(ops_, ranked.user, ranked.item, at_.graph, k).host();
    results.push_back({"final/top_k", "", k, {}, {lists.begin(), lists.end()}});
  }

  Ops<T>& ops_;
  const Golden& g_;
  const How how_;
  MagnitudeOps* const magnitudes_;
  GoldenModel<T> at_;
  Adam<T> adam_;
  size_t step_ = 0;
};

}  // namespace bm3::test
