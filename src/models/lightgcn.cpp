// LightGCN (He et al., SIGIR 2020): BPR's loss on vectors propagated through the graph.
#include "layers/pair_loss.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

template <class T>
class LightGcn final : public Model<T> {
 public:
  explicit LightGcn(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_uniform), pair_losses(s.settings)),
        n_layers(s.settings.whole("layers")),
        pair(ops, pair_form(s.settings), reg_form(s.settings), s.loader.max_size()) {
    F_ = Array<T>(ops, graph.n_nodes() * d);
    layer_ = Array<T>(ops, n_layers > 1 ? graph.n_nodes() * d : 0);
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&e_, &d_e_, &f_, &d_f_}) *of_batch = Array<T>(ops, rows * d);
  }

  void forward(const Batch& batch) override {
    const auto e = rows_of(e_, batch), f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    lightgcn_forward(ops, F(), layer(), this->embedding(), graph, n_layers, 0);  // F = mean(E^l)
    ops.gather_rows(f.nodes(), F(), batch.nodes);
    ops.gather_rows(e.nodes(), this->embedding(), batch.nodes);
    pair.forward(this->loss(bpr), d_f, f, batch);  // L_bpr = mean of -ln sigma(f_u.(f_p - f_n))
    pair.reg_forward(this->loss(reg), e, batch);   // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto e = rows_of(e_, batch), d_e = rows_of(d_e_, batch);
    const auto f = rows_of(f_, batch), d_f = rows_of(d_f_, batch);
    const Matrix<T> d_F = F();  // F has been read for the last time
    ops.zero(d_e.nodes().at, d_e.nodes().size() * sizeof(T));
    pair.reg_backward(d_e, e, batch, this->losses()[reg].weight);
    pair.backward(d_f, f, batch);
    ops.zero(d_F.at, d_F.size() * sizeof(T));
    ops.scatter_add_rows(d_F, d_f.nodes(), batch.nodes);
    // F = P E with P symmetric: d_E = P d_F
    lightgcn_backward(ops, this->d_embedding(), layer(), d_F, graph, n_layers, 0);
    ops.scatter_add_rows(this->d_embedding(), d_e.nodes(), batch.nodes);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = f_u . f_i
    lightgcn_forward(ops, F(), layer(), this->embedding(), graph, n_layers, 0);
    return {F().slice(0, graph.n_users), F().slice(graph.n_users, graph.n_items)};
  }

  std::vector<Trace> trace(const Batch& batch) override {
    std::vector<Trace> out = this->look_at_layers(n_layers, "E^{l+1} = D^-1/2 A D^-1/2 E^l");
    out.push_back(this->look("F", "mean(E^0 .. E^L)", F()));
    out.push_back(this->look("x", "f_u . (f_p - f_n)", pair.x(batch), {batch.size}));
    return out;
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }
  Matrix<T> F() { return F_.matrix(graph.n_nodes(), d); }
  Matrix<T> layer() { return layer_.matrix(graph.n_nodes(), d); }
  const size_t n_layers;      // L
  PairLoss<T> pair;
  Array<T> F_, layer_;        // [n_nodes, d]
  Array<T> e_, d_e_, f_, d_f_;  // rows of a batch
};

std::vector<Setting> settings() {
  std::vector<Setting> out = pair_settings("0.01");
  out.insert(out.begin() + 1,
             {"layers", whole_from_to(0, 8), "4", "L, layers of the graph", {}, {"n-layers"}});
  return out;
}

}  // namespace

ModelKind lightgcn_kind() {
  return {"lightgcn", "He et al., SIGIR 2020", settings(),
          {{"baby", 0.0479, 0.0754, 0.0257, 0.0328},
           {"sports", 0.0569, 0.0864, 0.0311, 0.0387},
           {"elec", 0.0363, 0.0540, 0.0204, 0.0250}},
          true, false, make<LightGcn, float>, make<LightGcn, double>};
}

}  // namespace bm3
