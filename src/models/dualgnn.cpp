// DualGNN (Wang et al., IEEE TMM 2021): a graph network for each modality, users' own weights of
// the modalities, and a graph of users with common items.
#include <cmath>

#include "layers/user_graph.h"
#include "models/model.h"

namespace bm3 {
namespace {

/// L = L_bpr / ln 2 + lambda reg: the logarithm's base is 2.
std::vector<Loss> losses(const Settings& s) {
  return {{"bpr", 1 / std::log(2.0)}, {"reg", s.real("reg")}};
}

/// Returns V's entries, where r = sum of w_m rep_m finds its rows: for each user and modality the
/// user's row of rep_m in a stack of S and every rep. The released code forms S in the memory of
/// the first rep, and so reads S instead of it.
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
      : Model<T>(s, {}, losses(s.settings)),
        hidden(s.settings.whole("hidden")),
        n_neighbours(s.settings.whole("neighbours")),
        of_users(graph.n_users, graph.n_items, edges_of(graph), n_neighbours),
        Q(make_sparse<T>(ops, graph.n_users, graph.n_users, of_users.entries(of_users.draw(0, 0)))),
        V(make_sparse<T>(ops, graph.n_users, (1 + s.modalities.size()) * graph.n_nodes(),
                         fusion(graph.n_users, graph.n_nodes(), s.modalities.size(),
                                s.settings.has("fusion", "aliased")))),
        w(add({"user_weight", graph.n_users, s.modalities.size(),
               softmax_of(xavier_normal(graph.n_users, s.modalities.size()))})) {
    const size_t U = graph.n_users;
    for (const auto& e : features()) {
      Network of{e.name, e.value, add({e.name + ".preference", U, d, xavier_normal(U, d)}),
                 add_linear(e.name + ".hidden", e.value.cols, hidden, of_fan_in(e.value.cols)),
                 add_linear(e.name + ".output", hidden, d, of_fan_in(hidden)),
                 {ops, graph.n_items, hidden}, item_table()};
      networks.insert(is_visual(e.name) ? networks.begin() : networks.end(), std::move(of));
    }
  }

  void begin_epoch(uint64_t seed, size_t epoch) override {
    take_draw(of_users.draw(seed, epoch));
  }
  EpochDraw epoch_draw() const override { return {"neighbours", graph.n_users, n_neighbours}; }
  void take_draw(const std::vector<int32_t>& neighbours) override {
    replace(ops, Q, of_users.entries(neighbours));
  }

  void forward(const Batch& batch) override {
    encode();
    ops.gather_rows(pair.f(batch).user(), u, batch.users);
    ops.gather_rows(pair.f(batch).item(), S_items(), batch.items);
    // L_bpr = mean of -ln sigma(u . (S_p - S_n))
    pair.forward(loss(bpr), batch, weight(bpr));
    penalties.forward(loss(reg), parts(batch));  // L = L_bpr / ln 2 + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto d_f = pair.d_f(batch);
    pair.backward(batch);
    scatter_rows<T>(ops, d_u, d_f.user(), batch.users);
    ops.add_weighted(d_r, 1, d_u, Q.weights(), d_u, Q.columns(), 1);  // u = r + Q r
    ops.zero(w->gradient);
    ops.edge_dot(edges(w->gradient), d_r, rep, V.rows());  // r = sum of w_m rep_m
    ops.add_weighted(d_rep, 0, {}, edges(w->value), d_r, V.columns(), 1);
    const Matrix<T> d_S = block(d_rep, 0);
    ops.scatter_add_rows(items(d_S), d_f.item(), batch.items);
    for (size_t m = 0; m < networks.size(); ++m) {
      ops.add(block(d_rep, 1 + m), 1, d_S, 1);  // S = sum of rep_m
      backward(networks[m], block(d_rep, 1 + m));
    }
    penalties.backward(parts(batch), weight(reg));
  }

  Embeddings<T> embeddings() override {  // s(u, i) = u . S_i
    encode();
    return {u, S_items()};
  }

  void show(const Batch& batch) override {
    for (size_t m = 0; m < networks.size(); ++m)
      look(networks[m].name + ".rep", "(1 + A + A^2) nrm(P ; F)", block(rep, 1 + m));
    look("r", "sum of w_m rep_m", r);
    look("u", "r + Q r", u);
    look("S", "sum of rep_m", S_items());
    look("x", "u . (S_p - S_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;

  /// F = h W_2 + b_2, h = LR(X W_1 + b_1).
  struct Network {
    std::string name;
    Matrix<T> X;
    const Parameter<T>* P;
    Linear<T> hidden, output;
    Table<T> h, F;
  };

  /// rep = x + A x + A^2 x, which with A symmetric is its own backward.
  void propagate(Matrix<T> y, ConstMatrix<T> x_0) {
    ops.propagate(layer, x_0, x_0, T(1), T(1), T(1), graph);
    ops.propagate(y, layer, x_0, T(1), T(1), T(1), graph);
  }
  void encode() {
    for (size_t k = 0; k < networks.size(); ++k) {
      const Network& m = networks[k];
      m.hidden.leaky_forward(ops, m.h, m.X);        // h = LR(X W_1 + b_1)
      m.output.forward(ops, m.F, m.h);              // F = h W_2 + b_2
      ops.normalise_forward(users(x), m.P->value);  // x = nrm((P ; F))
      ops.normalise_forward(items(x), m.F);
      propagate(block(rep, 1 + k), x);
      ops.add(block(rep, 0), k > 0, block(rep, 1 + k), 1);  // S = sum of rep_m
    }
    ops.add_weighted(r, 0, {}, edges(w->value), rep, V.rows(), 1);  // r = sum of w_m rep_m
    ops.add_weighted(u, 1, r, Q.weights(), r, Q.rows(), 1);         // u = r + Q r
  }
  void backward(Network& m, ConstMatrix<T> d_rep_m) {
    const Matrix<T> d_x = x, d_F = items(d_x);
    propagate(d_x, d_rep_m);
    ops.normalise_backward(m.P->gradient, users(d_x), m.P->value);  // x = nrm((P ; F))
    ops.normalise_backward(d_F, d_F, m.F);
    m.output.backward(ops, d_h, d_F, m.h);            // F = h W_2 + b_2
    m.hidden.leaky_backward(ops, {}, d_h, m.h, m.X);  // h = LR(X W_1 + b_1)
  }

  /// Block b of a stack: S, then rep of each modality.
  Matrix<T> block(Matrix<T> stack, size_t b) const { return stack.slice(b * E.rows, E.rows); }
  Matrix<T> S_items() const { return items(block(rep, 0)); }
  /// Weights by user and modality as those of V's entries.
  static Matrix<T> edges(Matrix<T> weights) { return {weights.at, weights.size(), 1}; }
  /// reg: the means of P_m[users]^2 and of w^2.
  std::vector<Penalty<T>> parts(const Batch& batch) const {
    const double mean = 1 / static_cast<double>(batch.size * d);
    std::vector<Penalty<T>> out;
    for (const Network& m : networks) out.push_back({m.P, batch.users, batch.by_user, mean});
    out.push_back({w, {}, {w->value.rows}, 1 / static_cast<double>(w->value.size())});
    return out;
  }
  Table<T> user_table() const { return {ops, graph.n_users, d}; }

  const size_t hidden, n_neighbours;
  const UserGraph of_users;
  Sparse<T> Q;        // weights of users' neighbours [n_users, n_users]
  const Sparse<T> V;  // where w's weights apply [n_users, a stack's rows]
  const Parameter<T>* const w;  // users' weights of the modalities
  PairLoss<T> pair{ops, loader, d};
  Penalties<T> penalties{ops, loader, d};
  std::vector<Network> networks;  // by modality, the visual one first
  Table<T> rep{ops, V.n_columns, d}, d_rep{ops, V.n_columns, d};  // stacks
  Table<T> x = node_table(), layer = node_table();    // the first is d_x, too
  Table<T> r = user_table(), u = user_table(), d_r = user_table(), d_u = user_table();
  Table<T> d_h{ops, graph.n_items, hidden};
};

}  // namespace

ModelKind dualgnn_kind() {
  return {"dualgnn", "Wang et al., TMM 2021",
          {recipe_setting(),
           {"fusion", word_of({"aliased", "separate"}), "aliased",
            "whether users' first modality stands for the sum of all, or for itself",
            {{"paper", "separate"}}},
           {"neighbours", whole_from_to(1, 1000), "40", "k, neighbours in the graph of users"},
           {"hidden", whole_from_to(1, 4096), "256", "width of the features' hidden layer"},
           reg_setting("0.001"),
           dim_setting()},
          {{"baby", 0.0448, 0.0716, 0.0240, 0.0309},
           {"sports", 0.0568, 0.0859, 0.0310, 0.0385},
           {"elec", 0.0365, 0.0542, 0.0206, 0.0252}},
          true, true, make<DualGnn, float>, make<DualGnn, double>, {{"lr", "0.0001"}}, true};
}

}  // namespace bm3
