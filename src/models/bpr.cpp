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
        pair(ops, pair_form(s.settings), reg_form(s.settings), s.loader.max_size()) {}

  void forward(const Batch& batch) override {
    const auto e = e_(batch), d_e = d_e_(batch);
    ops.gather_rows(e.nodes(), E, batch.nodes);
    pair.forward(this->loss(bpr), d_e, e, batch);    // L_bpr = mean of -ln sigma(e_u.(e_p - e_n))
    pair.reg_forward(this->loss(reg), e, batch);     // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    const auto e = e_(batch), d_e = d_e_(batch);
    pair.reg_backward(d_e, e, batch, this->weight(reg));
    pair.backward(d_e, e, batch);
    scatter_rows<T>(ops, d_E, d_e.nodes(), batch.nodes);
  }

  Embeddings<T> embeddings() override { return {this->users(E), this->items(E)}; }  // e_u . e_i

  std::vector<Trace> trace(const Batch& batch) override {
    return {this->look("x", "e_u . (e_p - e_n)", pair.x(batch), {batch.size})};
  }

 private:
  using Model<T>::ops, Model<T>::E, Model<T>::d_E;
  PairLoss<T> pair;
  BatchRows<T> e_ = this->batch_rows(), d_e_ = this->batch_rows();
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
