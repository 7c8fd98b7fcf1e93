// LATTICE (Zhang et al., MM 2021): a graph of items that is learnt from their features.
#include "layers/item_graph.h"
#include "models/model.h"

namespace bm3 {
namespace {

template <class T>
class Lattice final : public Model<T> {
 public:
  explicit Lattice(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_uniform), pair_losses(s.settings),
                 s.graph.n_items),
        n_layers(s.settings.whole("layers")),
        in_each_batch(s.settings.has("build", "batch")),
        mu(s.modalities.empty() ? nullptr : add({"modal_weight", 1, s.modalities.size(), zeros()})),
        projection(add_projections(of_fan_in)) {
    if (mu)
      A = std::make_unique<ItemGraph<T>>(ops, graph.n_items, d, projection.size(),
                                         s.settings.whole("neighbours"),
                                         s.settings.real("raw-weight"));
  }

  void prepare() override {
    for (size_t m = 0; m < projection.size(); ++m) A->set_raw(m, features()[m].value);
  }
  /// The epoch's first batch builds the graph of items.
  void begin_epoch(uint64_t, size_t) override { builds_ = true; }
  void after_update() override { builds_ = in_each_batch; }

  Rows feature_rows(const Batch& batch) const override {
    return builds_ && A ? Rows{nullptr, graph.n_items} : Rows{batch.items.at, 0};
  }
  bool repeats() const override { return !builds_; }

  void forward(const Batch& batch) override {
    if (builds_) build();
    read_out();
    pair.forward(loss(bpr), F, batch);  // L_bpr = mean of -ln sigma(f_u . (f_p - f_n))
    pair.reg_forward(loss(reg), pair.f(batch), batch);  // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const Matrix<T> d_F = F;  // F has been read for the last time
    pair.reg_backward(pair.d_f(batch), pair.f(batch), batch, weight(reg));
    pair.backward(d_F, batch);
    if (A) ops.normalise_backward(d_h, items(d_F), h);  // F_i + h_i / |h_i|
    // F = mean(E, S E, .., S^L E): d_E by S^T
    mean_of_layers<T>(ops, d_E, layer, d_F, S.weights(), S.columns(), n_layers);
    if (A) A->backward(items(d_E), d_h);  // h = A Q: d_Q += A^T d_h
    if (A) build_backward();
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    build();
    read_out();
    return {users(F), items(F)};
  }

  std::vector<SavedArray> state() override {
    return A ? A->state() : std::vector<SavedArray>{};
  }
  void show(const Batch& batch) override {
    if (A) look("h", "A Q", h);
    look("F", "mean(E^0 .. E^L), items + h/|h|", F);
    look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;

  /// A from the features and the parameters as they are.
  void build() {
    if (!A) return;
    for (size_t m = 0; m < projection.size(); ++m)  // z_m = e_m W_m + b_m
      projection[m].forward(ops, A->z(m), features()[m].value);
    A->build(mu->value);
  }
  /// F, and on it the directions of h = A Q in items' rows.
  void read_out() {
    mean_of_layers<T>(ops, F, layer, E, S.weights(), S.rows(), n_layers);
    if (!A) return;
    const Matrix<T> direction = d_h;
    A->forward(h, items(E));
    ops.normalise_forward(direction, h);
    ops.add(items(F), 1, direction, 1);
  }
  /// What A is made of has a gradient in the batch that builds it, and none in the others.
  void build_backward() {
    if (builds_) {
      A->build_backward(mu->gradient, d_h, items(E));
      for (size_t m = 0; m < projection.size(); ++m) {
        auto& e = features()[m];
        projection[m].backward(ops, e.gradient(graph.n_items), A->d_z(m), e.value);
      }
      return;
    }
    const size_t all = this->parameters().gradients().size();
    ops.zero(Matrix<T>{d_E.at + d_E.size(), 1, all - d_E.size()});
  }

  const size_t n_layers;     // L
  const bool in_each_batch;  // A is built
  const Sparse<T> S = adjacency(ops, graph, Scaling::with_loops);  // (D + 1)^-1 (adjacency + I)
  PairLoss<T> pair{ops, loader, d, {PairForm::plain, RegForm::squared, loader.max_size()}};
  const Parameter<T>* const mu;             // none without modalities
  const std::vector<Linear<T>> projection;  // by modality
  std::unique_ptr<ItemGraph<T>> A;          // none without modalities
  bool builds_ = true;                      // the batch at hand
  Table<T> F = node_table(), layer = node_table();
  Table<T> h = item_table(!projection.empty()), d_h = item_table(!projection.empty());
};

}  // namespace

ModelKind lattice_kind() {
  return {"lattice", "Zhang et al., MM 2021",
          {recipe_setting(),
           layers_setting("2", "n-ui-layers"),
           neighbours_setting(),
           {"raw-weight", real(0, 1, "from 0 to 1"), "0.9",
            "weight of the raw features' graph; the learnt one has the rest", {}, {"lambda-coeff"}},
           {"build", word_of({"epoch", "batch"}), "epoch",
            "how often the graph of items is learnt anew", {{"paper", "batch"}}},
           reg_setting("0.00001"),
           features_setting(),
           dim_setting()},
          {{"baby", 0.0547, 0.0850, 0.0292, 0.0370}, {"sports", 0.0620, 0.0953, 0.0335, 0.0421}},
          true, true, make<Lattice, float>, make<Lattice, double>,
          {{"lr", "0.0005"}, {"lr-decay", "0.96"}}};
}

}  // namespace bm3
