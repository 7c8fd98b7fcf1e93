// VBPR (He and McAuley, AAAI 2016): BPR's loss on items' vectors that are half a table and half a
// projection of the items' features. Without modalities it is BPR.
#include "models/model.h"

namespace bm3 {
namespace {

/// P [U, w] and Q [I, d], where w is 2 d, or d without features.
template <class T>
std::vector<ParameterShape> tables(const Setup<T>& s) {
  auto out = embedding_tables(s, xavier_uniform);
  if (!s.modalities.empty()) out[0].cols *= 2;
  out[0].law = xavier_uniform(out[0].rows, out[0].cols);
  return out;
}

template <class T>
class Vbpr final : public Model<T> {
 public:
  explicit Vbpr(const Setup<T>& s)
      : Model<T>(s, tables(s), pair_losses(s.settings)),
        pair(ops, s.loader, w, pair_forms(s.settings)) {
    size_t inputs = 0;  // of W as a whole: x W = sum of x_m W_m
    for (const auto& m : s.modalities) inputs += m.dim;
    for (const auto& m : s.modalities)
      W.push_back({add({m.name + ".weight", m.dim, d, xavier_normal(inputs, d)})});
    if (!W.empty()) W[0].b = add({"bias", 1, d, zeros()});
  }

  void forward(const Batch& batch) override {
    const auto v = pair.f(batch);
    const auto q = q_.slice(0, batch.items.n), z = z_.slice(0, batch.items.n);
    ops.gather_rows(v.user(), P->value, batch.users);  // v_u = P_u
    ops.gather_rows(q, Q->value, batch.items);
    project(z, batch.items);                // z_i = sum of x_m W_m + b
    concatenate(v.item(), q, z);            // v_i = Q_i (+) z_i
    pair.forward(loss(bpr), batch);         // L_bpr = mean of -ln sigma(v_u . (v_p - v_n))
    pair.reg_forward(loss(reg), v, batch);  // L = L_bpr + lambda reg, of whole vectors
  }

  void backward(const Batch& batch) override {
    const auto v = pair.f(batch), d_v = pair.d_f(batch);
    const auto d_q = q_.slice(0, batch.items.n), d_z = z_.slice(0, batch.items.n);
    pair.reg_backward(d_v, v, batch, weight(reg));
    pair.backward(batch);
    ops.copy_columns(d_q, 0, d_v.item(), 0, d);
    if (!W.empty()) ops.copy_columns(d_z, 0, d_v.item(), d, d);
    for (size_t m = 0; m < W.size(); ++m)  // features are constants
      W[m].backward(ops, {}, d_z, features()[m].value, batch.items);
    scatter_rows<T>(ops, Q->gradient, d_q, batch.items);
    scatter_rows<T>(ops, P->gradient, d_v.user(), batch.users);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = v_u . v_i
    project(all_z, {});
    concatenate(all_v, Q->value, all_z);
    return {P->value, all_v};
  }

  void show(const Batch& batch) override {
    if (!W.empty())
      look("projection", "z = x W + b", z_.slice(0, batch.items.n), {graph.n_items, d},
           batch.items);
    look("x", "v_u . (v_p - v_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;
  /// z = x[rows] W + b
  void project(Matrix<T> z, Rows rows) {
    for (size_t m = 0; m < W.size(); ++m) W[m].forward(ops, z, features()[m].value, rows);
  }
  /// v = q (+) z
  void concatenate(Matrix<T> v, Matrix<const T> q, Matrix<const T> z) {
    ops.copy_columns(v, 0, q, 0, d);
    if (!W.empty()) ops.copy_columns(v, d, z, 0, d);
  }

  const Parameter<T>*P = E_u, *Q = E_i;
  const size_t w = P->cols;  // size of the vectors that rank
  std::vector<Linear<T>> W;  // by modality; the first has b
  PairLoss<T> pair;
  Table<T> q_{ops, loader.max_items(), d}, z_{ops, loader.max_items(), d};  // or their gradients
  Table<T> all_v{ops, graph.n_items, w}, all_z{ops, graph.n_items, d};
};

}  // namespace

ModelKind vbpr_kind() {
  return {"vbpr", "He and McAuley, AAAI 2016", pair_settings("0.1"),
          {{"baby", 0.0423, 0.0663, 0.0223, 0.0284},
           {"sports", 0.0558, 0.0856, 0.0307, 0.0384},
           {"elec", 0.0293, 0.0458, 0.0159, 0.0202}},
          true, true, make<Vbpr, float>, make<Vbpr, double>};
}

}  // namespace bm3
