// GRCN (Wei et al., ACM MM 2020): a content network for each modality says how much a user and an
// item have to do with each other, and prunes the graph of the id network.
#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

/// What GRCN makes of one modality's features.
template <class T>
struct Content {
  const Parameter<T>* P;  // preferences of users
  Linear<T> linear;       // of the features
  Table<T> y, x, Rep;     // y [n_items, d]; x = (P; F) and Rep [n_nodes, d]
  Table<T> P_k, q, alpha; // of each iteration of the routing: [n_users, d] twice, [n_edges / 2, 1]
};

template <class T>
class Grcn final : public Model<T> {
 public:
  explicit Grcn(const Setup<T>& s)
      : Model<T>(s, one_embedding_table(s), pair_losses(s.settings)),
        n_routings(s.settings.whole("routing")),
        all_users(s.settings.has("reg-users", "all")),
        M(s.modalities.size()) {
    const size_t U = graph.n_users, N = graph.n_nodes(), K = n_routings;
    if (M > 0) C = add({"confidence", N, M, xavier_normal(N, M)});
    for (const auto& m : s.modalities)
      of.push_back({add({m.name + ".preference", U, d, xavier_normal(U, d)}),
                    add_linear(m.name, m.dim, d, xavier_normal(m.dim, d)),
                    item_table(), node_table(), node_table(),
                    {ops, K * U, d}, {ops, K * U, d}, {ops, K * S.size() / 2, 1}});
  }

  void forward(const Batch& batch) override {
    encode();
    for (size_t k = 0; k <= M; ++k) {  // f = rows of Z (+) Rep_1 (+) .. (+) Rep_M
      const Matrix<T> rows = rows_(batch).all;
      ops.gather_rows(rows, output(k), batch.nodes);
      ops.copy_columns(pair.f(batch).all, k * d, rows, 0, d);
    }
    pair.forward(loss(bpr), batch);              // L_bpr = mean of -ln sigma(f_u . (f_p - f_n))
    penalties.forward(loss(reg), parts(batch));  // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    pair.backward(batch);
    id_backward(batch);
    for (size_t m = 0; m < M; ++m) content_backward(m, batch);
    penalties.backward(parts(batch), weight(reg));
  }

  Embeddings<T> embeddings() override {  // s(u, i) = Z_u . Z_i + sum over m of Rep_u . Rep_i
    encode();
    for (size_t k = 0; k <= M; ++k) ops.copy_columns(ranked, k * d, output(k), 0, d);
    return {users(ranked), items(ranked)};
  }

  void show(const Batch& batch) override {
    for (size_t m = 0; m < M; ++m) {
      const std::string name = features()[m].name;
      look("x." + name, "(P; F)", of[m].x);
      look("alpha." + name, "softmax over t's sources s of x_t . x_s", alpha(m));
      look("Rep." + name, "x_t + sum of alpha_e x_s", output(1 + m));
    }
    look("w", "max(0, max over m of alpha_e C_sm)", S.weights());
    look("Z", "z + S z + S^2 z", output(0));
    look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;

  size_t width() const { return (1 + M) * d; }
  /// Z, or Rep of modality k - 1.
  Matrix<T> output(size_t k) { return k == 0 ? Z : of[k - 1].Rep; }
  /// alpha of modality m, and the gradient with respect to it, of all edges.
  Matrix<T> alpha(size_t m) { return {alphas.row(m), S.size(), 1}; }
  Matrix<T> d_alpha(size_t m) { return {d_alphas.row(m), S.size(), 1}; }

  // Of the routing: edges from items to users come first, since edges are numbered by target.
  Pairs of_users() const { return {graph.n_users, S.begin.data(), S.column.data()}; }
  Pairs of_items() const {
    return {graph.n_items, S.begin_t.data() + graph.n_users, S.row_t.data(), S.entry_t.data()};
  }
  /// q^0 is the preferences' table and P^k = q^k / |q^k|, of which the last lies in x.
  Matrix<T> q(size_t m, size_t k) {
    return k == 0 ? of[m].P->value : of[m].q.slice((k - 1) * graph.n_users, graph.n_users);
  }
  Matrix<T> P(size_t m, size_t k) {
    return k == n_routings ? users(of[m].x)
                           : of[m].P_k.slice(k * graph.n_users, graph.n_users);
  }
  Matrix<T> alpha(size_t m, size_t k) {
    return of[m].alpha.slice(k * S.size() / 2, S.size() / 2);
  }

  /// alpha_e = softmax over the edges e of t of y_t . x_s, and o_t = y_t + sum of alpha_e x_s.
  void attention_forward(Matrix<T> o, Matrix<T> share, Matrix<T> y, Matrix<T> x,
                         const Pairs& by_t) {
    ops.zero(share);
    ops.edge_dot(share, y, x, by_t);
    ops.edge_softmax_forward(share, share, by_t);
    ops.add_weighted(o, 1, y, share, x, by_t, 1);
  }
  /// Writes d_y, then adds to d_x, from d_o and from what d_share has already and loses here. d_x
  /// has the rows of by_s; it may be d_y.
  void attention_backward(Matrix<T> d_y, Matrix<T> d_x, Matrix<T> d_share, Matrix<T> d_o,
                          Matrix<T> share, Matrix<T> y, Matrix<T> x, const Pairs& by_t,
                          const Pairs& by_s) {
    ops.edge_dot(d_share, d_o, x, by_t);  // do_t = dy_t + sum of dalpha_e x_s + alpha_e dx_s
    ops.edge_softmax_backward(d_share, d_share, share, by_t);
    ops.add_weighted(d_y, 1, d_o, d_share, x, by_t, 1);  // da_e = dy_t . x_s + y_t . dx_s
    ops.add_weighted(d_x, d_share, y, by_s, 1);
    ops.add_weighted(d_x, share, d_o, by_s, 1);
  }

  void content_forward(size_t m) {
    const Matrix<T> x = of[m].x, y = of[m].y;
    of[m].linear.leaky_forward(ops, y, features()[m].value);  // y = LR(X W + b)
    ops.normalise_forward(items(x), y);                       // F = y / |y|
    for (size_t k = 0; k < n_routings; ++k) {
      ops.normalise_forward(P(m, k), q(m, k));
      // q_u = P_u + sum over the user's items of alpha F_i
      attention_forward(q(m, k + 1), alpha(m, k), P(m, k), x, of_users());
    }
    ops.normalise_forward(users(x), q(m, n_routings));
    // Rep_t = x_t + sum over t's neighbours of alpha x_s
    attention_forward(of[m].Rep, alpha(m), x, x, S.rows());
  }
  void content_backward(size_t m, const Batch& batch) {
    const Matrix<T> x = of[m].x, y = of[m].y, d_x = d_x_, d_o = d_o_;
    const Matrix<T> d_P = users(d_x), d_F = items(d_x);
    d_output(d_o, 1 + m, batch);
    attention_backward(d_x, d_x, d_alpha(m), d_o, alpha(m), x, x, S.rows(), S.columns());
    for (size_t k = n_routings; k-- > 0;) {
      const Matrix<T> d_q = users(d_o), d_share = d_edge.slice(0, S.size() / 2);
      ops.normalise_backward(d_q, d_P, q(m, k + 1));
      ops.zero(d_share);
      attention_backward(d_P, d_F, d_share, d_q, alpha(m, k), P(m, k), x, of_users(), of_items());
    }
    ops.normalise_backward(of[m].P->gradient, d_P, of[m].P->value);
    ops.normalise_backward(d_F, d_F, y);
    of[m].linear.leaky_backward(ops, {}, d_F, y, features()[m].value);
  }

  void encode() {
    for (size_t m = 0; m < M; ++m) content_forward(m);
    if (M > 0)  // w_e = max(0, max over m of alpha_e C_sm), by source s; without modalities 1
      ops.edge_weights_forward(S.weights(), chosen, alphas, C->value, S.columns());
    ops.normalise_forward(z, E);  // z = E / |E|
    ops.add_weighted(r, 1, z, S.weights(), z, S.rows(), 1);  // r = z + S z
    ops.add_weighted(Z, 1, z, S.weights(), r, S.rows(), 1);  // Z = z + S r = z + S z + S^2 z
  }
  void id_backward(const Batch& batch) {
    const Matrix<T> d_z = d_x_, d_r = d_o_, d_w = d_edge;
    d_output(d_z, 0, batch);  // Z = z + S r: d_z = d_Z to begin with, d_r = S^T d_Z, d_w = d_Z . r
    ops.add_weighted(d_r, 0, {}, S.weights(), d_z, S.columns(), 1);
    ops.zero(d_w);
    ops.edge_dot(d_w, d_z, r, S.rows());
    ops.edge_dot(d_w, d_r, z, S.rows());
    ops.add(d_z, 1, d_r, 1);  // r = z + S z: d_z += d_r + S^T d_r, d_w += d_r . z
    ops.add_weighted(d_z, S.weights(), d_r, S.columns(), 1);
    ops.normalise_backward(d_E, d_z, E);
    if (M > 0)
      ops.edge_weights_backward(d_alphas, C->gradient, d_w, chosen, alphas, C->value, S.columns());
  }
  /// d_output(k) = the gradient that its rows of the batch have.
  void d_output(Matrix<T> d_out, size_t k, const Batch& batch) {
    const Matrix<T> d_rows = rows_(batch).all;
    ops.copy_columns(d_rows, 0, pair.d_f(batch).all, k * d, d);
    scatter_rows<T>(ops, d_out, d_rows, batch.nodes);
  }

  /// reg: the means over the batch's triples of E_u^2 + (E_p^2 + E_n^2) / 2 and of each modality's
  /// P_u^2, entry by entry; with all_users also the mean of the first modality's P^2 of all users.
  std::vector<Penalty<T>> parts(const Batch& batch) const {
    const double mean = 1 / static_cast<double>(batch.size * d);
    std::vector<Penalty<T>> out = {{E_u, batch.users, batch.by_user, mean},
                                   {E_i, batch.items, batch.by_item, mean / 2},
                                   {E_i, batch.items, batch.by_negative, mean / 2}};
    for (const auto& m : of) out.push_back({m.P, batch.users, batch.by_user, mean});
    if (all_users && M > 0)
      out.push_back({of[0].P, {}, {graph.n_users}, 1 / static_cast<double>(graph.n_users * d)});
    return out;
  }

  const size_t n_routings;  // K
  const bool all_users;     // whether reg has the first modality's preferences of all users
  const size_t M;           // modalities
  Sparse<T> S = adjacency(ops, graph, Scaling::none);  // edges t <- s, then their weights w
  PairLoss<T> pair{ops, loader, width()};
  Penalties<T> penalties{ops, loader, d};
  const Parameter<T>* C = nullptr;  // confidence of each node in each modality
  std::vector<Content<T>> of;  // by modality
  Table<T> z = node_table(), r = node_table(), Z = node_table();
  Table<T> d_x_ = node_table(), d_o_ = node_table();  // of each modality in turn; also d_z, d_r
  Table<T> ranked{ops, z.rows, width()};
  Table<T> alphas{ops, M, S.size()}, d_alphas{ops, M, S.size()}, d_edge{ops, S.size(), 1};
  Table<int32_t> chosen{ops, S.size(), 1};
  BatchRows<T> rows_ = batch_rows();
};

}  // namespace

ModelKind grcn_kind() {
  return {"grcn", "Wei et al., ACM MM 2020",
          {recipe_setting(),
           {"routing", whole_from_to(0, 8), "0", "K, iterations in which users' preferences move",
            {{"paper", "3"}}},
           reg_setting("0.001"),
           {"reg-users", word_of({"all", "batch"}), "all",
            "whose preferences of the first modality the regulariser has, too",
            {{"paper", "batch"}}},
           dim_setting()},
          {{"baby", 0.0539, 0.0833, 0.0288, 0.0363},
           {"sports", 0.0598, 0.0915, 0.0332, 0.0414},
           {"elec", 0.0389, 0.0590, 0.0216, 0.0268}},
          true, true, make<Grcn, float>, make<Grcn, double>};
}

}  // namespace bm3
