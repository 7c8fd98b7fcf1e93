// LATTICE (Zhang et al., MM 2021): a graph of items that is learnt from their features.
#include "layers/item_graph.h"
#include "layers/pair_loss.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim");
  std::vector<ParameterShape> out = embedding_tables(s, xavier_uniform);
  if (!s.modalities.empty()) out.push_back({"modal_weight", 1, s.modalities.size(), zeros()});
  for (const auto& m : s.modalities) {
    out.push_back({m.name + ".weight", m.dim, d, of_fan_in(m.dim)});
    out.push_back({m.name + ".bias", 1, d, of_fan_in(m.dim)});
  }
  return out;
}

template <class T>
class Lattice final : public Model<T> {
 public:
  explicit Lattice(const Setup<T>& s)
      : Model<T>(s, shapes(s), pair_losses(s.settings), s.graph.n_items),
        n_layers(s.settings.whole("layers")),
        in_each_batch(s.settings.has("build", "batch")),
        S(make_sparse<T>(ops, graph.n_nodes(), graph.n_nodes(),
                         adjacency(graph.n_users, graph.n_items, edges_of(graph),
                                   Scaling::with_loops))),
        pair(ops, PairForm::plain, RegForm::squared, s.loader.max_size(), s.loader.max_size()) {
    for (const auto& m : s.modalities) {
      W.push_back(this->parameter(m.name + ".weight"));
      b.push_back(this->parameter(m.name + ".bias"));
    }
    if (!W.empty())
      A = std::make_unique<ItemGraph<T>>(ops, graph.n_items, d, W.size(),
                                         s.settings.whole("neighbours"),
                                         s.settings.real("raw-weight"));
    for (auto* of_nodes : {&F_, &layer_}) *of_nodes = Array<T>(ops, graph.n_nodes() * d);
    for (auto* of_items : {&h_, &d_h_}) *of_items = Array<T>(ops, A ? graph.n_items * d : 0);
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&f_, &d_f_}) *of_batch = Array<T>(ops, rows * d);
  }

  void prepare() override {
    for (size_t m = 0; m < W.size(); ++m) A->set_raw(m, this->features()[m].value);
  }
  /// The epoch's first batch builds the graph of items.
  void begin_epoch(uint64_t, size_t) override { builds_ = true; }
  void after_update() override { builds_ = in_each_batch; }

  Rows feature_rows(const Batch& batch) const override {
    return builds_ && A ? Rows{nullptr, graph.n_items} : Rows{batch.items.at, 0};
  }
  bool repeats() const override { return !builds_; }
  bool ranks_by_features() const override { return true; }

  void forward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    if (builds_) build();
    read_out();
    ops.gather_rows(f.nodes(), F(), batch.nodes);
    pair.forward(this->loss(bpr), d_f, f, batch);   // L_bpr = mean of -ln sigma(f_u.(f_p - f_n))
    pair.reg_forward(this->loss(reg), f, batch);    // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    const Matrix<T> d_F = F();  // F has been read for the last time
    pair.reg_backward(d_f, f, batch, this->losses()[reg].weight);
    pair.backward(d_f, f, batch);
    ops.zero(d_F.at, d_F.size() * sizeof(T));
    ops.scatter_add_rows(d_F, d_f.nodes(), batch.nodes);
    if (A) ops.normalise_backward(d_h(), items(d_F), h());  // F_i + h_i / |h_i|
    // F = mean(E, S E, .., S^L E): d_E by S^T
    mean_of_layers(ops, this->d_embedding(), layer(), d_F, S, S.columns(), n_layers);
    if (A) A->backward(items(this->d_embedding()), d_h());  // h = A Q: d_Q += A^T d_h
    if (A) build_backward();
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    build();
    read_out();
    return {F().slice(0, graph.n_users), items(F())};
  }

  void hold_targets() override {
    if (A) A->hold();
  }
  std::vector<SavedArray> state() override {
    return A ? A->state() : std::vector<SavedArray>{};
  }
  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    if (A) out.push_back(this->look("h", "A Q", h()));
    out.push_back(this->look("F", "mean(E^0 .. E^L), items + h/|h|", F()));
    out.push_back(this->look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }
  Matrix<T> F() { return F_.matrix(graph.n_nodes(), d); }
  Matrix<T> layer() { return layer_.matrix(graph.n_nodes(), d); }
  Matrix<T> h() { return h_.matrix(graph.n_items, d); }
  Matrix<T> d_h() { return d_h_.matrix(graph.n_items, d); }
  Matrix<T> items(Matrix<T> nodes) { return nodes.slice(graph.n_users, graph.n_items); }

  /// A from the features and the parameters as they are.
  void build() {
    if (!A) return;
    for (size_t m = 0; m < W.size(); ++m)  // z_m = e_m W_m + b_m
      ops.linear_forward(A->z(m), this->features()[m].value, {}, W[m].value, b[m].value);
    A->build(this->parameter("modal_weight").value);
  }
  /// F, and on it the directions of h = A Q in items' rows.
  void read_out() {
    mean_of_layers(ops, F(), layer(), this->embedding(), S, S.rows(), n_layers);
    if (!A) return;
    const Matrix<T> direction = d_h();
    A->forward(h(), items(this->embedding()));
    ops.normalise_forward(direction, h());
    ops.add(items(F()), 1, direction, 1);
  }
  /// What A is made of has a gradient in the batch that builds it, and none in the others.
  void build_backward() {
    const Parameter<T>& mu = this->parameter("modal_weight");
    if (builds_) {
      A->build_backward(mu.gradient, d_h(), items(this->embedding()));
      for (size_t m = 0; m < W.size(); ++m) {
        auto& e = this->features()[m];
        ops.linear_backward(e.gradient(graph.n_items), W[m].gradient, b[m].gradient, A->d_z(m),
                            e.value, {}, W[m].value);
      }
      return;
    }
    const size_t tables = graph.n_nodes() * d;
    const Matrix<T> all = this->parameters().gradients();
    ops.zero(all.at + tables, (all.size() - tables) * sizeof(T));
  }

  const size_t n_layers;     // L
  const bool in_each_batch;  // A is built
  const Sparse<T> S;         // (D + 1)^-1 (adjacency + I)
  PairLoss<T> pair;
  std::unique_ptr<ItemGraph<T>> A;  // none without modalities
  std::vector<Parameter<T>> W, b;   // by modality
  bool builds_ = true;              // the batch at hand
  Array<T> F_, layer_;              // [n_nodes, d]
  Array<T> h_, d_h_;                // [n_items, d]
  Array<T> f_, d_f_;                // rows of a batch
};

std::vector<Setting> settings() {
  return {
      recipe_setting(),
      {"layers", whole_from_to(0, 8), "2", "L, layers of the graph", {}, {"n-ui-layers"}},
      {"neighbours", whole_from_to(1, 64), "10", "k, items most alike that an item is joined to",
       {}, {"knn-k"}},
      {"raw-weight", real(0, 1, "from 0 to 1"), "0.9",
       "weight of the raw features' graph; the learnt one has the rest", {}, {"lambda-coeff"}},
      {"build", word_of({"epoch", "batch"}), "epoch", "how often the graph of items is learnt anew",
       {{"paper", "batch"}}},
      {"reg", weight(), "0.00001", "lambda, weight of the regulariser", {}, {"reg-weight"}},
      {"features", word_of({"frozen", "tuned"}), "frozen", "whether training changes the features"},
      dim_setting()};
}

}  // namespace

ModelKind lattice_kind() {
  return {"lattice", "Zhang et al., MM 2021", settings(),
          {{"baby", 0.0547, 0.0850, 0.0292, 0.0370}, {"sports", 0.0620, 0.0953, 0.0335, 0.0421}},
          true, true, make<Lattice, float>, make<Lattice, double>,
          {{"lr", "0.0005"}, {"lr-decay", "0.96"}}};
}

}  // namespace bm3
