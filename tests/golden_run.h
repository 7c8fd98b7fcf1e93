#pragma once
// The steps of a golden by the C++.
#include "error.h"
#include "evaluate.h"
#include "golden.h"
#include "layers/adam.h"
#include "magnitude_ops.h"
#include "model_case.h"

namespace bm3::test {

/// Returns metrics by their names in a golden: "recall@5".
inline std::map<std::string, double> by_name(const Metrics& metrics) {
  std::map<std::string, double> out;
  for (size_t m = 0; m < n_metrics; ++m) out[metric_name(m)] = metrics.values[m];
  return out;
}

/// Returns these rows of a table, 0 where they are padding; all of it where there are no `rows`.
template <class E>
std::vector<E> gather(const std::vector<E>& table, const std::vector<int32_t>& rows, size_t cols) {
  if (rows.empty()) return table;
  std::vector<E> out(rows.size() * cols);
  for (size_t k = 0; k < out.size(); ++k)
    if (const int32_t row = rows[k / cols]; row >= 0)
      out[k] = table.at(static_cast<size_t>(row) * cols + k % cols);
  return out;
}

/// How to run a golden's steps.
struct How {
  bool float32 = false;  // end where the golden lacks gradients; no metrics of our own lists
  double jitter = 0;     // change parameters and features by a relative +-jitter, at random
  uint64_t seed = 0;
};

template <class T>
class GoldenRun {
 public:
  /// With `magnitudes`, which are then the `ops`, `terms` are filled, too. Throws where the golden
  /// lacks an array that it needs, or has one of another shape.
  GoldenRun(Ops<T>& ops, const Golden& g, const How& how, MagnitudeOps* magnitudes = nullptr)
      : ops_(ops),
        g_(g),
        how_(how),
        magnitudes_(magnitudes),
        graph_(make_graph<T>(ops, g.n_users(), g.n_items(), g.data.train,
                             g.settings.real("degree_epsilon"))),
        loader_(ops, g.n_users(), g.n_items(), g.largest_batch(), g.kind->draws_negatives),
        model_(make_model<T>(*g.kind, {ops, graph_, g.settings, g.modalities, loader_})),
        adam_(ops, model_->parameters(), model_->tuned_features(),
              {g.settings.real("lr"), 1, 1, g.settings.real("beta1"), g.settings.real("beta2"),
               g.settings.real("eps")},
              g.steps.size(), loader_.step()) {
    Random random(how.seed);
    for (const auto& v : variables(ops, *model_, batch_)) {
      std::vector<T> values;
      for (double x : g.at("init/" + v.name, {v.value.rows, v.value.cols}).values)
        values.push_back(static_cast<T>(x * (1 + (random.below(2) ? how.jitter : -how.jitter))));
      upload(ops, v.value, values);
    }
    model_->prepare();
    while (step_ < g.steps.size() && step()) ++step_;
    if (step_ == g.steps.size()) put_final();
    put_metrics();
  }

  std::vector<Result> results;          // in the order of computation
  std::map<std::string, double> terms;  // of losses and gradients: the largest sum of magnitudes

 private:
  bool step() {
    const auto& [pairs, negatives, drawn] = g_.steps[step_];
    batch_ = loader_.load(step_ + 1, pairs.data(), negatives.data(), pairs.size());
    if (const size_t size = g_.settings.whole("epoch_steps"); step_ % size == 0)
      model_->begin_epoch(0, 1 + step_ / size);
    if (const auto [name, rows, cols] = model_->epoch_draw(); rows > 0) {
      g_.at(now(name), {rows, cols});
      model_->take_draw(drawn);
    }
    const Rows feature_rows = model_->feature_rows(batch_);
    adam_.begin_step(feature_rows);
    set_masks();
    if (magnitudes_) measure_terms();
    model_->forward(batch_);
    for (Trace& t : model_->trace(batch_)) put_trace(t);
    model_->backward(batch_);
    for (const Result& r : losses_and_gradients()) put(r);
    if (!inject() && how_.float32) return false;
    adam_.step(feature_rows);
    model_->after_update();
    put_parameters();
    return true;
  }

  std::string now(const std::string& name) const { return in_step(step_, name); }
  template <class E>
  static std::vector<double> doubles(const std::vector<E>& x) {
    return {x.begin(), x.end()};
  }
  std::vector<int32_t> host_rows(Rows rows) {
    return host<int32_t>(ops_, {rows.at, 1, rows.at ? rows.n : 0});
  }

  /// Masks of a batch's rows out of the golden's whole ones; where it has none all is kept.
  void set_masks() {
    for (const Mask& m : model_->masks(batch_)) {
      const bool needed = g_.settings.real("dropout") > 0;
      const FileArray* golden = g_.find(now("mask." + m.name), {m.height, m.mask.cols}, needed);
      std::vector<double> whole(m.height * m.mask.cols, 1);
      if (golden) whole = golden->values;
      std::vector<uint8_t> kept;
      for (double x : gather(whole, host_rows(m.rows), m.mask.cols)) kept.push_back(x != 0);
      upload(ops_, m.mask, kept);
      if (m.rate)
        upload(ops_, Matrix<double>{m.rate, 1, 1}, g_.at(now("rate." + m.name), {1}).values);
    }
  }

  /// Adds a result without its rows of padding; one stays where there is no other, and agrees.
  void put(Result r) {
    g_.find(r.name, r.shape, r.name.rfind(now("loss."), 0) == 0);  // of losses it needs all
    for (size_t k = r.rows.size(); k-- > 0 && r.rows.size() > 1;) {
      if (r.rows[k] >= 0) continue;
      const auto first = r.values.begin() + static_cast<std::ptrdiff_t>(k * r.cols());
      r.values.erase(first, first + static_cast<std::ptrdiff_t>(r.cols()));
      r.rows.erase(r.rows.begin() + static_cast<std::ptrdiff_t>(k));
    }
    results.push_back(std::move(r));
  }

  void put_trace(Trace t) {
    t.name = now(t.name);
    if (t.shape.size() == 1) t.rows = order_of_pairs();
    put({t});
  }
  /// Returns the places of by_user's pairs in the batch.
  std::vector<int32_t> order_of_pairs() {
    std::vector<int32_t> order;
    for (int32_t user : host_rows(batch_.users))
      for (size_t k = 0; k < batch_.size; ++k)
        if (g_.steps[step_].pairs[k].user == user) order.push_back(static_cast<int32_t>(k));
    return order;
  }

  /// Returns what Adam updates, in the order of a backward pass: the first two tables come last.
  std::vector<Variable<T>> trained() {
    std::vector<Variable<T>> out = variables(ops_, *model_, batch_);
    std::rotate(out.begin(), out.begin() + 2, out.end());
    out.erase(std::remove_if(out.begin(), out.end(), [](auto& v) { return !v.gradient.at; }),
              out.end());
    return out;
  }

  std::vector<Result> losses_and_gradients() {
    std::vector<Loss> losses = model_->take_losses();
    losses.push_back({"total", 0, total(losses)});
    std::vector<Result> out;
    for (const Loss& loss : losses)
      out.push_back({{now("loss." + loss.name), "", {1}, {}, {loss.value}}});
    for (const auto& v : trained())
      out.push_back({{now("grad/" + v.name), "", {v.value.rows, v.value.cols}, {},
                      doubles(whole_gradient(ops_, v))}});
    return out;
  }

  /// Measures the terms of this step's losses and gradients, but for regularisers: theirs are
  /// positive and no sum of them is larger than their value.
  void measure_terms() {
    magnitudes_->over_magnitudes(
        [&] {
          model_->forward(batch_);
          model_->take_losses();
        },
        [&] { model_->backward(batch_); },
        [&] {
          for (const Result& r : losses_and_gradients())
            terms[r.name] = largest_magnitude(r.values);
        });
  }

  /// Replaces the model's gradients by the golden ones; false where one is absent.
  bool inject() {
    const std::vector<Variable<T>> all = trained();
    const auto golden = [&](const Variable<T>& v) { return g_.find(now("grad/" + v.name)); };
    if (!std::all_of(all.begin(), all.end(), golden)) return false;
    for (const Variable<T>& v : all) {
      const auto values = gather(golden(v)->values, v.rows, v.value.cols);
      upload(ops_, v.gradient, std::vector<T>(values.begin(), values.end()));
    }
    return true;
  }

  /// Puts parameters after the step.
  void put_parameters() {
    adam_.catch_up();
    for (const Variable<T>& v : trained()) {
      const std::string gradient = now("grad/" + v.name), after = now("after/" + v.name);
      if (!g_.find(gradient) && !g_.find(after))
        throw Error("expected " + gradient + " or " + after);
      put({{after, "", {v.value.rows, v.value.cols}, {}, doubles(host<T>(ops_, v.value))}});
    }
  }

  void put_final() {
    const Embeddings<T> ranked = model_->embeddings();
    const size_t w = ranked.user.cols, n_users = g_.n_users(), n_items = g_.n_items();
    const auto user = doubles(host<T>(ops_, ranked.user));
    const auto item = doubles(host<T>(ops_, ranked.item));
    std::vector<double> scores(n_users * n_items);  // [Eq. 13]
    for (size_t k = 0; k < scores.size(); ++k)
      for (size_t c = 0; c < w; ++c)
        scores[k] += user[k / n_items * w + c] * item[k % n_items * w + c];
    put({{"final/user", "", {n_users, w}, {}, user}});
    put({{"final/item", "", {n_items, w}, {}, item}});
    put({{"final/scores", "s(u, i)", {n_users, n_items}, {}, scores}});
    const FileArray* golden = g_.find("final/top_k");
    const size_t k = golden ? golden->shape.back() : std::min(n_items, longest_list);
    put({{"final/top_k", "", {n_users, k}, {},
          doubles(rank<T>(ops_, ranked.user, ranked.item, graph_, k).host())}});
  }

  /// Puts the metrics of the golden's lists, which rounding does not touch, or else of our own.
  void put_metrics() {
    const FileArray* golden = g_.find("final/top_k");
    const Result* own = find(results, "final/top_k");
    if (!golden && (!own || how_.float32)) return;
    const std::vector<double>& lists = golden ? golden->values : own->values;
    const Array<int32_t> item(ops_, std::vector<int32_t>(lists.begin(), lists.end()));
    for (const std::string part : {"valid", "test"}) {
      Evaluator<T> held_out(ops_, part == "valid" ? g_.data.valid : g_.data.test, g_.data);
      const size_t k = lists.size() / g_.n_users();
      for (const auto& [name, value] : by_name(held_out.metrics(item.matrix(g_.n_users(), k))))
        if (const std::string full = "metrics/" + part + "/" + name; g_.find(full))
          put({{full, "", {1}, {}, {value}}});
    }
  }

  Ops<T>& ops_;
  const Golden& g_;
  const How how_;
  MagnitudeOps* const magnitudes_;
  Graph<T> graph_;
  BatchLoader loader_;
  std::unique_ptr<Model<T>> model_;
  Adam<T> adam_;
  Batch batch_;
  size_t step_ = 0;
};

}  // namespace bm3::test
