// MMGCN (Wei et al., ACM MM 2019): a graph network for each modality, and the mean of their last
// layers.
#include <optional>

#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

constexpr size_t n_layers = 3;  // L, in the authors' code whatever its settings say

template <class T>
class Mmgcn final : public Model<T> {
 public:
  explicit Mmgcn(const Setup<T>& s)
      : Model<T>(s, one_embedding_table(s, s.settings.has("tables", "frozen")),
                 pair_losses(s.settings)),
        trained(!E_u->frozen) {
    for (size_t m = 0; m < s.modalities.size(); ++m) {
      networks.push_back(network(m, s.modalities[m], s.settings));
      widest = std::max(widest, networks[m].x0.cols);
    }
    for (auto* wide : {&d_x_, &d_h_, &d_a_}) *wide = Array<T>(ops, graph.n_nodes() * widest);
  }

  void begin_epoch(uint64_t, size_t) override {
    for (Network& m : networks) begin(m, true);
  }

  void forward(const Batch& batch) override {
    encode();
    pair.forward(loss(bpr), F, batch);           // L_bpr = mean of -ln sigma(f_u . (f_p - f_n))
    penalties.forward(loss(reg), parts(batch));  // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    pair.backward(d_F, batch);
    if (trained) ops.zero(d_E);
    for (Network& m : networks) backward(m);
    penalties.backward(parts(batch), weight(reg));
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    encode();
    return {users(F), items(F)};
  }

  void show(const Batch& batch) override {
    for (size_t m = 0; m < networks.size(); ++m) {
      const std::string name = features()[m].name + ".x";
      look(name + "0", "nrm(P ; F)", networks[m].x0);
      for (size_t l = 1; l <= n_layers; ++l)
        look(name + std::to_string(l), "LR((h (+) xh) G + b)", networks[m].layers[l - 1].x);
    }
    look("F", "mean of x^L", F);
    look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;

  /// x' = LR((h (+) xh) G + b_G), with h = LR(M x C) and xh = q + E, q = LR(x N + b_N).
  struct Layer {
    Linear<T> C, N, G;
    Table<T> a, h, q, xh, x;  // a = M x; the last is x'
  };
  /// x^0 = nrm((P ; F)), with F = X W + b, or F = X where there is no W.
  struct Network {
    Matrix<T> X;
    const Parameter<T>* P;
    Table<T> x0;
    std::optional<Linear<T>> W = {};
    Table<T> F = {};
    std::vector<Layer> layers = {};
  };

  /// Images' features pass a linear layer first; D is the width of the network at its first layer.
  Network network(size_t m, const ModalityShape& shape, const Settings& settings) {
    const size_t D = is_visual(shape.name) ? settings.whole("latent") : shape.dim;
    const size_t U = graph.n_users, N = graph.n_nodes();
    Network out{features()[m].value,
                add({shape.name + ".preference", U, D, xavier_normal(U, D), !trained}),
                {ops, N, D}};
    if (is_visual(shape.name)) {
      out.W = add_linear(shape.name, shape.dim, D, of_fan_in(shape.dim));
      out.F = {ops, graph.n_items, D};
    }
    for (size_t l = 1; l <= n_layers; ++l) {
      const size_t in = l == 1 ? D : d;
      const Law of_G = l == 1 ? xavier_normal(in + d, d) : of_fan_in(in + d);
      const auto name = [&](const char* part) { return shape.name + part + std::to_string(l); };
      out.layers.push_back({{add({name(".conv"), in, in, xavier_normal(in, in)})},
                            add_linear(name(".linear"), in, d, xavier_normal(in, d)),
                            add_linear(name(".fusion"), in + d, d, of_G),
                            {ops, N, in}, {ops, N, in}, node_table(), node_table(),
                            node_table()});
    }
    return out;
  }

  /// F = mean of the modalities' x^L.
  void encode() {
    const double mean = 1 / static_cast<double>(networks.size());
    for (size_t m = 0; m < networks.size(); ++m) {
      forward(networks[m]);
      ops.add(F, m > 0, networks[m].layers.back().x, mean);
    }
  }
  /// x^0 and M x^0: either what of them is constant, or the rest.
  void begin(Network& m, bool constant) {
    const Matrix<T> of_items = items(m.x0);
    if (constant != trained) ops.normalise_forward(users(m.x0), m.P->value);
    if (constant && !m.W) ops.normalise_forward(of_items, m.X);
    if (!constant && m.W) {
      m.W->forward(ops, m.F, m.X);
      ops.normalise_forward(of_items, m.F);
    }
    if (constant != moves(m)) multiply<T>(ops, m.layers[0].a, M, m.x0);
  }
  /// Whether training changes x^0.
  bool moves(const Network& m) const { return trained || m.W; }
  void forward(Network& m) {
    begin(m, false);
    Matrix<T> x = m.x0;
    for (Layer& l : m.layers) {
      const Matrix<T> G = l.G.W->value, G_h = G.slice(0, x.cols), G_xh = G.slice(x.cols, d);
      if (x.at != m.x0.at) multiply<T>(ops, l.a, M, x);
      ops.zero(l.h);
      l.C.leaky_forward(ops, l.h, l.a);  // h = LR(M x C)
      l.N.leaky_forward(ops, l.q, x);    // q = LR(x N + b_N)
      ops.add(l.xh, 0, l.q, 1);          // xh = q + E
      ops.add(l.xh, 1, E, 1);
      ops.linear_forward(l.x, l.xh, {}, G_xh, l.G.b->value);  // x' = LR((h (+) xh) G + b_G)
      ops.linear_forward(l.x, l.h, {}, G_h, {});
      ops.leaky_relu_forward(l.x, l.x);
      x = l.x;
    }
  }
  void backward(Network& m) {
    Matrix<T> d_x = d_x_.matrix(E.rows, d);
    ops.add(d_x, 0, d_F, 1 / static_cast<double>(networks.size()));  // F = mean of x^L
    for (size_t k = n_layers; k-- > 0;) {
      Layer& l = m.layers[k];
      const Matrix<T> x = k > 0 ? m.layers[k - 1].x : m.x0, d_h = d_h_.matrix(E.rows, x.cols);
      const Matrix<T> G = l.G.W->value, G_h = G.slice(0, x.cols), G_xh = G.slice(x.cols, d);
      const Matrix<T> d_G = l.G.W->gradient, d_G_h = d_G.slice(0, x.cols);
      ops.leaky_relu_backward(d_x, d_x, l.x);  // x' = LR((h (+) xh) G + b_G)
      ops.linear_backward(d_h, d_G_h, {}, d_x, l.h, {}, G_h);
      ops.linear_backward(d_xh, d_G.slice(x.cols, d), l.G.b->gradient, d_x, l.xh, {}, G_xh);
      if (trained) ops.add(d_E, 1, d_xh, 1);  // xh = q + E
      const bool on = k > 0 || moves(m);      // x has a gradient
      d_x = on ? d_x_.matrix(E.rows, x.cols) : Matrix<T>{};
      const Matrix<T> d_a = on ? d_a_.matrix(E.rows, x.cols) : Matrix<T>{};
      l.N.leaky_backward(ops, d_x, d_xh, l.q, x);   // q = LR(x N + b_N)
      l.C.leaky_backward(ops, d_a, d_h, l.h, l.a);  // h = LR(M x C)
      if (on) ops.add_weighted(d_x, M.weights(), d_a, M.columns(), 1);
    }
    if (trained)  // x^0 = nrm((P ; F))
      ops.normalise_backward(m.P->gradient, users(d_x), m.P->value);
    if (!m.W) return;
    ops.normalise_backward(items(d_x), items(d_x), m.F);
    m.W->backward(ops, {}, items(d_x), m.X);  // F = X W + b
  }

  /// reg: the mean of E_u^2 + (E_p^2 + E_n^2) / 2 over the batch's triples, entry by entry, and of
  /// each modality's P^2; of frozen ones, as in the authors' code, of the visual one's alone.
  std::vector<Penalty<T>> parts(const Batch& batch) const {
    const double mean = 1 / static_cast<double>(2 * batch.size * d);
    std::vector<Penalty<T>> out = {{E_u, batch.users, batch.by_user, 2 * mean},
                                   {E_i, batch.items, batch.by_item, mean},
                                   {E_i, batch.items, batch.by_negative, mean}};
    for (const Network& m : networks)
      if (moves(m))
        out.push_back({m.P, {}, {graph.n_users}, 1 / static_cast<double>(m.P->value.size())});
    return out;
  }

  const bool trained;  // E and P
  const Sparse<T> M = adjacency(ops, graph, Scaling::mean);  // D^-1 A, a mean over neighbours
  PairLoss<T> pair{ops, loader, d};
  Penalties<T> penalties{ops, loader, d};
  std::vector<Network> networks;  // by modality
  size_t widest = d;
  Table<T> F = node_table(), d_F = node_table(), d_xh = node_table();
  Array<T> d_x_, d_h_, d_a_;      // [n_nodes, widest]
};

}  // namespace

ModelKind mmgcn_kind() {
  return {"mmgcn", "Wei et al., MM 2019",
          {recipe_setting(),
           {"tables", word_of({"frozen", "trained"}), "frozen",
            "whether training changes the id embeddings and the users' preferences",
            {{"paper", "trained"}}},
           {"latent", whole_from_to(1, 4096), "256", "width of the image features' linear layer"},
           reg_setting("0.001"),
           dim_setting()},
          {{"baby", 0.0378, 0.0615, 0.0200, 0.0261},
           {"sports", 0.0370, 0.0605, 0.0193, 0.0254},
           {"elec", 0.0213, 0.0343, 0.0112, 0.0146}},
          true, true, make<Mmgcn, float>, make<Mmgcn, double>, {{"lr", "0.0005"}}, true};
}

}  // namespace bm3
