// DualGNN (Wang et al., IEEE TMM 2021): a graph network for each modality, users' own weights of
// the modalities, and a graph of users with common items.
#include <cmath>

#include "layers/pair_loss.h"
#include "layers/user_graph.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

/// Returns the modalities' places, the visual one first.
std::vector<size_t> in_order(const std::vector<ModalityShape>& modalities) {
  std::vector<size_t> out;
  for (size_t m = 0; m < modalities.size(); ++m)
    out.insert(is_visual(modalities[m]) ? out.begin() : out.end(), m);
  return out;
}

/// L = L_bpr / ln 2 + lambda reg: the logarithm's base is 2.
std::vector<Loss> losses(const Settings& s) {
  return {{"bpr", 1 / std::log(2.0)}, {"reg", s.real("reg")}};
}

template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim"), hidden = s.settings.whole("hidden");
  const size_t n_users = s.graph.n_users, n = s.modalities.size();
  std::vector<ParameterShape> out = {
      {"user_weight", n_users, n, softmax_of(xavier_normal(n_users, n))}};
  for (const auto& m : s.modalities) {
    out.push_back({m.name + ".preference", n_users, d, xavier_normal(n_users, d)});
    out.push_back({m.name + ".hidden.weight", m.dim, hidden, of_fan_in(m.dim)});
    out.push_back({m.name + ".hidden.bias", 1, hidden, of_fan_in(m.dim)});
    out.push_back({m.name + ".output.weight", hidden, d, of_fan_in(hidden)});
    out.push_back({m.name + ".output.bias", 1, d, of_fan_in(hidden)});
  }
  return out;
}

/// Returns where users' vectors r come from: an entry for each user and modality, in the columns of
/// the sum S [n_nodes] and then of each modality. In the released code the sum is formed in the
/// memory of the first modality, so that it stands for it.
std::vector<Entry> fusion(size_t n_users, size_t n_nodes, size_t modalities, bool aliased) {
  std::vector<Entry> out;
  for (size_t u = 0; u < n_users; ++u)
    for (size_t m = 0; m < modalities; ++m) {
      const size_t block = aliased && m == 0 ? 0 : 1 + m;
      out.push_back({static_cast<int32_t>(u), static_cast<int32_t>(block * n_nodes + u)});
    }
  return out;
}

template <class T>
class DualGnn final : public Model<T> {
 public:
  explicit DualGnn(const Setup<T>& s)
      : Model<T>(s, shapes(s), losses(s.settings)),
        hidden(s.settings.whole("hidden")),
        n_neighbours_(s.settings.whole("neighbours")),
        users(graph.n_users, graph.n_items, edges_of(graph), n_neighbours_),
        Q(make_sparse<T>(ops, graph.n_users, graph.n_users, users.entries(users.draw(0, 0)))),
        V(make_sparse<T>(ops, graph.n_users, (1 + s.modalities.size()) * graph.n_nodes(),
                         fusion(graph.n_users, graph.n_nodes(), s.modalities.size(),
                                s.settings.has("fusion", "aliased")))),
        w(this->parameter("user_weight")),
        pair(ops, PairForm::plain, RegForm::squared, s.loader.max_size()) {
    const size_t n = s.modalities.size(), N = graph.n_nodes();
    hidden_ = Array<T>(ops, n * graph.n_items * hidden);
    output_ = Array<T>(ops, n * graph.n_items * d);
    for (size_t m : in_order(s.modalities)) networks.push_back(network(m, s.modalities[m].name));
    for (auto* stack : {&rep_, &d_rep_}) *stack = Array<T>(ops, (1 + n) * N * d);
    for (auto* nodes : {&x_, &layer_}) *nodes = Array<T>(ops, N * d);
    for (auto* of_users : {&r_, &u_, &d_r_, &d_u_}) *of_users = Array<T>(ops, graph.n_users * d);
    d_hidden_ = Array<T>(ops, graph.n_items * hidden);
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&f_, &d_f_, &p_, &d_p_}) *of_batch = Array<T>(ops, rows * d);
    norm_ = Array<double>(ops, 1);
  }

  void begin_epoch(uint64_t seed, size_t epoch) override {
    set_neighbours(users.draw(seed, epoch));
  }
  size_t n_neighbours() const override { return n_neighbours_; }
  void set_neighbours(const std::vector<int32_t>& neighbours) override {
    replace(Q, users.entries(neighbours));
  }

  void forward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch), p = rows_of(p_, batch);
    encode();
    ops.gather_rows(f.user(), u(), batch.users);
    ops.gather_rows(f.item(), S_items(), batch.items);
    // L_bpr = mean of -ln sigma(u . (S_p - S_n))
    pair.forward(this->loss(bpr), d_f, f, batch, this->losses()[bpr].weight);
    for (const Network& m : networks) {  // reg = sum of the means of P_m[users]^2 and of w^2
      ops.gather_rows(p.user(), m.P.value, batch.users);
      ops.penalty_forward(this->loss(reg), norm_.data(), p.user(), batch.by_user,
                          RegForm::squared, of_preferences(batch));
    }
    ops.penalty_forward(this->loss(reg), norm_.data(), w.value, Pairs{w.value.rows},
                        RegForm::squared, of_weights());
  }

  void backward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    const double lambda = this->losses()[reg].weight;
    pair.backward(d_f, f, batch);
    ops.zero(d_u().at, d_u().size() * sizeof(T));
    ops.scatter_add_rows(d_u(), d_f.user(), batch.users);
    ops.add(d_r(), 0, d_u(), 1);  // u = r + Q r
    ops.add_weighted(d_r(), Q.weights(), d_u(), Q.columns(), 1);
    const Matrix<T> d_rep = d_rep_.matrix(V.n_columns, d);
    ops.zero(d_rep.at, d_rep.size() * sizeof(T));
    ops.zero(w.gradient.at, w.gradient.size() * sizeof(T));
    ops.edge_dot(edges(w.gradient), d_r(), rep_.matrix(V.n_columns, d), V.rows(), 1);  // r = w rep
    ops.add_weighted(d_rep, edges(w.value), d_r(), V.columns(), 1);
    ops.penalty_backward(w.gradient, norm_.data(), w.value, Pairs{w.value.rows}, RegForm::squared,
                         lambda * of_weights());
    const Matrix<T> d_S = block(d_rep_, 0);
    ops.scatter_add_rows(d_S.slice(graph.n_users, graph.n_items), d_f.item(), batch.items);
    for (size_t m = 0; m < networks.size(); ++m) {
      ops.add(block(d_rep_, 1 + m), 1, d_S, 1);  // S = sum of rep_m
      backward(networks[m], block(d_rep_, 1 + m), batch);
    }
  }

  Embeddings<T> embeddings() override {  // s(u, i) = u . S_i
    encode();
    return {u(), S_items()};
  }

  void hold_targets() override {
    held_ = Array<T>(ops, hidden_.size());
    ops.add(held_.matrix(1, held_.size()), 0, hidden_.matrix(1, hidden_.size()), 1);
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    for (size_t m = 0; m < networks.size(); ++m)
      out.push_back(this->look(networks[m].name + ".rep", "(1 + A + A^2) nrm(P ; F)",
                               block(rep_, 1 + m)));
    out.push_back(this->look("r", "sum of w_m rep_m", r_.matrix(graph.n_users, d)));
    out.push_back(this->look("u", "r + Q r", u()));
    out.push_back(this->look("S", "sum of rep_m", S_items()));
    out.push_back(this->look("x", "u . (S_p - S_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;

  /// F = h W_2 + b_2, h = LR(X W_1 + b_1).
  struct Network {
    std::string name;
    Matrix<T> X, h, F;
    Parameter<T> P, W_1, b_1, W_2, b_2;
  };

  Network network(size_t m, const std::string& name) {
    const auto of = [&](const char* parameter) { return this->parameter(name + parameter); };
    const size_t n_items = graph.n_items;
    return {name,
            this->features()[m].value,
            {hidden_.data() + m * n_items * hidden, n_items, hidden},
            {output_.data() + m * n_items * d, n_items, d},
            of(".preference"),
            of(".hidden.weight"),
            of(".hidden.bias"),
            of(".output.weight"),
            of(".output.bias")};
  }

  /// h = LR(h). Held, with the slopes of the last forward pass.
  void leaky(Matrix<T> h) {
    if (held_.size() == 0) return ops.leaky_relu_forward(h, h);
    ops.leaky_relu_backward(h, h, {held_.data() + (h.at - hidden_.data()), h.rows, h.cols});
  }
  /// rep = x + A x + A^2 x, which with A symmetric is its own backward.
  void propagate(Matrix<T> rep, ConstMatrix<T> x) {
    const Matrix<T> layer = layer_.matrix(graph.n_nodes(), d);
    ops.propagate(layer, x, x, T(1), T(1), T(1), graph);
    ops.propagate(rep, layer, x, T(1), T(1), T(1), graph);
  }
  void encode();
  void backward(Network& m, ConstMatrix<T> d_rep, const Batch& batch);

  /// Block b of a stack: S, then rep of each modality.
  Matrix<T> block(Array<T>& stack, size_t b) {
    return {stack.data() + b * graph.n_nodes() * d, graph.n_nodes(), d};
  }
  Matrix<T> S_items() { return block(rep_, 0).slice(graph.n_users, graph.n_items); }
  Matrix<T> u() { return u_.matrix(graph.n_users, d); }
  Matrix<T> d_u() { return d_u_.matrix(graph.n_users, d); }
  Matrix<T> d_r() { return d_r_.matrix(graph.n_users, d); }
  /// Weights by user and modality as those of V's entries.
  static Matrix<T> edges(Matrix<T> weights) { return {weights.at, weights.size(), 1}; }
  double of_preferences(const Batch& batch) const {
    return 1 / static_cast<double>(batch.size * d);
  }
  double of_weights() const { return 1 / static_cast<double>(w.value.size()); }
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }

  const size_t hidden, n_neighbours_;
  const UserGraph users;
  Sparse<T> Q;        // om [n_users, n_users]
  const Sparse<T> V;  // places of w's entries [n_users, stack's rows]
  const Parameter<T> w;
  PairLoss<T> pair;
  std::vector<Network> networks;         // by modality, the visual one first
  Array<T> hidden_, output_, held_;      // h and F of all networks; h whose slopes are held
  Array<T> rep_, d_rep_;                 // stacks
  Array<T> x_, layer_;                   // [n_nodes, d]
  Array<T> r_, u_, d_r_, d_u_;           // [n_users, d]
  Array<T> d_hidden_;                    // [n_items, hidden]
  Array<T> f_, d_f_, p_, d_p_;           // rows of a batch
  Array<double> norm_;
};

template <class T>
void DualGnn<T>::encode() {
  const Matrix<T> x = x_.matrix(graph.n_nodes(), d), r = r_.matrix(graph.n_users, d);
  for (size_t k = 0; k < networks.size(); ++k) {
    const Network& m = networks[k];
    ops.linear_forward(m.h, m.X, {}, m.W_1.value, m.b_1.value);  // h = LR(X W_1 + b_1)
    leaky(m.h);
    ops.linear_forward(m.F, m.h, {}, m.W_2.value, m.b_2.value);  // F = h W_2 + b_2
    ops.normalise_forward(x.slice(0, graph.n_users), m.P.value);  // x = nrm((P ; F))
    ops.normalise_forward(x.slice(graph.n_users, graph.n_items), m.F);
    propagate(block(rep_, 1 + k), x);
    ops.add(block(rep_, 0), k > 0, block(rep_, 1 + k), 1);  // S = sum of rep_m
  }
  ops.zero(r.at, r.size() * sizeof(T));  // r = sum of w_m rep_m
  ops.add_weighted(r, edges(w.value), rep_.matrix(V.n_columns, d), V.rows(), 1);
  ops.add(u(), 0, r, 1);  // u = r + Q r
  ops.add_weighted(u(), Q.weights(), r, Q.rows(), 1);
}

template <class T>
void DualGnn<T>::backward(Network& m, ConstMatrix<T> d_rep, const Batch& batch) {
  const Matrix<T> d_x = x_.matrix(graph.n_nodes(), d);
  const Matrix<T> d_h = d_hidden_.matrix(graph.n_items, hidden);
  const auto p = rows_of(p_, batch), d_p = rows_of(d_p_, batch);
  propagate(d_x, d_rep);
  // x = nrm((P ; F))
  ops.normalise_backward(m.P.gradient, d_x.slice(0, graph.n_users), m.P.value);
  const Matrix<T> d_F = d_x.slice(graph.n_users, graph.n_items);
  ops.normalise_backward(d_F, d_F, m.F);
  ops.linear_backward(d_h, m.W_2.gradient, m.b_2.gradient, d_F, m.h, {}, m.W_2.value);
  ops.leaky_relu_backward(d_h, d_h, m.h);  // h = LR(X W_1 + b_1)
  ops.linear_backward({}, m.W_1.gradient, m.b_1.gradient, d_h, m.X, {}, m.W_1.value);
  ops.gather_rows(p.user(), m.P.value, batch.users);  // reg
  ops.zero(d_p.user().at, d_p.user().size() * sizeof(T));
  ops.penalty_backward(d_p.user(), norm_.data(), p.user(), batch.by_user, RegForm::squared,
                       this->losses()[reg].weight * of_preferences(batch));
  ops.scatter_add_rows(m.P.gradient, d_p.user(), batch.users);
}

std::vector<Setting> settings() {
  return {recipe_setting(),
          {"fusion", word_of({"aliased", "separate"}), "aliased",
           "whether users' first modality stands for the sum of all, or for itself",
           {{"paper", "separate"}}},
          {"neighbours", whole_from_to(1, 1000), "40", "k, neighbours in the graph of users"},
          {"hidden", whole_from_to(1, 4096), "256", "width of the features' hidden layer"},
          {"reg", weight(), "0.001", "lambda, weight of the regulariser", {}, {"reg-weight"}},
          dim_setting()};
}

}  // namespace

ModelKind dualgnn_kind() {
  return {"dualgnn", "Wang et al., TMM 2021", settings(),
          {{"baby", 0.0448, 0.0716, 0.0240, 0.0309},
           {"sports", 0.0568, 0.0859, 0.0310, 0.0385},
           {"elec", 0.0365, 0.0542, 0.0206, 0.0252}},
          true, true, make<DualGnn, float>, make<DualGnn, double>, {{"lr", "0.0001"}}, true};
}

}  // namespace bm3
