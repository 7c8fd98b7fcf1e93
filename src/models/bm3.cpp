// BM3 (Zhou et al., WWW 2023): Section 3 in its order, and the way back in reverse.
#include "error.h"
#include "models/model.h"
#include "text.h"

namespace bm3 {
namespace {

enum : size_t { rec, align, mask, reg };

/// L = L_rec + w (L_align + L_mask) + lambda reg [Eq. 12]; a loss that is off has weight 0.
std::vector<Loss> losses(const Settings& s) {
  const auto on = [&](const char* loss) { return s.has("losses", loss) ? 1.0 : 0.0; };
  const double w = s.real("mm-weight"), lambda = s.real("reg");
  return {{"rec", on("rec")},
          {"align", w * on("align")},
          {"mask", w * on("mask")},
          {"reg", lambda}};
}

template <class T>
std::vector<ParameterShape> shapes(const Setup<T>& s) {
  const size_t d = s.settings.whole("dim");
  std::vector<ParameterShape> out = embedding_tables(s, xavier_uniform);
  out.push_back({"predictor.weight", d, d, xavier_normal(d, d)});
  out.push_back({"predictor.bias", 1, d, of_fan_in(d)});
  for (const auto& m : s.modalities) {
    out.push_back({m.name + ".weight", m.dim, d, xavier_normal(m.dim, d)});
    out.push_back({m.name + ".bias", 1, d, of_fan_in(m.dim)});
  }
  return out;
}

template <class T>
class Bm3 final : public Model<T> {
 public:
  explicit Bm3(const Setup<T>& s)
      : Model<T>(s, shapes(s), losses(s.settings)),
        n_layers(s.settings.whole("layers")),
        dropout(s.settings.real("dropout")),
        form(reg_form(s.settings)),
        W_p(this->parameter("predictor.weight")),
        b_p(this->parameter("predictor.bias")) {
    for (const char* loss : {"rec", "align", "mask"}) on.push_back(s.settings.has("losses", loss));
    if (!on[rec] && s.modalities.empty())
      throw Error("--losses is " + in_quotes(s.settings.text("losses")) +
                  ": expected rec, too, where there are no modalities");
    for (const auto& m : s.modalities) {
      W.push_back(this->parameter(m.name + ".weight"));
      b.push_back(this->parameter(m.name + ".bias"));
    }
    for (auto* nodes : {&H_, &ranked_}) *nodes = Array<T>(ops, graph.n_nodes() * d);
    layer_ = Array<T>(ops, n_layers > 1 ? graph.n_nodes() * d : 0);
    const size_t rows = s.loader.max_users() + (1 + W.size()) * s.loader.max_items();
    for (auto* of_batch : {&h_, &p_, &d_p_, &d_h_}) *of_batch = Array<T>(ops, rows * d);
    masks_ = Array<uint8_t>(ops, rows * d);
    norms_ = Array<double>(ops, 2);
  }

  void draw(const Batch& batch, uint64_t seed, const uint32_t* step) override {
    const auto mask = rows_of(masks_, batch);  // the Bernoulli draws of h' [Eq. 5]
    const auto stream = static_cast<uint32_t>(Stream::view);
    ops.draw_mask(mask.nodes(), batch.nodes, dropout, {seed, stream, step});
    for (uint32_t m = 0; m < W.size(); ++m)
      ops.draw_mask(mask.modality(m), batch.items, dropout, {seed, stream + 1 + m, step});
  }

  void forward(const Batch& batch) override {
    const auto h = rows_of(h_, batch), p = rows_of(p_, batch), d_p = rows_of(d_p_, batch);
    const auto& e = this->features();
    ops.both(
        [&] {
          for (size_t m = 0; m < W.size(); ++m)  // h_m = e_m W_m + b_m [Eq. 1]
            ops.linear_forward(h.modality(m), e[m].value, batch.items, W[m].value, b[m].value);
        },
        [&] {  // H = mean(H^0 .. H^L), + H^0 in items' rows [Eq. 2, 3, 4]
          lightgcn_forward(ops, H(), layer(), this->embedding(), graph, n_layers, 1);
          ops.gather_rows(h.nodes(), H(), batch.nodes);
          regulariser_forward(h, batch);
        });
    ops.linear_forward(p.all, h.all, {}, W_p.value, b_p.value);  // h~ = h W_p + b_p [Eq. 6]
    const Blocks<View<T>> view = views(h, batch);                // h', no gradient [Eq. 5]
    const Pairs each_item{batch.items.n, batch.by_item.begin};   // as often as it occurs
    ops.zero(d_p.all.at, d_p.all.size() * sizeof(T));
    mean_ = 1 / static_cast<double>(batch.size);
    ops.both(
        [&] {
          for (size_t m = 0; m < W.size(); ++m) {
            // L_align = C(h~_m, sg(h'_i)) [Eq. 10] and L_mask = C(h~_m, sg(h'_m)) [Eq. 11]
            cosine(align, d_p.modality(m), p.modality(m), view.item(), each_item);
            cosine(mask, d_p.modality(m), p.modality(m), view.modality(m), each_item);
          }
        },
        [&] {  // L_rec = C(h~_u, sg(h'_i)) + C(sg(h'_u), h~_i) [Eq. 7, 9]
          cosine(rec, d_p.user(), p.user(), view.item(), batch.by_user);
          cosine(rec, d_p.item(), p.item(), view.user(), batch.by_item);
        });
  }

  void backward(const Batch& batch) override {
    const auto h = rows_of(h_, batch), d_h = rows_of(d_h_, batch), d_p = rows_of(d_p_, batch);
    auto& e = this->features();  // d_p = dL/dh~ is there: the cosines left it [Eq. 8]
    // h~ = h W_p + b_p [Eq. 6]
    ops.linear_backward(d_h.all, W_p.gradient, b_p.gradient, d_p.all, h.all, {}, W_p.value);
    ops.both(
        [&] {
          for (size_t m = 0; m < W.size(); ++m)  // h_m = e_m W_m + b_m [Eq. 1]
            ops.linear_backward(e[m].gradient(batch.items.n), W[m].gradient, b[m].gradient,
                                d_h.modality(m), e[m].value, batch.items, W[m].value);
        },
        [&] {
          const Matrix<T> d_H = H();  // H has been read for the last time when its d_H is written
          regulariser_backward(d_H, d_h, h, batch);
          ops.scatter_add_rows(d_H, d_h.nodes(), batch.nodes);
          // H = P E with P symmetric [Eq. 3, 4]
          lightgcn_backward(ops, this->d_embedding(), layer(), d_H, graph, n_layers, 1);
        });
  }

  Embeddings<T> embeddings() override {  // s(u, i) = h~_u . h~_i [Eq. 13]
    const Matrix<T> p = ranked_.matrix(graph.n_nodes(), d);
    lightgcn_forward(ops, H(), layer(), this->embedding(), graph, n_layers, 1);
    ops.linear_forward(p, H(), {}, W_p.value, b_p.value);
    return {p.slice(0, graph.n_users), p.slice(graph.n_users, graph.n_items)};
  }

  void hold_targets() override {
    held_ = Array<T>(ops, h_.size());
    ops.gather_rows(held_.matrix(h_.size() / d, d), h_.matrix(h_.size() / d, d),
                    {nullptr, h_.size() / d});
  }
  std::vector<Mask> masks(const Batch& batch) override {
    const auto mask = rows_of(masks_, batch);
    std::vector<Mask> out = {{"user", batch.users, graph.n_users, mask.user()},
                             {"item", batch.items, graph.n_items, mask.item()}};
    for (size_t m = 0; m < W.size(); ++m)
      out.push_back({this->features()[m].name, batch.items, graph.n_items, mask.modality(m)});
    return out;
  }
  std::vector<Trace> trace(const Batch& batch) override;

 private:
  using Model<T>::ops;
  using Model<T>::graph;
  using Model<T>::d;

  template <class E>
  Blocks<Matrix<E>> rows_of(Array<E>& memory, const Batch& batch) const {
    return blocks(memory, batch, W.size(), d);
  }
  Matrix<T> H() { return H_.matrix(graph.n_nodes(), d); }
  Matrix<T> layer() { return layer_.matrix(graph.n_nodes(), d); }
  Blocks<View<T>> views(const Blocks<Matrix<T>>& h, const Batch& batch) {
    const Matrix<T> target = held_.size() > 0 ? rows_of(held_, batch).all : h.all;
    return {{target, masks_.data(), static_cast<T>(1 / (1 - dropout))}, h.n_users, h.n_items};
  }
  /// The loss of one kind, mean over the batch's pairs of 1 + C, and its gradient. [Eq. 8]
  void cosine(size_t loss, Matrix<T> d_a, Matrix<T> a, const View<T>& target, const Pairs& pairs) {
    if (on[loss])
      ops.cosine_loss(this->loss(loss), d_a, a, target, pairs, mean_, this->losses()[loss].weight);
  }
  /// reg = (|H_u|_F + |H_i|_F) / I of all nodes, or the mean over the batch's pairs of
  /// |h_u|^2 + |h_i|^2; both before the predictor. [Eq. 12]
  void regulariser_forward(const Blocks<Matrix<T>>& h, const Batch& batch);
  /// d_H = its gradient, or 0 with the gradient added to d_h.
  void regulariser_backward(Matrix<T> d_H, const Blocks<Matrix<T>>& d_h,
                            const Blocks<Matrix<T>>& h, const Batch& batch);

  const size_t n_layers;  // L
  const double dropout;   // p, the probability to drop
  const RegForm form;     // of the regulariser
  std::vector<bool> on;   // the losses rec, align, mask
  double mean_ = 0;       // 1 / B
  const Parameter<T> W_p, b_p;
  std::vector<Parameter<T>> W, b;      // by modality
  Array<T> H_, layer_, ranked_;        // [n_nodes, d]
  Array<T> h_, p_, d_p_, d_h_, held_;  // rows of a batch: h, h~, their gradients, held targets
  Array<uint8_t> masks_;               // likewise
  Array<double> norms_;                // |H_u|_F, |H_i|_F
};

template <class T>
void Bm3<T>::regulariser_forward(const Blocks<Matrix<T>>& h, const Batch& batch) {
  double* const norm = norms_.data();
  if (form == RegForm::norm) {
    const double mean = 1 / static_cast<double>(graph.n_items);
    ops.norm_forward(this->loss(reg), norm, H().slice(0, graph.n_users), mean);
    ops.norm_forward(this->loss(reg), norm + 1, H().slice(graph.n_users, graph.n_items), mean);
  } else {
    const double mean = 1 / static_cast<double>(batch.size);
    ops.penalty_forward(this->loss(reg), norm, h.user(), batch.by_user, form, mean);
    ops.penalty_forward(this->loss(reg), norm + 1, h.item(), batch.by_item, form, mean);
  }
}

template <class T>
void Bm3<T>::regulariser_backward(Matrix<T> d_H, const Blocks<Matrix<T>>& d_h,
                                  const Blocks<Matrix<T>>& h, const Batch& batch) {
  const double lambda = this->losses()[reg].weight, *const norm = norms_.data();
  if (form == RegForm::norm) {
    const double scale = lambda / static_cast<double>(graph.n_items);
    const Matrix<T> d_H_u = d_H.slice(0, graph.n_users);
    const Matrix<T> d_H_i = d_H.slice(graph.n_users, graph.n_items);
    ops.norm_backward(d_H_u, norm, H().slice(0, graph.n_users), scale);
    ops.norm_backward(d_H_i, norm + 1, H().slice(graph.n_users, graph.n_items), scale);
  } else {
    const double scale = lambda / static_cast<double>(batch.size);
    ops.zero(d_H.at, d_H.size() * sizeof(T));
    ops.penalty_backward(d_h.user(), norm, h.user(), batch.by_user, form, scale);
    ops.penalty_backward(d_h.item(), norm + 1, h.item(), batch.by_item, form, scale);
  }
}

template <class T>
std::vector<Trace> Bm3<T>::trace(const Batch& batch) {
  const auto h = rows_of(h_, batch), p = rows_of(p_, batch);
  const Blocks<View<T>> view = views(h, batch);
  const auto& e = this->features();
  std::vector<Trace> out;
  for (size_t m = 0; m < W.size(); ++m)
    out.push_back(this->look("projection." + e[m].name, "Eq. 1", h.modality(m),
                             {graph.n_items, d}, batch.items));
  for (Trace& layer : this->look_at_layers(n_layers, "Eq. 3")) out.push_back(std::move(layer));
  out.push_back(this->look("H", "Eq. 4", H()));
  for (const auto& [name, rows, height, mask, rate] : masks(batch)) {
    const auto first = static_cast<size_t>(mask.at - masks_.data()) / d;
    const std::vector<T> h_host = host<T>(ops, h.all.slice(first, rows.n));
    const std::vector<uint8_t> mask_host = host<uint8_t>(ops, mask);
    const std::vector<size_t> shape = {height, d};
    Trace of_view = this->look("view." + name, "Eq. 5", h.all.slice(first, rows.n), shape, rows);
    for (size_t i = 0; i < h_host.size(); ++i)
      of_view.values[i] = view_entry(h_host[i], mask_host[i], view.all.kept);
    out.push_back(std::move(of_view));
    out.push_back(
        this->look("predicted." + name, "Eq. 6", p.all.slice(first, rows.n), shape, rows));
  }
  return out;
}

std::vector<Setting> settings() {
  return {
      recipe_setting(),
      {"layers", whole_from_to(0, 8), "1", "L, layers of the graph", {{"elec", "2"}}, {"n-layers"}},
      {"dropout", probability(), "0.5", "p, the probability to drop in a view", {{"elec", "0.3"}}},
      {"reg", weight(), "0.1", "lambda, weight of the regulariser", {{"sports", "0.01"}},
       {"reg-weight"}},
      {"reg-form", word_of({"norm", "squared"}), "norm", "form of the regulariser",
       {{"paper", "squared"}}},
      {"mm-weight", weight(), "2", "weight of the align and mask losses", {{"paper", "1"}},
       {"cl-weight"}},
      {"features", word_of({"frozen", "tuned"}), "frozen", "whether training changes the features"},
      {"losses", list_of({"rec", "align", "mask"}), "rec,align,mask", "which losses are on"},
      dim_setting()};
}

}  // namespace

ModelKind bm3_kind() {
  return {"bm3", "Zhou et al., WWW 2023", settings(),
          {{"baby", 0.0564, 0.0883, 0.0301, 0.0383},
           {"sports", 0.0656, 0.0980, 0.0355, 0.0438},
           {"elec", 0.0437, 0.0648, 0.0247, 0.0302}},
          false, true, make<Bm3, float>, make<Bm3, double>};
}

}  // namespace bm3
