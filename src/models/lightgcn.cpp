// LightGCN (He et al., SIGIR 2020): BPR's loss on vectors propagated through the graph.
#include "models/model.h"

namespace bm3 {
namespace {

template <class T>
class LightGcn final : public Model<T> {
 public:
  explicit LightGcn(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_uniform), pair_losses(s.settings)),
        n_layers(s.settings.whole("layers")),
        pair(ops, s.loader, d, pair_forms(s.settings)) {}

  void forward(const Batch& batch) override {
    const auto e = e_(batch);
    lightgcn_forward<T>(ops, F, layer, E, graph, n_layers, 0);  // F = mean(E^l)
    ops.gather_rows(e.nodes(), E, batch.nodes);
    pair.forward(loss(bpr), F, batch);      // L_bpr = mean of -ln sigma(f_u . (f_p - f_n))
    pair.reg_forward(loss(reg), e, batch);  // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto e = e_(batch), d_e = d_e_(batch);
    const Matrix<T> d_F = F;  // F has been read for the last time
    ops.zero(d_e.nodes());
    pair.reg_backward(d_e, e, batch, weight(reg));
    pair.backward(d_F, batch);
    // F = P E with P symmetric: d_E = P d_F
    lightgcn_backward<T>(ops, d_E, layer, d_F, graph, n_layers, 0);
    ops.scatter_add_rows(d_E, d_e.nodes(), batch.nodes);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    lightgcn_forward<T>(ops, F, layer, E, graph, n_layers, 0);
    return {users(F), items(F)};
  }

  void show(const Batch& batch) override {
    look_at_layers(n_layers, "E^{l+1} = D^-1/2 A D^-1/2 E^l");
    look("F", "mean(E^0 .. E^L)", F);
    look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;
  const size_t n_layers;  // L
  PairLoss<T> pair;
  Table<T> F = node_table(), layer = node_table(n_layers > 1);
  BatchRows<T> e_ = batch_rows(), d_e_ = batch_rows();
};

}  // namespace

ModelKind lightgcn_kind() {
  return {"lightgcn", "He et al., SIGIR 2020",
          pair_settings("0.01", {layers_setting("4", "n-layers")}),
          {{"baby", 0.0479, 0.0754, 0.0257, 0.0328},
           {"sports", 0.0569, 0.0864, 0.0311, 0.0387},
           {"elec", 0.0363, 0.0540, 0.0204, 0.0250}},
          true, false, make<LightGcn, float>, make<LightGcn, double>};
}

}  // namespace bm3
