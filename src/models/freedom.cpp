// FREEDOM (Zhou and Shen, MM 2023): a frozen graph of items that look alike, and a graph of users
// and items from which each epoch prunes edges.
#include "layers/knn.h"
#include "layers/pruning.h"
#include "models/model.h"

namespace bm3 {
namespace {

constexpr size_t of_features = 1;  // place of the second loss

/// alpha_m: what each modality's graph counts. Images have their own weight, and the others share
/// the rest; where they are missing or alone all count alike.
std::vector<double> shares(const std::vector<ModalityShape>& modalities, double of_image) {
  const double n = static_cast<double>(modalities.size());
  bool apart = false;
  for (const auto& m : modalities) apart |= n > 1 && is_visual(m.name);
  std::vector<double> out;
  for (const auto& m : modalities)
    out.push_back(!apart ? 1 / n : is_visual(m.name) ? of_image : (1 - of_image) / (n - 1));
  return out;
}

template <class T>
class Freedom final : public Model<T> {
 public:
  explicit Freedom(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_uniform),
                 {{"bpr", 1}, {"features", s.settings.real("mm-weight")}}),
        M(s.modalities.size()),
        n_layers(s.settings.whole("layers")),
        n_item_layers(s.settings.whole("item-layers")),
        k(s.settings.whole("neighbours")),
        alpha(shares(s.modalities, s.settings.real("image-weight"))),
        projection(add_projections(of_fan_in)),
        pruning(edges_of(graph), s.settings.real("rho")) {
    pruned = make_graph<T>(ops, graph.n_users, graph.n_items, pruning.draw(0, 0),
                           graph.degree_epsilon);
    pruned.changes = true;
  }

  void prepare() override {  // G = sum of alpha_m G_m
    G = make_sparse<T>(ops, graph.n_items, graph.n_items,
                       alike(ops, features(), alpha, k, graph.degree_epsilon));
  }
  void begin_epoch(uint64_t seed, size_t epoch) override {
    replace(ops, pruned, pruning.draw(seed, epoch));
  }

  void forward(const Batch& batch) override {
    const auto f = pair.f(batch);
    const auto& e = features();
    for (size_t m = 0; m < M; ++m)  // z_m = e_m W_m + b_m
      projection[m].forward(ops, f.modality(m), e[m].value, batch.items);
    read_out(pruned);
    ops.gather_rows(f.nodes(), F, batch.nodes);
    // L_bpr = mean of -ln sigma(f_u . (f_p - f_n)), and L_features the same with each z_m as items
    pair.forward(loss(bpr), batch);
    for (size_t m = 0; m < M; ++m)
      pair.add_forward(1 + m, loss(of_features), batch, weight(of_features));
  }

  void backward(const Batch& batch) override {
    const auto d_f = pair.d_f(batch);
    auto& e = features();
    pair.backward(batch);
    for (size_t m = 0; m < M; ++m)  // z_m = e_m W_m + b_m
      projection[m].backward(ops, e[m].gradient(batch.items.n), d_f.modality(m), e[m].value,
                             batch.items);
    const Matrix<T> d_F = F;  // F has been read for the last time
    scatter_rows<T>(ops, d_F, d_f.nodes(), batch.nodes);
    // F = P E + G^n E_i with P symmetric: d_E = P d_F + (G^T)^n d_F_i
    lightgcn_backward<T>(ops, d_E, layer, d_F, pruned, n_layers, 0);
    add_alike(items(d_E), items(d_F), G.columns());
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i, with all edges
    read_out(graph);
    return {users(F), items(F)};
  }

  EpochDraw epoch_draw() const override { return {"kept", pruning.size(), 2}; }
  void take_draw(const std::vector<int32_t>& kept) override {
    std::vector<Interaction> edges;
    for (size_t e = 0; e < kept.size(); e += 2) edges.push_back({kept[e], kept[e + 1]});
    replace(ops, pruned, edges);
  }

  void show(const Batch& batch) override {
    for (size_t m = 0; m < M; ++m)
      look("projection." + features()[m].name, "e_m W_m + b_m", pair.f(batch).modality(m),
           {graph.n_items, d}, batch.items);
    look("F", "mean(E^0 .. E^L), items + G^n E^0", F);
    look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;
  /// F = mean(E^0 .. E^L) over a graph, and in the rows of items + G^n E^0.
  void read_out(const Graph<T>& of) {
    lightgcn_forward<T>(ops, F, layer, E, of, n_layers, 0);
    add_alike(items(F), items(E), G.rows());
  }
  /// y += G^n x, or (G^T)^n x, by G's rows or columns; both [n_items, d].
  void add_alike(Matrix<T> y, ConstMatrix<T> x, const Pairs& entries) {
    if (G.size() == 0) return;  // there are no modalities
    for (size_t l = 1; l < n_item_layers; ++l) {
      const Matrix<T> next = item_layer[l % 2];
      ops.add_weighted(next, 0, {}, G.weights(), x, entries, 1);
      x = next;
    }
    ops.add_weighted(y, G.weights(), x, entries, 1);
  }

  const size_t M, n_layers, n_item_layers, k;  // modalities; L; n; neighbours in G_m
  const std::vector<double> alpha;             // by modality
  const std::vector<Linear<T>> projection;     // likewise
  const Pruning pruning;
  Graph<T> pruned;
  Sparse<T> G;
  PairLoss<T> pair{ops, loader, d, {}, M};
  Table<T> F = node_table(), layer = node_table(n_layers > 1);
  Table<T> item_layer[2] = {item_table(n_item_layers > 1), item_table(n_item_layers > 1)};
};

}  // namespace

ModelKind freedom_kind() {
  return {"freedom", "Zhou and Shen, MM 2023",
          {layers_setting("2", "n-ui-layers"),
           {"item-layers", whole_from_to(1, 8), "1", "n, layers of the items' graph", {},
            {"n-mm-layers"}},
           neighbours_setting(),
           {"rho", probability(), "0.8", "the share of edges that an epoch prunes"},
           {"image-weight", real(0, 1, "from 0 to 1"), "0.1",
            "weight of image's graph; the others share the rest", {}, {"mm-image-weight"}},
           {"mm-weight", weight(), "0.001", "lambda, weight of the features' losses", {},
            {"reg-weight"}},
           features_setting(),
           dim_setting()},
          {{"baby", 0.0627, 0.0992, 0.0330, 0.0424},
           {"sports", 0.0717, 0.1089, 0.0385, 0.0481},
           {"elec", 0.0396, 0.0601, 0.0220, 0.0273}},
          true, true, make<Freedom, float>, make<Freedom, double>};
}

}  // namespace bm3
