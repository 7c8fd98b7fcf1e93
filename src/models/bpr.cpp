// BPR (Rendle et al., UAI 2009): matrix factorisation by pairwise ranking.
#include "models/model.h"

namespace bm3 {
namespace {

template <class T>
class Bpr final : public Model<T> {
 public:
  explicit Bpr(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_normal), pair_losses(s.settings)),
        pair(ops, s.loader, d, pair_forms(s.settings)) {}

  void forward(const Batch& batch) override {
    pair.forward(loss(bpr), E, batch);  // L_bpr = mean of -ln sigma(e_u . (e_p - e_n))
    pair.reg_forward(loss(reg), pair.f(batch), batch);  // L = L_bpr + lambda reg
  }

  void backward(const Batch& batch) override {
    pair.reg_backward(pair.d_f(batch), pair.f(batch), batch, weight(reg));
    pair.backward(d_E, batch);
  }

  Embeddings<T> embeddings() override { return {users(E), items(E)}; }  // s(u, i) = e_u . e_i

  void show(const Batch& batch) override {
    look("x", "e_u . (e_p - e_n)", pair.x(batch), {batch.size});
  }

 private:
  BM3_MODEL_NAMES;
  PairLoss<T> pair;
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
