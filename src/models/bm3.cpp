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
class Bm3 final : public Model<T> {
 public:
  explicit Bm3(const Setup<T>& s)
      : Model<T>(s, embedding_tables(s, xavier_uniform), losses(s.settings)),
        M(s.modalities.size()),
        n_layers(s.settings.whole("layers")),
        dropout(s.settings.real("dropout")),
        form(reg_form(s.settings)),
        predictor(add_linear("predictor", d, d, xavier_normal(d, d))),
        projection(add_projections([this](size_t in) { return xavier_normal(in, d); })) {
    for (const char* name : {"rec", "align", "mask"}) on.push_back(s.settings.has("losses", name));
    if (!on[rec] && s.modalities.empty())
      throw Error("--losses is " + in_quotes(s.settings.text("losses")) +
                  ": expected rec, too, where there are no modalities");
  }

  void draw(const Batch& batch, uint64_t seed) override {
    const auto mask = mask_(batch);  // the Bernoulli draws of h' [Eq. 5]
    const auto stream = static_cast<uint32_t>(Stream::view);
    ops.draw_mask(mask.nodes(), batch.nodes, dropout, {seed, stream, batch.step});
    for (uint32_t m = 0; m < M; ++m)
      ops.draw_mask(mask.modality(m), batch.items, dropout, {seed, stream + 1 + m, batch.step});
  }

  void forward(const Batch& batch) override {
    const auto h = h_(batch), p = p_(batch), d_p = d_p_(batch);
    const auto& e = features();
    for (size_t m = 0; m < M; ++m)  // h_m = e_m W_m + b_m [Eq. 1]
      projection[m].forward(ops, h.modality(m), e[m].value, batch.items);
    // H = mean(H^0 .. H^L), + H^0 in items' rows [Eq. 2, 3, 4]
    lightgcn_forward<T>(ops, H, layer, E, graph, n_layers, 1);
    ops.gather_rows(h.nodes(), H, batch.nodes);
    predictor.forward(ops, p.nodes(), H, batch.nodes);  // h~ = h W_p + b_p [Eq. 6]
    if (M > 0) predictor.forward(ops, p.modalities(), h.modalities());
    const Blocks<View<T>> view = views(h, batch);               // h', no gradient [Eq. 5]
    const Pairs each_item{batch.items.n, batch.by_item.begin};  // as often as it occurs
    mean_ = 1 / static_cast<double>(batch.size);
    ops.zero(d_p.all);  // the losses add to it
    // L_rec = C(h~_u, sg(h'_i)) + C(sg(h'_u), h~_i) [Eq. 7, 9]
    cosine(rec, d_p.user(), p.user(), view.item(), batch.by_user);
    cosine(rec, d_p.item(), p.item(), view.user(), batch.by_item);
    for (size_t m = 0; m < M; ++m) {
      // L_align = C(h~_m, sg(h'_i)) [Eq. 10] and L_mask = C(h~_m, sg(h'_m)) [Eq. 11]
      cosine(align, d_p.modality(m), p.modality(m), view.item(), each_item);
      cosine(mask, d_p.modality(m), p.modality(m), view.modality(m), each_item);
    }
    regulariser_forward(h, batch);
  }

  void backward(const Batch& batch) override {
    const auto h = h_(batch), d_h = d_h_(batch), d_p = d_p_(batch);
    auto& e = features();
    // d_p = dL/dh~ is there: the cosines left it [Eq. 8]. h~ = h W_p + b_p [Eq. 6]
    predictor.backward(ops, d_h.all, d_p.all, h.all);
    const Matrix<T> d_H = H;  // H has been read for the last time when its d_H is written
    regulariser_backward(d_H, d_h, h, batch);
    ops.scatter_add_rows(d_H, d_h.nodes(), batch.nodes);
    // H = P E with P symmetric [Eq. 3, 4]
    lightgcn_backward<T>(ops, d_E, layer, d_H, graph, n_layers, 1);
    for (size_t m = 0; m < M; ++m)  // h_m = e_m W_m + b_m [Eq. 1]
      projection[m].backward(ops, e[m].gradient(batch.items.n), d_h.modality(m), e[m].value,
                             batch.items);
  }

  Embeddings<T> embeddings() override {  // s(u, i) = h~_u . h~_i [Eq. 13]
    lightgcn_forward<T>(ops, H, layer, E, graph, n_layers, 1);
    predictor.forward(ops, ranked, H);
    return {users(ranked), items(ranked)};
  }

  void hold_targets() override {
    held_ = Table<T>(ops, h_.all().rows, d);
    ops.add(held_, 0, h_.all(), 1);
  }
  std::vector<Mask> masks(const Batch& batch) override {
    const auto mask = mask_(batch);
    std::vector<Mask> out = {{"user", batch.users, graph.n_users, mask.user()},
                             {"item", batch.items, graph.n_items, mask.item()}};
    for (size_t m = 0; m < M; ++m)
      out.push_back({features()[m].name, batch.items, graph.n_items, mask.modality(m)});
    return out;
  }
  void show(const Batch& batch) override {
    const auto h = h_(batch), p = p_(batch);
    for (size_t m = 0; m < M; ++m)
      look("projection." + features()[m].name, "Eq. 1", h.modality(m), {graph.n_items, d},
           batch.items);
    look_at_layers(n_layers, "Eq. 3");
    look("H", "Eq. 4", H);
    const auto row = [&](const Mask& m) {
      return static_cast<size_t>(m.mask.at - mask_(batch).all.at) / d;
    };
    for (const Mask& m : masks(batch)) {
      const Matrix<T> of_h = h.all.slice(row(m), m.rows.n);
      std::vector<double>& view = look("view." + m.name, "Eq. 5", of_h, {m.height, d}, m.rows);
      const std::vector<uint8_t> kept = host<uint8_t>(ops, m.mask);
      for (size_t i = 0; i < view.size(); ++i)
        view[i] = view_entry(static_cast<T>(view[i]), kept[i], views(h, batch).all.kept);
    }
    for (const Mask& m : masks(batch))
      look("predicted." + m.name, "Eq. 6", p.all.slice(row(m), m.rows.n), {m.height, d}, m.rows);
  }

 private:
  BM3_MODEL_NAMES;

  Blocks<View<T>> views(const Blocks<Matrix<T>>& h, const Batch& batch) {
    const Matrix<T> target = held_.size() > 0 ? held_.slice(0, h.all.rows) : h.all;
    return {{target, mask_(batch).all.at, static_cast<T>(1 / (1 - dropout))}, h.n_users, h.n_items};
  }
  /// The loss of one kind, mean over the batch's pairs of 1 + C, and its gradient. [Eq. 8]
  void cosine(size_t k, Matrix<T> d_a, Matrix<T> a, const View<T>& target, const Pairs& pairs) {
    if (on[k]) ops.cosine_loss(loss(k), d_a, a, target, pairs, mean_, weight(k));
  }
  /// reg = (|H_u|_F + |H_i|_F) / I of all nodes, or the mean over the batch's pairs of
  /// |h_u|^2 + |h_i|^2; both before the predictor. [Eq. 12]
  void regulariser_forward(const Blocks<Matrix<T>>& h, const Batch& batch) {
    double* const norm = norms.data();
    if (form == RegForm::norm) {
      const double mean = 1 / static_cast<double>(graph.n_items);
      ops.norm_forward(loss(reg), norm, users(H), mean);
      ops.norm_forward(loss(reg), norm + 1, items(H), mean);
    } else {
      const double mean = 1 / static_cast<double>(batch.size);
      ops.penalty_forward(loss(reg), norm, h.user(), batch.by_user, form, mean);
      ops.penalty_forward(loss(reg), norm + 1, h.item(), batch.by_item, form, mean);
    }
  }
  /// d_H = its gradient, or 0 with the gradient added to d_h.
  void regulariser_backward(Matrix<T> d_H, const Blocks<Matrix<T>>& d_h,
                            const Blocks<Matrix<T>>& h, const Batch& batch) {
    const double lambda = weight(reg), *const norm = norms.data();
    if (form == RegForm::norm) {
      const double scale = lambda / static_cast<double>(graph.n_items);
      ops.norm_backward(users(d_H), norm, users(H), scale);
      ops.norm_backward(items(d_H), norm + 1, items(H), scale);
    } else {
      const double scale = lambda / static_cast<double>(batch.size);
      ops.zero(d_H);
      ops.penalty_backward(d_h.user(), norm, h.user(), batch.by_user, form, scale);
      ops.penalty_backward(d_h.item(), norm + 1, h.item(), batch.by_item, form, scale);
    }
  }

  const size_t M, n_layers;  // modalities; L
  const double dropout;      // p, the probability to drop
  const RegForm form;        // of the regulariser
  std::vector<bool> on;      // the losses rec, align, mask
  double mean_ = 0;          // 1 / B
  const Linear<T> predictor;
  const std::vector<Linear<T>> projection;  // by modality
  Table<T> H = node_table(), ranked = node_table();
  Table<T> layer = node_table(n_layers > 1);
  BatchRows<T> h_ = batch_rows(M), d_h_ = batch_rows(M);
  BatchRows<T> p_ = batch_rows(M), d_p_ = batch_rows(M);  // h~
  BatchRows<uint8_t> mask_{ops, loader, d, M};
  Table<T> held_;               // h, while hold_targets is in force
  Array<double> norms{ops, 2};  // |H_u|_F, |H_i|_F
};

}  // namespace

ModelKind bm3_kind() {
  return {"bm3", "Zhou et al., WWW 2023",
          {recipe_setting(),
           layers_setting("1", "n-layers", {{"elec", "2"}}),
           {"dropout", probability(), "0.5", "p, the probability to drop in a view",
            {{"elec", "0.3"}}},
           reg_setting("0.1", {{"sports", "0.01"}}),
           reg_form_setting(),
           {"mm-weight", weight(), "2", "weight of the align and mask losses", {{"paper", "1"}},
            {"cl-weight"}},
           features_setting(),
           {"losses", list_of({"rec", "align", "mask"}), "rec,align,mask", "which losses are on"},
           dim_setting()},
          {{"baby", 0.0564, 0.0883, 0.0301, 0.0383},
           {"sports", 0.0656, 0.0980, 0.0355, 0.0438},
           {"elec", 0.0437, 0.0648, 0.0247, 0.0302}},
          false, true, make<Bm3, float>, make<Bm3, double>};
}

}  // namespace bm3
