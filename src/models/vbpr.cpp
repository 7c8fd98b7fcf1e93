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

/// P [U, w], Q [I, d], and the rows of W for each modality in turn: x W = sum of x_m W_m.
template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim"), w = width(s);
  const size_t n_users = s.graph.n_users, n_items = s.graph.n_items;
  std::vector<ParameterShape> out = {{"user_embedding", n_users, w, xavier_uniform(n_users, w)},
                                     {"item_embedding", n_items, d, xavier_uniform(n_items, d)}};
  size_t inputs = 0;  // of W as a whole
  for (const auto& m : s.modalities) inputs += m.dim;
  for (const auto& m : s.modalities)
    out.push_back({m.name + ".weight", m.dim, d, xavier_normal(inputs, d)});
  if (!s.modalities.empty()) out.push_back({"bias", 1, d, zeros()});
  return out;
}

template <class T>
class Vbpr final : public Model<T> {
 public:
  explicit Vbpr(const Setup<T>& s)
      : Model<T>(s, shapes(s), pair_losses(s.settings)),
        w(width(s)),
        P(this->parameter("user_embedding")),
        Q(this->parameter("item_embedding")),
        pair(ops, pair_form(s.settings), reg_form(s.settings), s.loader.max_size()) {
    for (const auto& m : s.modalities) W.push_back(this->parameter(m.name + ".weight"));
    if (!W.empty()) b = this->parameter("bias");
    const size_t items = s.loader.max_items(), rows = s.loader.max_users() + items;
    for (auto* of_batch : {&v_, &d_v_}) *of_batch = Array<T>(ops, rows * w);
    for (auto* of_items : {&q_, &z_}) *of_items = Array<T>(ops, items * d);
    for (auto* of_all : {&all_v_, &all_z_}) *of_all = Array<T>(ops, graph.n_items * w);
  }

  void forward(const Batch& batch) override {
    const auto v = rows_of(v_, batch), d_v = rows_of(d_v_, batch);
    const auto q = q_.matrix(batch.items.n, d), z = z_.matrix(batch.items.n, d);
    ops.gather_rows(v.user(), P.value, batch.users);  // v_u = P_u
    ops.gather_rows(q, Q.value, batch.items);
    project(z, batch.items);                          // z_i = sum of x_m W_m + b
    concatenate(v.item(), q, z);                      // v_i = Q_i (+) z_i
    pair.forward(this->loss(bpr), d_v, v, batch);     // L_bpr = mean of -ln sigma(v_u.(v_p - v_n))
    pair.reg_forward(this->loss(reg), v, batch);      // L = L_bpr + lambda reg, of whole vectors
  }

  void backward(const Batch& batch) override {
    const auto v = rows_of(v_, batch), d_v = rows_of(d_v_, batch);
    const auto d_q = q_.matrix(batch.items.n, d), d_z = z_.matrix(batch.items.n, d);
    pair.reg_backward(d_v, v, batch, this->losses()[reg].weight);
    pair.backward(d_v, v, batch);
    ops.copy_columns(d_q, 0, d_v.item(), 0, d);
    if (!W.empty()) ops.copy_columns(d_z, 0, d_v.item(), d, d);
    for (size_t m = 0; m < W.size(); ++m)  // features are constants
      ops.linear_backward({}, W[m].gradient, m == 0 ? b.gradient : Matrix<T>{}, d_z, x(m),
                          batch.items, W[m].value);
    scatter(Q.gradient, d_q, batch.items);
    scatter(P.gradient, d_v.user(), batch.users);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = v_u . v_i
    const auto all_v = all_v_.matrix(graph.n_items, w), all_z = all_z_.matrix(graph.n_items, d);
    project(all_z, {});
    concatenate(all_v, Q.value, all_z);
    return {P.value, all_v};
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    if (!W.empty())
      out.push_back(this->look("projection", "z = x W + b", z_.matrix(batch.items.n, d),
                               {graph.n_items, d}, batch.items));
    out.push_back(this->look("x", "v_u . (v_p - v_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, w);
  }
  Matrix<const T> x(size_t m) { return this->features()[m].value; }
  /// z = x[items] W + b
  void project(Matrix<T> z, Rows items) {
    for (size_t m = 0; m < W.size(); ++m)
      ops.linear_forward(z, x(m), items, W[m].value, m == 0 ? b.value : Matrix<T>{});
  }
  /// v = q (+) z
  void concatenate(Matrix<T> v, Matrix<const T> q, Matrix<const T> z) {
    ops.copy_columns(v, 0, q, 0, d);
    if (!W.empty()) ops.copy_columns(v, d, z, 0, d);
  }
  /// d_table = 0 but for these rows.
  void scatter(Matrix<T> d_table, Matrix<const T> d_rows, Rows rows) {
    ops.zero(d_table.at, d_table.size() * sizeof(T));
    ops.scatter_add_rows(d_table, d_rows, rows);
  }

  const size_t w;
  const Parameter<T> P, Q;
  std::vector<Parameter<T>> W;  // by modality
  Parameter<T> b{};
  PairLoss<T> pair;
  Array<T> v_, d_v_;            // rows of a batch [*, w]
  Array<T> q_, z_;              // and of its items [*, d], and their gradients
  Array<T> all_v_, all_z_;      // of all items
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
