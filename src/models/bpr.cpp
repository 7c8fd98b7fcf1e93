// BPR (Rendle et al., UAI 2009): matrix factorisation by pairwise ranking.
#include "layers/pair_loss.h"
#include "models/model.h"

namespace bm3 {
namespace {

enum : size_t { bpr, reg };

template <class T>
class Bpr final : public Model<T> {
 public:
  explicit Bpr(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_normal), pair_losses(s.settings)),
        pair(ops, pair_form(s.settings), reg_form(s.settings), s.loader.max_size()) {
    const size_t rows = s.loader.max_users() + s.loader.max_items();
    for (auto* of_batch : {&e_, &d_e_}) *of_batch = Array<T>(ops, rows * d);
  }

  void forward(const Batch& batch) override {
    const auto e = rows_of(e_, batch), d_e = rows_of(d_e_, batch);
    ops.gather_rows(e.nodes(), this->embedding(), batch.nodes);
    pair.forward(this->loss(bpr), d_e, e, batch);    // L_bpr = mean of -ln sigma(e_u.(e_p - e_n))
    pair.reg_forward(this->loss(reg), e, batch);     // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto e = rows_of(e_, batch), d_e = rows_of(d_e_, batch);
    const Matrix<T> d_E = this->d_embedding();
    pair.reg_backward(d_e, e, batch, this->losses()[reg].weight);
    pair.backward(d_e, e, batch);
    ops.zero(d_E.at, d_E.size() * sizeof(T));
    ops.scatter_add_rows(d_E, d_e.nodes(), batch.nodes);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = e_u . e_i
    const Matrix<T> E = this->embedding();
    return {E.slice(0, graph.n_users), E.slice(graph.n_users, graph.n_items)};
  }

  std::vector<Trace> trace(const Batch& batch) override {
    return {this->look("x", "e_u . (e_p - e_n)", pair.x(batch), {batch.size})};
  }

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;
  Blocks<Matrix<T>> rows_of(Array<T>& memory, const Batch& batch) const {
    return blocks(memory, batch, 0, d);
  }
  PairLoss<T> pair;
  Array<T> e_, d_e_;  // rows of a batch
};

}  // namespace

ModelKind bpr_kind() {
  return {"bpr", "Rendle et al., UAI 2009", pair_settings("0.1"),
          {{"baby", 0.0357, 0.0575, 0.0192, 0.0249},
           {"sports", 0.0432, 0.0653, 0.0241, 0.0298},
           {"elec", 0.0235, 0.0367, 0.0127, 0.0161}},
          true, false, make<Bpr, float>, make<Bpr, double>};
}

}  // namespace bm3
