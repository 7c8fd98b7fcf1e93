// GRCN (Wei et al., ACM MM 2020): a content network for each modality says how much a user and an
// item have to do with each other, and prunes the graph of the id network.
#include "layers/pair_loss.h"
#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim"), M = s.modalities.size();
  const size_t U = s.graph.n_users, N = s.graph.n_nodes();
  std::vector<ParameterShape> out = {{"user_embedding", U, d, xavier_normal(N, d)},
                                     {"item_embedding", N - U, d, xavier_normal(N, d)}};
  if (M > 0) out.push_back({"confidence", N, M, xavier_normal(N, M)});
  for (const auto& m : s.modalities) {
    out.push_back({m.name + ".preference", U, d, xavier_normal(U, d)});
    out.push_back({m.name + ".weight", m.dim, d, xavier_normal(m.dim, d)});
    out.push_back({m.name + ".bias", 1, d, of_fan_in(m.dim)});
  }
  return out;
}

/// The training interactions as edges of weight 1, from the node of the column to that of the row.
template <class T>
Sparse<T> edges(const Setup<T>& s) {
  const auto begin = s.graph.begin.host();
  const auto neighbour = s.graph.neighbour.host();
  std::vector<Entry> entries;
  for (size_t r = 0; r + 1 < begin.size(); ++r)
    for (auto k = static_cast<size_t>(begin[r]); k < static_cast<size_t>(begin[r + 1]); ++k)
      entries.push_back({static_cast<int32_t>(r), neighbour[k]});
  return make_sparse<T>(s.ops, s.graph.n_nodes(), s.graph.n_nodes(), std::move(entries));
}

/// What GRCN makes of one modality's features.
template <class T>
struct Content {
  Parameter<T> P, W, b;     // preferences of users, and the features' linear layer
  Array<T> y, x, Rep;       // y [n_items, d]; x = (P; F) and Rep [n_nodes, d]
  Array<T> P_k, q, alpha;   // of each iteration of the routing: [n_users, d] twice, [n_edges / 2]
};

template <class T>
class Grcn final : public Model<T> {
 public:
  explicit Grcn(const Setup<T>& s)
      : Model<T>(s, shapes(s), {{"bpr", 1}, {"reg", s.settings.real("reg")}}),
        n_routings(s.settings.whole("routing")),
        all_users(s.settings.has("reg-users", "all")),
        M(s.modalities.size()),
        S(edges(s)),
        pair(ops, PairForm::plain, RegForm::squared, s.loader.max_size()) {
    const size_t U = graph.n_users, N = graph.n_nodes(), E = S.size(), K = n_routings;
    if (M > 0) C = this->parameter("confidence");
    for (const auto& m : s.modalities)
      of.push_back({this->parameter(m.name + ".preference"), this->parameter(m.name + ".weight"),
                    this->parameter(m.name + ".bias"), Array<T>(ops, graph.n_items * d),
                    Array<T>(ops, N * d), Array<T>(ops, N * d), Array<T>(ops, K * U * d),
                    Array<T>(ops, K * U * d), Array<T>(ops, K * E / 2)});
    for (auto* nodes : {&z_, &r_, &Z_, &d_x_, &d_o_}) *nodes = Array<T>(ops, N * d);
    ranked_ = Array<T>(ops, N * width());
    for (auto* shares : {&alpha_, &d_alpha_}) *shares = Array<T>(ops, M * E);
    d_edge_ = Array<T>(ops, E);
    chosen_ = Array<int32_t>(ops, E);
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&f_, &d_f_}) *of_batch = Array<T>(ops, rows * width());
    for (auto* of_batch : {&rows_, &d_rows_}) *of_batch = Array<T>(ops, rows * d);
    norm_ = Array<double>(ops, 1);
  }

  void forward(const Batch& batch) override {
    const auto f = blocks(f_, batch, 0, width()), d_f = blocks(d_f_, batch, 0, width());
    encode();
    for (size_t k = 0; k <= M; ++k) {  // f = rows of Z (+) Rep_1 (+) .. (+) Rep_M
      const Matrix<T> rows = rows_.matrix(batch.nodes.n, d);
      ops.gather_rows(rows, output(k), batch.nodes);
      ops.copy_columns(f.nodes(), k * d, rows, 0, d);
    }
    pair.forward(this->loss(bpr), d_f, f, batch);  // L_bpr = mean of -ln sigma(f_u.(f_p - f_n))
    reg_forward(batch);                            // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto f = blocks(f_, batch, 0, width()), d_f = blocks(d_f_, batch, 0, width());
    pair.backward(d_f, f, batch);
    id_backward(batch);
    for (size_t m = 0; m < M; ++m) content_backward(m, batch);
    reg_backward(batch);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = Z_u . Z_i + sum over m of Rep_u . Rep_i
    encode();
    const Matrix<T> all = ranked_.matrix(graph.n_nodes(), width());
    for (size_t k = 0; k <= M; ++k) ops.copy_columns(all, k * d, output(k), 0, d);
    return {all.slice(0, graph.n_users), all.slice(graph.n_users, graph.n_items)};
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    for (size_t m = 0; m < M; ++m) {
      const std::string name = this->features()[m].name;
      out.push_back(this->look("x." + name, "(P; F)", nodes(of[m].x)));
      out.push_back(this->look("alpha." + name, "softmax over t's sources s of x_t . x_s",
                               alpha(m)));
      out.push_back(this->look("Rep." + name, "x_t + sum of alpha_e x_s", output(1 + m)));
    }
    out.push_back(this->look("w", "max(0, max over m of alpha_e C_sm)", S.weights()));
    out.push_back(this->look("Z", "z + S z + S^2 z", output(0)));
    out.push_back(this->look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;

  size_t width() const { return (1 + M) * d; }
  Matrix<T> nodes(Array<T>& memory) const { return memory.matrix(graph.n_nodes(), d); }
  Matrix<T> users(Matrix<T> x) const { return x.slice(0, graph.n_users); }
  Matrix<T> items(Matrix<T> x) const { return x.slice(graph.n_users, graph.n_items); }
  /// Z, or Rep of modality k - 1.
  Matrix<T> output(size_t k) { return nodes(k == 0 ? Z_ : of[k - 1].Rep); }
  /// alpha of modality m, and the gradient with respect to it, of all edges.
  Matrix<T> alpha(size_t m) { return {alpha_.data() + m * S.size(), S.size(), 1}; }
  Matrix<T> d_alpha(size_t m) { return {d_alpha_.data() + m * S.size(), S.size(), 1}; }

  // Of the routing: edges from items to users come first, since edges are numbered by target.
  Pairs of_users() const { return {graph.n_users, S.begin.data(), S.column.data()}; }
  Pairs of_items() const {
    return {graph.n_items, S.begin_t.data() + graph.n_users, S.row_t.data(), S.entry_t.data()};
  }
  /// q^0 = the preferences' table, P^k = q^k / |q^k|, the last of which is x's, and q^{k+1}.
  Matrix<T> q(size_t m, size_t k) {
    return k == 0 ? of[m].P.value : step(of[m].q, k - 1, graph.n_users, d);
  }
  Matrix<T> P(size_t m, size_t k) {
    return k == n_routings ? users(nodes(of[m].x)) : step(of[m].P_k, k, graph.n_users, d);
  }
  Matrix<T> alpha(size_t m, size_t k) { return step(of[m].alpha, k, S.size() / 2, 1); }
  static Matrix<T> step(Array<T>& memory, size_t k, size_t rows, size_t cols) {
    return {memory.data() + k * rows * cols, rows, cols};
  }

  void copy(Matrix<T> y, Matrix<T> x) { ops.add(y, 0, x, 1); }
  void zero(Matrix<T> x) { ops.zero(x.at, x.size() * sizeof(T)); }

  /// alpha_e = softmax over the edges e of t of y_t . x_s, and o_t += sum of alpha_e x_s.
  void attention_forward(Matrix<T> o, Matrix<T> share, Matrix<T> y, Matrix<T> x,
                         const Pairs& by_t) {
    zero(share);
    ops.edge_dot(share, y, x, by_t, 1);
    ops.edge_softmax_forward(share, share, by_t);
    ops.add_weighted(o, share, x, by_t, 1);
  }
  /// d_y and d_x +=, from d_o and from what d_alpha has already, which is overwritten. d_x's rows
  /// are those of by_s.
  void attention_backward(Matrix<T> d_y, Matrix<T> d_x, Matrix<T> d_share, Matrix<T> d_o,
                          Matrix<T> share, Matrix<T> y, Matrix<T> x, const Pairs& by_t,
                          const Pairs& by_s) {
    ops.edge_dot(d_share, d_o, x, by_t, 1);      // do_t = sum of dalpha_e x_s + alpha_e dx_s
    ops.add_weighted(d_x, share, d_o, by_s, 1);
    ops.edge_softmax_backward(d_share, d_share, share, by_t);
    ops.add_weighted(d_y, d_share, x, by_t, 1);  // da_e = dy_t . x_s + y_t . dx_s
    ops.add_weighted(d_x, d_share, y, by_s, 1);
  }

  void content_forward(size_t m) {
    const Matrix<T> x = nodes(of[m].x), y = of[m].y.matrix(graph.n_items, d);
    ops.linear_forward(y, this->features()[m].value, {}, of[m].W.value, of[m].b.value);
    ops.leaky_relu_forward(y, y);         // y = LeakyReLU(X W + b)
    ops.normalise_forward(items(x), y);   // F = y / |y|
    for (size_t k = 0; k < n_routings; ++k) {
      ops.normalise_forward(P(m, k), q(m, k));
      copy(q(m, k + 1), P(m, k));         // q_u = P_u + sum over the user's items of alpha F_i
      attention_forward(q(m, k + 1), alpha(m, k), P(m, k), x, of_users());
    }
    ops.normalise_forward(users(x), q(m, n_routings));
    copy(nodes(of[m].Rep), x);            // Rep_t = x_t + sum over t's neighbours of alpha x_s
    attention_forward(nodes(of[m].Rep), alpha(m), x, x, S.rows());
  }
  void content_backward(size_t m, const Batch& batch) {
    const Matrix<T> x = nodes(of[m].x), d_x = nodes(d_x_), d_o = nodes(d_o_);
    const Matrix<T> d_P = users(d_x), d_F = items(d_x), y = of[m].y.matrix(graph.n_items, d);
    d_output(d_o, 1 + m, batch);
    copy(d_x, d_o);
    attention_backward(d_x, d_x, d_alpha(m), d_o, alpha(m), x, x, S.rows(), S.columns());
    for (size_t k = n_routings; k-- > 0;) {
      const Matrix<T> d_q = users(d_o), d_share = d_edge_.matrix(S.size() / 2, 1);
      ops.normalise_backward(d_q, d_P, q(m, k + 1));
      copy(d_P, d_q);
      zero(d_share);
      attention_backward(d_P, d_F, d_share, d_q, alpha(m, k), P(m, k), x, of_users(), of_items());
    }
    ops.normalise_backward(of[m].P.gradient, d_P, of[m].P.value);
    ops.normalise_backward(d_F, d_F, y);
    ops.leaky_relu_backward(d_F, d_F, y);
    ops.linear_backward({}, of[m].W.gradient, of[m].b.gradient, d_F, this->features()[m].value, {},
                        of[m].W.value);
  }

  void encode() {
    for (size_t m = 0; m < M; ++m) content_forward(m);
    if (M > 0)  // w_e = max(0, max over m of alpha_e C_sm), by source s; without modalities 1
      ops.edge_weights_forward(S.weights(), chosen(), alphas(alpha_), C.value, S.columns());
    const Matrix<T> z = nodes(z_), r = nodes(r_), Z = nodes(Z_);
    ops.normalise_forward(z, this->embedding());  // z = E / |E|
    copy(r, z);                                   // r = z + S z
    ops.add_weighted(r, S.weights(), z, S.rows(), 1);
    copy(Z, z);                                   // Z = z + S r = z + S z + S^2 z
    ops.add_weighted(Z, S.weights(), r, S.rows(), 1);
  }
  void id_backward(const Batch& batch) {
    const Matrix<T> d_z = nodes(d_x_), d_r = nodes(d_o_), d_w = d_edge_.matrix(S.size(), 1);
    d_output(d_z, 0, batch);  // Z = z + S r: d_z = d_Z to begin with, d_r = S^T d_Z, d_w = d_Z . r
    multiply_transposed<T>(ops, d_r, S, d_z);
    zero(d_w);
    ops.edge_dot(d_w, d_z, nodes(r_), S.rows(), 1);
    ops.edge_dot(d_w, d_r, nodes(z_), S.rows(), 1);
    ops.add(d_z, 1, d_r, 1);  // r = z + S z: d_z += d_r + S^T d_r, d_w += d_r . z
    ops.add_weighted(d_z, S.weights(), d_r, S.columns(), 1);
    ops.normalise_backward(this->d_embedding(), d_z, this->embedding());
    if (M > 0)
      ops.edge_weights_backward(alphas(d_alpha_), C.gradient, d_w, chosen(), alphas(alpha_),
                                C.value, S.columns());
  }
  Matrix<T> alphas(Array<T>& memory) { return memory.matrix(M, S.size()); }
  Matrix<int32_t> chosen() { return chosen_.matrix(S.size(), 1); }
  /// d_output(k) = the gradient that its rows of the batch have.
  void d_output(Matrix<T> d_out, size_t k, const Batch& batch) {
    const Matrix<T> d_rows = d_rows_.matrix(batch.nodes.n, d);
    ops.copy_columns(d_rows, 0, blocks(d_f_, batch, 0, width()).nodes(), k * d, d);
    zero(d_out);
    ops.scatter_add_rows(d_out, d_rows, batch.nodes);
  }

  /// reg is the sum over these of mean * |x|^2 over the pairs' rows of a table; without rows, over
  /// all of it.
  struct Penalty {
    const Parameter<T>* table;
    Rows rows;
    Pairs pairs;
    double mean;
  };
  /// The means over the batch's triples of (E_u^2 + E_u^2 + E_p^2 + E_n^2) / 2 and of every P_u^2,
  /// entry by entry, and the mean of the first modality's P^2 of all users.
  std::vector<Penalty> penalties(const Batch& batch) {
    const double mean = 1 / static_cast<double>(batch.size * d);
    const Parameter<T>*E_u = &this->parameter("user_embedding");
    const Parameter<T>*E_i = &this->parameter("item_embedding");
    std::vector<Penalty> out = {{E_u, batch.users, batch.by_user, mean},
                                {E_i, batch.items, batch.by_item, mean / 2},
                                {E_i, batch.items, batch.by_negative, mean / 2}};
    for (const auto& m : of) out.push_back({&m.P, batch.users, batch.by_user, mean});
    if (all_users && M > 0)
      out.push_back({&of[0].P, {}, {graph.n_users}, 1 / static_cast<double>(graph.n_users * d)});
    return out;
  }
  Matrix<T> rows_of(const Penalty& part) {
    if (!part.rows.at) return part.table->value;
    const Matrix<T> x = rows_.matrix(part.rows.n, d);
    ops.gather_rows(x, part.table->value, part.rows);
    return x;
  }
  void reg_forward(const Batch& batch) {
    for (const Penalty& part : penalties(batch))
      ops.penalty_forward(this->loss(reg), norm_.data(), rows_of(part), part.pairs,
                          RegForm::squared, part.mean);
  }
  void reg_backward(const Batch& batch) {
    for (const Penalty& part : penalties(batch)) {
      const Matrix<T> x = rows_of(part);
      const Matrix<T> d_x = part.rows.at ? d_rows_.matrix(x.rows, d) : part.table->gradient;
      if (part.rows.at) zero(d_x);
      ops.penalty_backward(d_x, norm_.data(), x, part.pairs, RegForm::squared,
                           this->losses()[reg].weight * part.mean);
      if (part.rows.at) ops.scatter_add_rows(part.table->gradient, d_x, part.rows);
    }
  }

  const size_t n_routings;  // K
  const bool all_users;     // whether reg has the first modality's preferences of all users
  const size_t M;           // modalities
  Sparse<T> S;              // edges t <- s with the weights w
  PairLoss<T> pair;
  Parameter<T> C;              // confidence of each node in each modality
  std::vector<Content<T>> of;  // by modality
  Array<T> z_, r_, Z_, d_x_, d_o_, ranked_;    // [n_nodes, d], the last [n_nodes, width]
  Array<T> alpha_, d_alpha_, d_edge_;          // [M, n_edges] twice, [n_edges]
  Array<int32_t> chosen_;                      // [n_edges]
  Array<T> f_, d_f_, rows_, d_rows_;           // rows of a batch
  Array<double> norm_;                         // unused by the squared form
};

}  // namespace

ModelKind grcn_kind() {
  return {"grcn", "Wei et al., ACM MM 2020",
          {recipe_setting(),
           {"routing", whole_from_to(0, 8), "0", "K, iterations in which users' preferences move",
            {{"paper", "3"}}},
           {"reg", weight(), "0.001", "lambda, weight of the regulariser", {}, {"reg-weight"}},
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
