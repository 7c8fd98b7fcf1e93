// BUIR (Lee et al., SIGIR 2021): an online and a target network, without negatives. With layers it
// is BUIR_NB, over LightGCN's; without any it is BUIR_id.
#include "layers/graph.h"
#include "layers/sparse.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { rec };
enum Network : uint32_t { online, target };

/// The online tables, the target's, which start as their copies, and the predictor q.
template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim");
  const bool id = s.settings.whole("layers") == 0;
  std::vector<ParameterShape> out = embedding_tables(s, id ? xavier_normal : xavier_uniform);
  for (const ParameterShape& table : embedding_tables(s, id ? xavier_normal : xavier_uniform))
    out.push_back({"target." + table.name, table.rows, table.cols, table.law, true, table.name});
  out.push_back({"predictor.weight", d, d, id ? xavier_normal(d, d) : of_fan_in(d)});
  out.push_back({"predictor.bias", 1, d, id ? Law{true, 1} : of_fan_in(d)});
  return out;
}

/// Returns the symmetric adjacency D^-1/2 A D^-1/2 of a graph with a weight for each entry.
template <class T>
Sparse<T> weighted(Device& device, const Graph<T>& graph) {
  const auto begin = graph.begin.host();
  const auto neighbour = graph.neighbour.host();
  const auto scale = graph.scale.host();
  std::vector<Entry> entries;
  for (size_t r = 0; r < graph.n_nodes(); ++r)
    for (auto k = static_cast<size_t>(begin[r]); k < static_cast<size_t>(begin[r + 1]); ++k)
      entries.push_back({static_cast<int32_t>(r), neighbour[k],
                         static_cast<double>(scale[r]) *
                             static_cast<double>(scale[static_cast<size_t>(neighbour[k])])});
  return make_sparse<T>(device, graph.n_nodes(), graph.n_nodes(), std::move(entries));
}

template <class T>
class Buir final : public Model<T> {
 public:
  explicit Buir(const Setup<T>& s)
      : Model<T>(s, shapes(s), {{"rec", 2}}),  // L = 2 L_rec
        n_layers(s.settings.whole("layers")),
        dropout(n_layers > 0 ? s.settings.real("dropout") : 0),
        momentum(s.settings.real("momentum")),
        W(this->parameter("predictor.weight")),
        b(this->parameter("predictor.bias")) {
    const size_t nodes = graph.n_nodes() * d, rows = s.loader.max_users() + s.loader.max_items();
    if (dropout > 0) S_ = weighted(ops, graph);
    for (Network k : {online, target}) {
      F_[k] = Array<T>(ops, nodes);
      layer_[k] = Array<T>(ops, n_layers > 1 ? nodes : 0);
      w_[k] = Array<T>(ops, S_.size());
      mask_[k] = Array<uint8_t>(ops, S_.size());
    }
    rate_ = Array<double>(ops, 2);
    for (auto* of_batch : {&o_, &d_o_, &p_, &d_p_, &t_}) *of_batch = Array<T>(ops, rows * d);
    all_ = Array<uint8_t>(ops, std::vector<uint8_t>(rows * d, 1));
    q_ = Array<T>(ops, nodes);
    ranked_ = Array<T>(ops, 2 * nodes);
  }

  void draw(const Batch&, uint64_t seed, const uint32_t* step) override {
    const auto stream = static_cast<uint32_t>(Stream::edge);
    for (Network k : {online, target})
      if (dropout > 0)
        ops.draw_edges(mask(k), rate_.data() + k, dropout, {seed, stream + k, step});
  }

  void forward(const Batch& batch) override {
    const auto o = rows_of(o_, batch), p = rows_of(p_, batch), d_p = rows_of(d_p_, batch);
    const auto t = rows_of(t_, batch);
    ops.both(
        [&] {
          encode(online, this->embedding());  // o = f(E), of the online tables
          ops.gather_rows(o.all, F(online), batch.nodes);
          ops.linear_forward(p.all, o.all, {}, W.value, b.value);  // p = q(o) = o W + b
        },
        [&] {
          encode(target, target_embedding());  // t = f(T), of the target's
          ops.gather_rows(t.all, F(target), batch.nodes);
        });
    const Blocks<View<T>> view{{t.all, all_.data(), T(1)}, t.n_users, t.n_items};  // no gradient
    ops.zero(d_p.all.at, d_p.all.size() * sizeof(T));
    // L_rec = mean of 1 - cos(q(o_u), t_i) + 1 - cos(q(o_i), t_u)
    cosine(d_p.user(), p.user(), view.item(), batch.by_user, batch.size);
    cosine(d_p.item(), p.item(), view.user(), batch.by_item, batch.size);
  }

  void backward(const Batch& batch) override {
    const auto o = rows_of(o_, batch), d_o = rows_of(d_o_, batch), d_p = rows_of(d_p_, batch);
    const Matrix<T> d_F = F(online);  // F has been read for the last time
    ops.linear_backward(d_o.all, W.gradient, b.gradient, d_p.all, o.all, {}, W.value);
    ops.zero(d_F.at, d_F.size() * sizeof(T));
    ops.scatter_add_rows(d_F, d_o.all, batch.nodes);
    if (dropout > 0)  // F = P E, so d_E = P^T d_F: the same layers over S^T
      mean_of_layers(this->d_embedding(), online, d_F, S_.columns());
    else
      lightgcn_backward(ops, this->d_embedding(), layer(online), d_F, graph, n_layers, 0);
  }

  void after_update() override {  // T = m T + (1 - m) E
    ops.add(target_embedding(), momentum, this->embedding(), 1 - momentum);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = q(f_u) . f_i + f_u . q(f_i)
    const size_t n_users = graph.n_users, n_items = graph.n_items;
    const Matrix<T> q = q_.matrix(graph.n_nodes(), d), f = F(online);
    const Matrix<T> ranked = ranked_.matrix(graph.n_nodes(), 2 * d);
    lightgcn_forward(ops, f, layer(online), this->embedding(), graph, n_layers, 0);
    ops.linear_forward(q, f, {}, W.value, b.value);
    const Matrix<T> user = ranked.slice(0, n_users), item = ranked.slice(n_users, n_items);
    ops.copy_columns(user, 0, q.slice(0, n_users), 0, d);  // [q(f_u) (+) f_u] . [f_i (+) q(f_i)]
    ops.copy_columns(user, d, f.slice(0, n_users), 0, d);
    ops.copy_columns(item, 0, f.slice(n_users, n_items), 0, d);
    ops.copy_columns(item, d, q.slice(n_users, n_items), 0, d);
    return {user, item};
  }

  std::vector<Mask> masks(const Batch&) override {
    if (dropout == 0) return {};
    return {{"online", {}, S_.size(), mask(online), rate_.data()},
            {"target", {}, S_.size(), mask(target), rate_.data() + 1}};
  }
  std::vector<Trace> trace(const Batch& batch) override {
    return {this->look("online", "f(E)", F(online)), this->look("target", "f(T)", F(target)),
            this->look("predicted", "q(f(E)) = f(E) W + b", rows_of(p_, batch).all,
                       {graph.n_nodes(), d}, batch.nodes)};
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;

  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }
  Matrix<T> F(Network k) { return F_[k].matrix(graph.n_nodes(), d); }
  Matrix<T> layer(Network k) { return layer_[k].matrix(graph.n_nodes(), d); }
  Matrix<uint8_t> mask(Network k) { return mask_[k].matrix(S_.size(), 1); }
  Matrix<T> target_embedding() {
    return {this->parameter("target.user_embedding").value.at, graph.n_nodes(), d};
  }
  void cosine(Matrix<T> d_a, Matrix<T> a, const View<T>& b_of, const Pairs& pairs, size_t size) {
    ops.cosine_loss(this->loss(rec), d_a, a, b_of, pairs, 1 / static_cast<double>(size),
                    this->losses()[rec].weight);
  }
  /// F of a network: the mean of the layers 0 .. L, over its own draw of the edges.
  void encode(Network k, Matrix<const T> E) {
    if (dropout == 0) return lightgcn_forward(ops, F(k), layer(k), E, graph, n_layers, 0);
    ops.drop_edges(w_[k].matrix(S_.size(), 1), S_.weights(), mask(k), rate_.data() + k);
    mean_of_layers(F(k), k, E, S_.rows());
  }
  /// y = (x + S x + .. + S^L x) / (L + 1) with the network's weights of S, or of S^T, for L > 0; by
  /// Horner's rule, as in lightgcn_forward.
  void mean_of_layers(Matrix<T> y, Network k, Matrix<const T> x, const Pairs& S) {
    Matrix<T> next = n_layers % 2 == 1 ? y : layer(k);  // the last of L writes is to y
    Matrix<const T> R = x;
    for (size_t l = 1; l <= n_layers; ++l) {
      const double scale = l < n_layers ? 1 : 1 / static_cast<double>(n_layers + 1);
      ops.add(next, 0, x, scale);
      ops.add_weighted(next, w_[k].matrix(S_.size(), 1), R, S, scale);
      R = next;
      next = next.at == y.at ? layer(k) : y;
    }
  }

  const size_t n_layers;          // L
  const double dropout, momentum;  // the largest rate at which edges are dropped; m
  const Parameter<T> W, b;        // of q
  Sparse<T> S_;                   // the adjacency, where edges are dropped
  Array<T> F_[2], layer_[2];      // of each network [n_nodes, d]
  Array<T> w_[2];                 // the weights of its edges
  Array<uint8_t> mask_[2];
  Array<double> rate_;
  Array<T> o_, d_o_, p_, d_p_, t_;  // rows of a batch
  Array<uint8_t> all_;              // the mask of a view from which nothing is dropped
  Array<T> q_, ranked_;             // [n_nodes, d] and [n_nodes, 2 d]
};

std::vector<Setting> settings() {
  return {recipe_setting(),
          {"layers", whole_from_to(0, 8), "3", "L, layers of the graph; 0: BUIR_id", {},
           {"n-layers"}},
          {"dropout", real(0, 1, "from 0 to 1"), "0",
           "edges are dropped at a rate drawn uniformly from 0 to this", {{"paper", "0.2"}}},
          {"momentum", real(0, 1, "from 0 to 1"), "0.995",
           "m: target = m target + (1 - m) online after each step"},
          dim_setting()};
}

}  // namespace

ModelKind buir_kind() {
  return {"buir", "Lee et al., SIGIR 2021", settings(), {},
          false, false, make<Buir, float>, make<Buir, double>};
}

}  // namespace bm3
