#include "model/bm3.h"

#include "error.h"
#include "model/losses.h"

namespace bm3 {
namespace {

enum Term : size_t { rec_term, align_term, mask_term, reg_term, n_terms };  // of loss_

/// What the initial value of a parameter is drawn from: uniform in +-spread, or normal.
void draw(std::vector<double>& out, bool normal, double spread, uint64_t seed, size_t parameter) {
  const auto stream = static_cast<uint32_t>(Stream::parameter) + static_cast<uint32_t>(parameter);
  constexpr double two_pi = 6.283185307179586;
  for (size_t k = 0; k < out.size(); ++k) {
    const Random4 random = philox(seed, stream, 0, k / 2);
    const double u = uniform01(random.x[k % 2 * 2]), w = uniform01(random.x[k % 2 * 2 + 1]);
    // The normal by Box and Muller's transform.
    out[k] = spread * (normal ? std::sqrt(-2 * std::log(u)) * std::cos(two_pi * w) : 2 * u - 1);
  }
}

}  // namespace

template <class T>
Bm3<T>::Bm3(Ops<T>& ops, const Graph<T>& graph, const Bm3Config& config,
            const std::vector<ModalityShape>& modalities, const BatchLoader& loader)
    : ops_(ops), graph_(graph), config_(config) {
  const size_t d = config.d;
  size_t offset = 0;
  const auto add = [&](const std::string& name, size_t rows, size_t cols) {
    slots_.push_back({name, rows, cols, offset});
    offset += rows * cols;
  };
  add("user_embedding", n_users(), d);
  add("item_embedding", n_items(), d);
  add("predictor.weight", d, d);
  add("predictor.bias", 1, d);
  for (const auto& m : modalities) {
    add(m.name + ".weight", m.dim, d);
    add(m.name + ".bias", 1, d);
  }
  W_p_ = &slots_[2];
  b_p_ = &slots_[3];
  for (size_t m = 0; m < modalities.size(); ++m) {
    const size_t dim = modalities[m].dim, of_batch = loader.max_items() * dim;
    modalities_.push_back({modalities[m].name, dim, Array<T>::table(ops, n_items() * dim),
                           {Array<T>(ops, ops.copies_rows() ? of_batch : 0), Array<T>()},
                           Array<T>(ops, config.tuned ? of_batch : 0), &slots_[4 + 2 * m],
                           &slots_[5 + 2 * m]});
  }
  values_ = Array<T>(ops, offset);
  gradients_ = Array<T>(ops, offset);
  const size_t nodes = (n_users() + n_items()) * d;
  H_ = Array<T>(ops, nodes);
  layer_ = Array<T>(ops, config.n_layers > 1 ? nodes : 0);
  all_predicted_ = Array<T>(ops, nodes);
  const size_t batch =
      (loader.max_users() + loader.max_items() * (1 + modalities.size())) * d;
  for (Array<T>* a : {&z_, &predicted_, &d_predicted_, &d_z_}) *a = Array<T>(ops, batch);
  masks_ = Array<uint8_t>(ops, batch);
  loss_ = Array<double>(ops, n_terms);
  norms_ = Array<double>(ops, 2);
}

template <class T>
void Bm3<T>::fetch_ahead() {
  for (auto& e : modalities_) e.copy[1] = Array<T>(ops_, e.copy[0].size());
  fetches_ahead_ = true;
}

template <class T>
void Bm3<T>::fetch(Batch& batch) {
  batch.fetched = fetches_ahead_;
  for (auto& e : modalities_)
    if (batch.fetched) copy_rows(e, batch);
}

template <class T>
void Bm3<T>::copy_rows(Modality& e, const Batch& batch) {
  ops_.gather_rows(e.copy_of(batch).data(), e.features.data(), batch.items, batch.n_items, e.dim);
}

template <class T>
void Bm3<T>::encode(const Batch& batch) {
  const size_t d = config_.d;
  ops_.beside(part_of_step, [this, batch, d] {
    for (size_t m = 0; m < modalities_.size(); ++m) {  // h_m = e_m W_m + b_m [Eq. 1]
      Modality& e = modalities_[m];
      if (e.copied() && !batch.fetched) copy_rows(e, batch);
      ops_.linear_forward(z_.data() + table(batch, 1 + m), e.x(batch), e.rows(batch), value(*e.W),
                          value(*e.b), batch.n_items, e.dim, d);
    }
  });
  lightgcn_forward(ops_, H_.data(), layer_.data(), user_embedding(), graph_, config_.n_layers, d);
  ops_.gather_rows(z_.data(), H_.data(), batch.users, batch.n_users + batch.n_items, d);
}

template <class T>
void Bm3<T>::draw_masks(const Batch& batch, uint64_t seed, const uint32_t* step) {
  const auto stream = static_cast<uint32_t>(Stream::view);
  ops_.draw_mask(masks_.data(), batch.users, batch.n_users + batch.n_items, config_.d,
                 config_.dropout, seed, stream, step);
  for (size_t m = 0; m < modalities_.size(); ++m)
    ops_.draw_mask(masks_.data() + table(batch, 1 + m), batch.items, batch.n_items, config_.d,
                   config_.dropout, seed, stream + 1 + static_cast<uint32_t>(m), step);
}

template <class T>
void Bm3<T>::predict(const Batch& batch) {
  const size_t d = config_.d;
  // h~ = h W_p + b_p [Eq. 6]
  ops_.linear_forward(predicted_.data(), z_.data(), nullptr, value(*W_p_), value(*b_p_),
                      rows(batch), d, d);
}

template <class T>
void Bm3<T>::losses(const Batch& batch, bool gradient, const T* target) {
  const size_t d = config_.d, items = table(batch, 0);
  const T* h = predicted_.data();
  const View<T> view{target ? target : z_.data(), masks_.data(),
                     static_cast<T>(1 / (1 - config_.dropout))};
  T* d_h = gradient ? d_predicted_.data() : nullptr;
  if (gradient) ops_.zero(d_h, rows(batch) * d * sizeof(T));
  double* sums = loss_.data();
  regulariser_forward(ops_, sums + reg_term, norms_.data(), H_.data(), z_.data(),
                      config_.reg_form, config_.reg_weight, graph_, batch, d);
  ops_.join(part_of_step);  // the projections
  predict(batch);
  ops_.beside(part_of_step, [&] {
    for (size_t m = 0; m < modalities_.size(); ++m) {
      const size_t h_m = table(batch, 1 + m);
      T* d_h_m = gradient ? d_h + h_m : nullptr;
      if (config_.align)
        align_loss(ops_, sums + align_term, d_h_m, h + h_m, view.from(items), batch,
                   config_.mm_weight, d);
      if (config_.mask)
        mask_loss(ops_, sums + mask_term, d_h_m, h + h_m, view.from(h_m), batch,
                  config_.mm_weight, d);
    }
  });
  if (config_.rec) reconstruct_loss(ops_, sums + rec_term, d_h, h, view, items, batch, d);
  ops_.join(part_of_step);
}

template <class T>
void Bm3<T>::backward(const Batch& batch) {
  const size_t d = config_.d;
  // h~ = h W_p + b_p [Eq. 6]
  ops_.linear_backward(d_z_.data(), gradient(*W_p_), gradient(*b_p_), d_predicted_.data(),
                       z_.data(), nullptr, value(*W_p_), rows(batch), d, d);
  ops_.beside(part_of_step, [&] {
    for (size_t m = 0; m < modalities_.size(); ++m) {  // h_m = e_m W_m + b_m [Eq. 1]
      Modality& e = modalities_[m];
      ops_.linear_backward(config_.tuned ? e.d_features.data() : nullptr, gradient(*e.W),
                           gradient(*e.b), d_z_.data() + table(batch, 1 + m), e.x(batch),
                           e.rows(batch), value(*e.W), batch.n_items, e.dim, d);
    }
  });
  T* d_H = H_.data();  // H has been read for the last time when its row of d_H is written
  regulariser_backward(ops_, d_H, d_z_.data(), norms_.data(), H_.data(), z_.data(),
                       config_.reg_form, config_.reg_weight, graph_, batch, d);
  // z = H[nodes of the batch]
  ops_.scatter_add_rows(d_H, d_z_.data(), batch.users, batch.n_users + batch.n_items, d);
  // H = P E [Eq. 3, 4]
  lightgcn_backward(ops_, gradients_.data(), layer_.data(), d_H, graph_, config_.n_layers, d);
  ops_.join(part_of_step);
}

template <class T>
const T* Bm3<T>::predict_all() {
  const size_t d = config_.d;
  lightgcn_forward(ops_, H_.data(), layer_.data(), user_embedding(), graph_, config_.n_layers, d);
  ops_.linear_forward(all_predicted_.data(), H_.data(), nullptr, value(*W_p_), value(*b_p_),
                      n_users() + n_items(), d, d);
  return all_predicted_.data();
}

template <class T>
void Bm3<T>::initialise(uint64_t seed) {
  for (size_t k = 0; k < slots_.size(); ++k) {
    const ParameterSlot& s = slots_[k];
    const bool embedding = k < 2, bias = !embedding && k % 2 == 1;
    const auto fan = static_cast<double>(s.rows + s.cols);
    // A bias's bound is by the rows of its W, the slot before it.
    const double spread = bias        ? 1 / std::sqrt(static_cast<double>(slots_[k - 1].rows))
                          : embedding ? std::sqrt(6 / fan)
                                      : std::sqrt(2 / fan);
    std::vector<double> drawn(s.size());
    draw(drawn, !embedding && !bias, spread, seed, k);
    const std::vector<T> cast(drawn.begin(), drawn.end());
    ops_.upload(value(s), cast.data(), s.size() * sizeof(T));
  }
}

template <class T>
LossParts Bm3<T>::take_losses() {
  const std::vector<double> sums = loss_.host();
  ops_.zero(loss_.data(), n_terms * sizeof(double));
  return {sums[rec_term], sums[align_term], sums[mask_term], sums[reg_term]};
}

template <class T>
const ParameterSlot& Bm3<T>::slot(const std::string& name) const {
  for (const ParameterSlot& s : slots_)
    if (s.name == name) return s;
  throw Error("the model has no parameter " + name);
}

template class Bm3<float>;
template class Bm3<double>;

}  // namespace bm3
