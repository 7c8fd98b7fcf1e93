// VBPR (He and McAuley, AAAI 2016): BPR's loss on items' vectors that are half a table and half a
// projection of the items' features. Without modalities it is BPR.
#include "layers/pair_loss.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

/// w, the size of the vectors that rank: d of the table, and d of the features where there are any.
template <class T>
size_t width(const Setup<T>& s) {
  return s.settings.whole("dim") * (s.modalities.empty() ? 1 : 2);
}

/// P [U, w] and Q [I, d].
template <class T>
std::vector<ParameterShape> tables(const Setup<T>& s) {
  auto out = embedding_tables(s, xavier_uniform);
  out[0].cols = width(s);
  out[0].law = xavier_uniform(out[0].rows, width(s));
  return out;
}

template <class T>
class Vbpr final : public Model<T> {
 public:
  explicit Vbpr(const Setup<T>& s)
      : Model<T>(s, tables(s), pair_losses(s.settings)),
        w(width(s)),
        pair(ops, pair_form(s.settings), reg_form(s.settings), s.loader.max_size()) {
    size_t inputs = 0;  // of W as a whole: x W = sum of x_m W_m
    for (const auto& m : s.modalities) inputs += m.dim;
    for (const auto& m : s.modalities)
      W.push_back(this->add({m.name + ".weight", m.dim, d, xavier_normal(inputs, d)}));
    if (!W.empty()) b = this->add({"bias", 1, d, zeros()});
  }

  void forward(const Batch& batch) override {
    const auto v = v_(batch), d_v = d_v_(batch);
    const auto q = q_.slice(0, batch.items.n), z = z_.slice(0, batch.items.n);
    ops.gather_rows(v.user(), P->value, batch.users);  // v_u = P_u
    ops.gather_rows(q, Q->value, batch.items);
    project(z, batch.items);                          // z_i = sum of x_m W_m + b
    concatenate(v.item(), q, z);                      // v_i = Q_i (+) z_i
    pair.forward(this->loss(bpr), d_v, v, batch);     // L_bpr = mean of -ln sigma(v_u.(v_p - v_n))
    pair.reg_forward(this->loss(reg), v, batch);      // L = L_bpr + lambda reg, of whole vectors
  }

  void backward(const Batch& batch) override {
    const auto v = v_(batch), d_v = d_v_(batch);
    const auto d_q = q_.slice(0, batch.items.n), d_z = z_.slice(0, batch.items.n);
    pair.reg_backward(d_v, v, batch, this->weight(reg));
    pair.backward(d_v, v, batch);
    ops.copy_columns(d_q, 0, d_v.item(), 0, d);
    if (!W.empty()) ops.copy_columns(d_z, 0, d_v.item(), d, d);
    for (size_t m = 0; m < W.size(); ++m)  // features are constants
      ops.linear_backward({}, W[m]->gradient, m == 0 ? b->gradient : Matrix<T>{}, d_z, x(m),
                          batch.items, W[m]->value);
    scatter_rows<T>(ops, Q->gradient, d_q, batch.items);
    scatter_rows<T>(ops, P->gradient, d_v.user(), batch.users);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = v_u . v_i
    project(all_z, {});
    concatenate(all_v, Q->value, all_z);
    return {P->value, all_v};
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    if (!W.empty())
      out.push_back(this->look("projection", "z = x W + b", z_.slice(0, batch.items.n),
                               {graph.n_items, d}, batch.items));
    out.push_back(this->look("x", "v_u . (v_p - v_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops, Model<T>::graph, Model<T>::loader, Model<T>::d;
  Matrix<const T> x(size_t m) { return this->features()[m].value; }
  /// z = x[items] W + b
  void project(Matrix<T> z, Rows items) {
    for (size_t m = 0; m < W.size(); ++m)
      ops.linear_forward(z, x(m), items, W[m]->value, m == 0 ? b->value : Matrix<T>{});
  }
  /// v = q (+) z
  void concatenate(Matrix<T> v, Matrix<const T> q, Matrix<const T> z) {
    ops.copy_columns(v, 0, q, 0, d);
    if (!W.empty()) ops.copy_columns(v, d, z, 0, d);
  }

  const size_t w;
  const Parameter<T>*P = this->E_u, *Q = this->E_i;
  std::vector<const Parameter<T>*> W;  // by modality
  const Parameter<T>* b = nullptr;
  PairLoss<T> pair;
  BatchRows<T> v_{ops, loader, w}, d_v_{ops, loader, w};
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
