// MMGCN (Wei et al., ACM MM 2019): a graph network for each modality, and the mean of their last
// layers.
#include "layers/pair_loss.h"
#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };
constexpr size_t n_layers = 3;  // L, in the authors' code whatever its settings say

/// D_m, the width of a modality's network at its first layer. Images' features pass a linear layer
/// first.
size_t width(const ModalityShape& m, const Settings& settings) {
  return is_visual(m) ? settings.whole("latent") : m.dim;
}

template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim"), n_users = s.graph.n_users;
  const bool frozen = s.settings.has("tables", "frozen");
  const Law of_nodes = xavier_normal(s.graph.n_nodes(), d);
  std::vector<ParameterShape> out = {{"user_embedding", n_users, d, of_nodes, frozen},
                                     {"item_embedding", s.graph.n_items, d, of_nodes, frozen}};
  const auto add = [&](const std::string& name, size_t rows, size_t cols, const Law& law) {
    out.push_back({name, rows, cols, law});
  };
  for (const auto& m : s.modalities) {
    const size_t D = width(m, s.settings);
    out.push_back({m.name + ".preference", n_users, D, xavier_normal(n_users, D), frozen});
    if (is_visual(m)) {
      add(m.name + ".weight", m.dim, D, of_fan_in(m.dim));
      add(m.name + ".bias", 1, D, of_fan_in(m.dim));
    }
    for (size_t l = 1; l <= n_layers; ++l) {
      const size_t in = l == 1 ? D : d;
      const std::string layer = std::to_string(l);
      add(m.name + ".conv" + layer, in, in, xavier_normal(in, in));
      add(m.name + ".linear" + layer + ".weight", in, d, xavier_normal(in, d));
      add(m.name + ".linear" + layer + ".bias", 1, d, of_fan_in(in));
      add(m.name + ".fusion" + layer + ".weight", in + d, d,
          l == 1 ? xavier_normal(in + d, d) : of_fan_in(in + d));
      add(m.name + ".fusion" + layer + ".bias", 1, d, of_fan_in(in + d));
    }
  }
  return out;
}

template <class T>
class Mmgcn final : public Model<T> {
 public:
  explicit Mmgcn(const Setup<T>& s)
      : Model<T>(s, shapes(s), pair_losses(s.settings)),
        trained(s.settings.has("tables", "trained")),
        M(make_sparse<T>(ops, graph.n_nodes(), graph.n_nodes(),
                         adjacency(graph.n_users, graph.n_items, edges_of(graph), Scaling::mean))),
        pair(ops, PairForm::plain, RegForm::squared, s.loader.max_size()) {
    const size_t N = graph.n_nodes();
    size_t size = 0, widest = d;
    for (const auto& m : s.modalities) {
      const size_t D = width(m, s.settings);
      size += N * (3 * D + 13 * d) + (is_visual(m) ? graph.n_items * D : 0);
      widest = std::max(widest, D);
    }
    memory_ = Array<T>(ops, size);
    for (size_t m = 0; m < s.modalities.size(); ++m)
      networks.push_back(network(m, s.modalities[m], width(s.modalities[m], s.settings)));
    for (auto* wide : {&d_x_, &d_h_, &d_a_}) *wide = Array<T>(ops, N * widest);
    for (auto* nodes : {&F_, &d_F_, &d_xh_}) *nodes = Array<T>(ops, N * d);
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&e_, &d_e_, &f_, &d_f_}) *of_batch = Array<T>(ops, rows * d);
    norm_ = Array<double>(ops, 1);
  }

  void begin_epoch(uint64_t, size_t) override {
    for (Network& m : networks) begin(m, true);
  }

  void forward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    encode();
    ops.gather_rows(f.nodes(), F(), batch.nodes);
    pair.forward(this->loss(bpr), d_f, f, batch);  // L_bpr = mean of -ln sigma(f_u . (f_p - f_n))
    const auto e = rows_of(e_, batch);             // L = L_bpr + lambda reg
    ops.gather_rows(e.nodes(), this->embedding(), batch.nodes);
    for_each_penalty(batch, [&](Matrix<T> x, Matrix<T>, const Pairs& pairs, double mean) {
      ops.penalty_forward(this->loss(reg), norm_.data(), x, pairs, RegForm::squared, mean);
    });
  }

  void backward(const Batch& batch) override {
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch), d_e = rows_of(d_e_, batch);
    const Matrix<T> d_F = d_F_.matrix(graph.n_nodes(), d), d_E = this->d_embedding();
    pair.backward(d_f, f, batch);
    ops.zero(d_F.at, d_F.size() * sizeof(T));
    ops.scatter_add_rows(d_F, d_f.nodes(), batch.nodes);
    if (trained) ops.zero(d_E.at, d_E.size() * sizeof(T));
    for (Network& m : networks) backward(m, d_F);
    if (!trained) return;  // reg has no gradient
    ops.zero(d_e.nodes().at, d_e.nodes().size() * sizeof(T));
    for_each_penalty(batch, [&](Matrix<T> x, Matrix<T> d_x, const Pairs& pairs, double mean) {
      const double lambda = this->losses()[reg].weight;
      ops.penalty_backward(d_x, norm_.data(), x, pairs, RegForm::squared, lambda * mean);
    });
    ops.scatter_add_rows(d_E, d_e.nodes(), batch.nodes);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    encode();
    return {F().slice(0, graph.n_users), F().slice(graph.n_users, graph.n_items)};
  }

  void hold_targets() override {
    held_ = Array<T>(ops, memory_.size());
    ops.add(held_.matrix(1, held_.size()), 0, memory_.matrix(1, memory_.size()), 1);
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out;
    for (size_t m = 0; m < networks.size(); ++m) {
      const std::string name = this->features()[m].name + ".x";
      out.push_back(this->look(name + "0", "nrm(P ; F)", networks[m].x0));
      for (size_t l = 1; l <= n_layers; ++l)
        out.push_back(this->look(name + std::to_string(l), "LR((h (+) xh) G + b)",
                                 networks[m].layers[l - 1].x));
    }
    out.push_back(this->look("F", "mean of x^L", F()));
    out.push_back(this->look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;

  /// x' = LR((h (+) xh) G + b_G), with h = LR(M x C) and xh = q + E, q = LR(x N + b_N).
  struct Layer {
    Parameter<T> C, N, b_N, G, b_G;
    Matrix<T> a, h, q, xh, x;  // a = M x; the last is x'
  };
  /// x^0 = nrm((P ; F)), with F = X W + b, or F = X where there is no W.
  struct Network {
    Matrix<T> X, F, x0;
    Parameter<T> P, W, b;
    std::vector<Layer> layers;
    bool linear() const { return W.value.at != nullptr; }
  };

  Network network(size_t m, const ModalityShape& shape, size_t D) {
    const size_t N = graph.n_nodes();
    const auto of = [&](const std::string& name) { return this->parameter(shape.name + name); };
    Network out;
    out.X = this->features()[m].value;
    out.P = of(".preference");
    out.x0 = take(N, D);
    if (is_visual(shape)) {
      out.W = of(".weight");
      out.b = of(".bias");
      out.F = take(graph.n_items, D);
    }
    for (size_t l = 1; l <= n_layers; ++l) {
      const size_t in = l == 1 ? D : d;
      const std::string k = std::to_string(l);
      out.layers.push_back({of(".conv" + k), of(".linear" + k + ".weight"),
                            of(".linear" + k + ".bias"), of(".fusion" + k + ".weight"),
                            of(".fusion" + k + ".bias"), take(N, in), take(N, in), take(N, d),
                            take(N, d), take(N, d)});
    }
    return out;
  }
  Matrix<T> take(size_t rows, size_t cols) {
    const Matrix<T> out{memory_.data() + taken_, rows, cols};
    taken_ += out.size();
    return out;
  }

  /// y = LR(y). Held, with the slopes of the last forward pass.
  void leaky(Matrix<T> y) {
    if (held_.size() == 0) return ops.leaky_relu_forward(y, y);
    ops.leaky_relu_backward(y, y, {held_.data() + (y.at - memory_.data()), y.rows, y.cols});
  }

  /// F = mean of the modalities' x^L.
  void encode() {
    const double mean = 1 / static_cast<double>(networks.size());
    for (size_t m = 0; m < networks.size(); ++m) {
      forward(networks[m]);
      ops.add(F(), m > 0, networks[m].layers.back().x, mean);
    }
  }
  /// x^0 and M x^0: either what of them is constant, or the rest.
  void begin(Network& m, bool constant) {
    const Matrix<T> items = m.x0.slice(graph.n_users, graph.n_items);
    if (constant != trained) ops.normalise_forward(m.x0.slice(0, graph.n_users), m.P.value);
    if (constant && !m.linear()) ops.normalise_forward(items, m.X);
    if (!constant && m.linear()) {
      ops.linear_forward(m.F, m.X, {}, m.W.value, m.b.value);
      ops.normalise_forward(items, m.F);
    }
    if (constant != moves(m)) multiply<T>(ops, m.layers[0].a, M, m.x0);
  }
  /// Whether training changes x^0.
  bool moves(const Network& m) const { return trained || m.linear(); }
  void forward(Network& m);
  void backward(Network& m, ConstMatrix<T> d_F);

  /// Calls f(x, d_x, pairs, mean) for each part of reg, the sum of mean |x|^2: the means over the
  /// entries of two rows of E for each triple and item, and of the preferences. Of frozen ones the
  /// authors' code counts the visual modality's alone.
  template <class F>
  void for_each_penalty(const Batch& batch, const F& f) {
    const auto e = rows_of(e_, batch), d_e = rows_of(d_e_, batch);
    const double mean = 1 / static_cast<double>(2 * batch.size * d);
    f(e.user(), d_e.user(), batch.by_user, 2 * mean);
    f(e.item(), d_e.item(), batch.by_item, mean);
    f(e.item(), d_e.item(), batch.by_negative, mean);
    for (const Network& m : networks)
      if (trained || m.linear())
        f(m.P.value, m.P.gradient, Pairs{graph.n_users},
          1 / static_cast<double>(m.P.value.size()));
  }
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }
  Matrix<T> F() { return F_.matrix(graph.n_nodes(), d); }

  const bool trained;  // E and P
  const Sparse<T> M;   // D^-1 A
  PairLoss<T> pair;
  std::vector<Network> networks;   // by modality
  Array<T> memory_, held_;         // of the networks; the same in the pass whose slopes are held
  size_t taken_ = 0;
  Array<T> F_, d_F_, d_xh_;        // [n_nodes, d]
  Array<T> d_x_, d_h_, d_a_;       // [n_nodes, the most columns]
  Array<T> e_, d_e_, f_, d_f_;     // rows of a batch
  Array<double> norm_;
};

template <class T>
void Mmgcn<T>::forward(Network& m) {
  begin(m, false);
  Matrix<T> x = m.x0;
  for (Layer& l : m.layers) {
    const Matrix<T> G_h = l.G.value.slice(0, x.cols), G_xh = l.G.value.slice(x.cols, d);
    if (x.at != m.x0.at) multiply<T>(ops, l.a, M, x);
    ops.zero(l.h.at, l.h.size() * sizeof(T));
    ops.linear_forward(l.h, l.a, {}, l.C.value, {});  // h = LR(M x C)
    leaky(l.h);
    ops.linear_forward(l.q, x, {}, l.N.value, l.b_N.value);  // q = LR(x N + b_N)
    leaky(l.q);
    ops.add(l.xh, 0, l.q, 1);  // xh = q + E
    ops.add(l.xh, 1, this->embedding(), 1);
    ops.linear_forward(l.x, l.xh, {}, G_xh, l.b_G.value);  // x' = LR((h (+) xh) G + b_G)
    ops.linear_forward(l.x, l.h, {}, G_h, {});
    leaky(l.x);
    x = l.x;
  }
}

template <class T>
void Mmgcn<T>::backward(Network& m, ConstMatrix<T> d_F) {
  const size_t N = graph.n_nodes();
  const Matrix<T> d_xh = d_xh_.matrix(N, d);
  Matrix<T> d_x = d_x_.matrix(N, d);
  ops.add(d_x, 0, d_F, 1 / static_cast<double>(networks.size()));  // F = mean of x^L
  for (size_t k = n_layers; k-- > 0;) {
    Layer& l = m.layers[k];
    const Matrix<T> x = k > 0 ? m.layers[k - 1].x : m.x0;
    const Matrix<T> G_h = l.G.value.slice(0, x.cols), G_xh = l.G.value.slice(x.cols, d);
    const Matrix<T> d_G_h = l.G.gradient.slice(0, x.cols), d_G_xh = l.G.gradient.slice(x.cols, d);
    const Matrix<T> d_h = d_h_.matrix(N, x.cols);
    ops.leaky_relu_backward(d_x, d_x, l.x);  // x' = LR((h (+) xh) G + b_G)
    ops.linear_backward(d_h, d_G_h, {}, d_x, l.h, {}, G_h);
    ops.linear_backward(d_xh, d_G_xh, l.b_G.gradient, d_x, l.xh, {}, G_xh);
    if (trained) ops.add(this->d_embedding(), 1, d_xh, 1);  // xh = q + E
    const bool on = k > 0 || moves(m);                      // x has a gradient
    d_x = on ? d_x_.matrix(N, x.cols) : Matrix<T>{};
    const Matrix<T> d_a = on ? d_a_.matrix(N, x.cols) : Matrix<T>{};
    ops.leaky_relu_backward(d_xh, d_xh, l.q);  // q = LR(x N + b_N)
    ops.linear_backward(d_x, l.N.gradient, l.b_N.gradient, d_xh, x, {}, l.N.value);
    ops.leaky_relu_backward(d_h, d_h, l.h);  // h = LR(M x C)
    ops.linear_backward(d_a, l.C.gradient, {}, d_h, l.a, {}, l.C.value);
    if (on) ops.add_weighted(d_x, M.weights(), d_a, M.columns(), 1);
  }
  if (trained)  // x^0 = nrm((P ; F))
    ops.normalise_backward(m.P.gradient, d_x.slice(0, graph.n_users), m.P.value);
  if (!m.linear()) return;
  const Matrix<T> d_items = d_x.slice(graph.n_users, graph.n_items);
  ops.normalise_backward(d_items, d_items, m.F);
  ops.linear_backward({}, m.W.gradient, m.b.gradient, d_items, m.X, {}, m.W.value);  // F = X W + b
}

std::vector<Setting> settings() {
  return {recipe_setting(),
          {"tables", word_of({"frozen", "trained"}), "frozen",
           "whether training changes the id embeddings and the users' preferences",
           {{"paper", "trained"}}},
          {"latent", whole_from_to(1, 4096), "256", "width of the image features' linear layer"},
          {"reg", weight(), "0.001", "lambda, weight of the regulariser", {}, {"reg-weight"}},
          dim_setting()};
}

}  // namespace

ModelKind mmgcn_kind() {
  return {"mmgcn", "Wei et al., MM 2019", settings(),
          {{"baby", 0.0378, 0.0615, 0.0200, 0.0261},
           {"sports", 0.0370, 0.0605, 0.0193, 0.0254},
           {"elec", 0.0213, 0.0343, 0.0112, 0.0146}},
          true, true, make<Mmgcn, float>, make<Mmgcn, double>, {{"lr", "0.0005"}}, true};
}

}  // namespace bm3
