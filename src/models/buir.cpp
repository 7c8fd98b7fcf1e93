// BUIR (Lee et al., SIGIR 2021): an online and a target network, without negatives. With layers it
// is BUIR_NB, over LightGCN's; without any it is BUIR_id.
#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { rec };
enum Network : uint32_t { online, target };

template <class T>
class Buir final : public Model<T> {
 public:
  explicit Buir(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, is_id(s) ? xavier_normal : xavier_uniform),
                 {{"rec", 2}}),  // L = 2 L_rec
        n_layers(s.settings.whole("layers")),
        dropout(n_layers > 0 ? s.settings.real("dropout") : 0),
        momentum(s.settings.real("momentum")),
        S(dropout > 0 ? adjacency(ops, graph, Scaling::symmetric) : Sparse<T>()) {
    const auto copy = [&](const ParameterShape& of) {  // starts with the same values
      return add({"target." + of.name, of.rows, of.cols, of.law, true, of.name});
    };
    T_u = copy(*E_u);
    copy(*E_i);
    const Law of_W = is_id(s) ? xavier_normal(d, d) : of_fan_in(d);
    const Law of_b = is_id(s) ? Law{true, 1} : of_fan_in(d);
    predictor = {add({"predictor.weight", d, d, of_W}), add({"predictor.bias", 1, d, of_b})};
  }

  void draw(const Batch& batch, uint64_t seed) override {
    const auto stream = static_cast<uint32_t>(Stream::edge);
    for (Network k : {online, target})
      if (dropout > 0)
        ops.draw_edges(mask[k], rate.data() + k, dropout, {seed, stream + k, batch.step});
  }

  void forward(const Batch& batch) override {
    const auto o = o_(batch), p = p_(batch), d_p = d_p_(batch), t = t_(batch);
    encode(online, E);  // o = f(E), of the online tables
    ops.gather_rows(o.all, F[online], batch.nodes);
    predictor.forward(ops, p.all, o.all);  // p = q(o) = o W + b
    encode(target, target_E());            // t = f(T), of the target's
    ops.gather_rows(t.all, F[target], batch.nodes);
    const Blocks<View<T>> view{{t.all, all.data(), T(1)}, t.n_users, t.n_items};  // no gradient
    ops.zero(d_p.all);
    // L_rec = mean of 1 - cos(q(o_u), t_i) + 1 - cos(q(o_i), t_u)
    cosine(d_p.user(), p.user(), view.item(), batch.by_user, batch.size);
    cosine(d_p.item(), p.item(), view.user(), batch.by_item, batch.size);
  }

  void backward(const Batch& batch) override {
    const auto o = o_(batch), d_o = d_o_(batch), d_p = d_p_(batch);
    const Matrix<T> d_F = F[online];  // F has been read for the last time
    predictor.backward(ops, d_o.all, d_p.all, o.all);
    scatter_rows<T>(ops, d_F, d_o.all, batch.nodes);
    if (dropout > 0)  // F = P E, so d_E = P^T d_F: the same layers over S^T
      mean_of_layers<T>(ops, d_E, layer[online], d_F, w[online], S.columns(), n_layers);
    else
      lightgcn_backward<T>(ops, d_E, layer[online], d_F, graph, n_layers, 0);
  }

  void after_update() override {  // T = m T + (1 - m) E
    ops.add(target_E(), momentum, E, 1 - momentum);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = q(f_u) . f_i + f_u . q(f_i)
    const Matrix<T> f = F[online];
    lightgcn_forward<T>(ops, f, layer[online], E, graph, n_layers, 0);
    predictor.forward(ops, q, f);
    const Matrix<T> user = users(ranked), item = items(ranked);
    ops.copy_columns(user, 0, users(q), 0, d);  // [q(f_u) (+) f_u] . [f_i (+) q(f_i)]
    ops.copy_columns(user, d, users(f), 0, d);
    ops.copy_columns(item, 0, items(f), 0, d);
    ops.copy_columns(item, d, items(q), 0, d);
    return {user, item};
  }

  std::vector<Mask> masks(const Batch&) override {
    if (dropout == 0) return {};
    return {{"online", {}, S.size(), mask[online], rate.data()},
            {"target", {}, S.size(), mask[target], rate.data() + 1}};
  }
  void show(const Batch& batch) override {
    look("online", "f(E)", F[online]);
    look("target", "f(T)", F[target]);
    look("predicted", "q(f(E)) = f(E) W + b", p_(batch).all, {graph.n_nodes(), d}, batch.nodes);
  }

 private:
  BM3_MODEL_NAMES;

  static bool is_id(const Setup<T>& s) { return s.settings.whole("layers") == 0; }
  Matrix<T> target_E() const { return {T_u->value.at, E.rows, d}; }

  void cosine(Matrix<T> d_a, Matrix<T> a, const View<T>& b_of, const Pairs& pairs, size_t size) {
    ops.cosine_loss(loss(rec), d_a, a, b_of, pairs, 1 / static_cast<double>(size), weight(rec));
  }
  /// F of a network: the mean of the layers 0 .. L, over its own draw of the edges.
  void encode(Network k, Matrix<const T> of) {
    if (dropout == 0) return lightgcn_forward<T>(ops, F[k], layer[k], of, graph, n_layers, 0);
    ops.drop_edges(w[k], S.weights(), mask[k], rate.data() + k);
    mean_of_layers<T>(ops, F[k], layer[k], of, w[k], S.rows(), n_layers);
  }

  const size_t n_layers;           // L
  const double dropout, momentum;  // the largest rate at which edges are dropped; m
  Linear<T> predictor;             // q
  const Parameter<T>* T_u;         // of the target, before T_i in memory
  const Sparse<T> S;               // the adjacency, where edges are dropped
  Table<T> F[2] = {node_table(), node_table()};  // of each network
  Table<T> layer[2] = {node_table(n_layers > 1), node_table(n_layers > 1)};
  Table<T> w[2] = {{ops, S.size(), 1}, {ops, S.size(), 1}};  // the weights of its edges
  Table<uint8_t> mask[2] = {{ops, S.size(), 1}, {ops, S.size(), 1}};
  Array<double> rate{ops, 2};
  BatchRows<T> o_ = batch_rows(), d_o_ = batch_rows(), p_ = batch_rows();
  BatchRows<T> d_p_ = batch_rows(), t_ = batch_rows();
  Array<uint8_t> all{ops, std::vector<uint8_t>(t_.all().size(), 1)};  // mask that drops nothing
  Table<T> q = node_table(), ranked{ops, q.rows, 2 * d};
};

}  // namespace

ModelKind buir_kind() {
  return {"buir", "Lee et al., SIGIR 2021",
          {recipe_setting(),
           layers_setting("3", "n-layers"),
           {"dropout", real(0, 1, "from 0 to 1"), "0",
            "edges are dropped at a rate drawn uniformly from 0 to this", {{"paper", "0.2"}}},
           {"momentum", real(0, 1, "from 0 to 1"), "0.995",
            "m: target = m target + (1 - m) online after each step"},
           dim_setting()}, {},
          false, false, make<Buir, float>, make<Buir, double>};
}

}  // namespace bm3
