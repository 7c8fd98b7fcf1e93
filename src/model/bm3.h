#pragma once
// BM3: its parameters, Eq. 1 to 12 forward, and backward in reverse order.
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/lightgcn.h"
#include "model/regulariser.h"
#include "ops/ops.h"

namespace bm3 {

struct Bm3Config {
  size_t d = 64;             // embedding size
  size_t n_layers = 1;       // L
  double dropout = 0.5;      // p, the probability to drop
  double reg_weight = 0.1;   // lambda
  RegForm reg_form = RegForm::norm;
  double mm_weight = 2;      // weight of L_align + L_mask
  bool rec = true, align = true, mask = true;  // which losses are on
  bool tuned = false;        // features are parameters too
};

/// One matrix of the parameters: rows x cols values at `offset` of all of them.
struct ParameterSlot {
  std::string name;  // as in a golden directory: user_embedding, image.weight, predictor.bias, ...
  size_t rows, cols, offset;
  size_t size() const { return rows * cols; }
};

/// What the losses add up to, each as it enters L [Eq. 12].
struct LossParts {
  double rec = 0, align = 0, mask = 0, reg = 0;
  double total() const { return rec + align + mask + reg; }
};

struct ModalityShape {
  std::string name;
  size_t dim;  // d_m
};

/// The model over one graph. Rows of a batch's matrices (z and what follows from it): n_users
/// users, n_items items, then n_items rows of each modality; "table" t >= 0 of them is the t-th of
/// items' tables: 0 the items themselves, 1 + m modality m.
template <class T>
class Bm3 {
 public:
  /// A modality's features e_m [n_items, d_m]; a batch's rows of them, where the device wants a
  /// copy, and, when tuned, the gradient of these rows.
  struct Modality {
    std::string name;
    size_t dim;
    Array<T> features;
    Array<T> copy[2];     // [batch's n_items, d_m] by the batch's slot, or all in the first
    Array<T> d_features;  // [batch's n_items, d_m]
    const ParameterSlot *W, *b;

    /// x and rows of the linear layer: e_m and the batch's item numbers, or the copy.
    bool copied() const { return copy[0].size() > 0; }
    Array<T>& copy_of(const Batch& batch) { return copy[batch.fetched ? batch.slot : 0]; }
    const T* x(const Batch& batch) { return copied() ? copy_of(batch).data() : features.data(); }
    const int32_t* rows(const Batch& batch) const { return copied() ? nullptr : batch.items; }
  };

  /// Parameters are zero until `initialise`. Batches come from `loader`, which bounds their rows.
  Bm3(Ops<T>& ops, const Graph<T>& graph, const Bm3Config& config,
      const std::vector<ModalityShape>& modalities, const BatchLoader& loader);

  /// Xavier-uniform embeddings, Xavier-normal W, biases uniform in +-1/sqrt(fan-in), from `seed`.
  void initialise(uint64_t seed);

  /// Takes memory for a second copy of a batch's rows of features: from now on `fetch` copies a
  /// batch's rows, beside the step before, and the passes read them.
  void fetch_ahead();
  void fetch(Batch& batch);

  // The forward pass: `losses` needs the other two.

  /// z = the batch's rows of H [Eq. 3, 4] and, beside these, projections h_m [Eq. 1].
  void encode(const Batch& batch);
  /// Draws the masks of step *step for the batch's rows. [Eq. 5]
  void draw_masks(const Batch& batch, uint64_t seed, const uint32_t* step);
  /// Adds L's parts to the running sums [Eq. 6, 9-12] and, unless told otherwise, puts dL/dh~ aside
  /// for `backward`. The targets are views of `target` [rows of a batch, d] or, when it is null, of
  /// z [Eq. 5]: finite differences keep theirs while the parameters move.
  void losses(const Batch& batch, bool gradient = true, const T* target = nullptr);
  /// dL/d(every parameter), in the reverse order; H's memory becomes d_H.
  void backward(const Batch& batch);

  /// h~ [n_nodes, d] of every user and item, for ranking. [Eq. 13]
  const T* predict_all();
  /// Where predict_all leaves h~: another array of the size may take its place.
  Array<T>& all_predicted() { return all_predicted_; }

  /// The losses since the last call; waits for the device.
  LossParts take_losses();

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  const ParameterSlot& slot(const std::string& name) const;
  Array<T>& values() { return values_; }       // all parameters but features
  Array<T>& gradients() { return gradients_; }
  std::vector<Modality>& modalities() { return modalities_; }
  const Bm3Config& config() const { return config_; }
  const Graph<T>& graph() const { return graph_; }
  size_t n_users() const { return static_cast<size_t>(graph_.n_users); }
  size_t n_items() const { return static_cast<size_t>(graph_.n_items); }

  // What the passes leave, for tests: see the comment on the class for the rows.
  Array<T>& H() { return H_; }
  Array<T>& z() { return z_; }
  Array<uint8_t>& masks() { return masks_; }
  Array<T>& predicted() { return predicted_; }
  Array<T>& d_predicted() { return d_predicted_; }

 private:
  T* value(const ParameterSlot& s) { return values_.data() + s.offset; }
  T* gradient(const ParameterSlot& s) { return gradients_.data() + s.offset; }
  const T* user_embedding() const { return values_.data(); }  // E: users' rows, then items'
  /// h~ of the batch's rows. [Eq. 6]
  void predict(const Batch& batch);
  /// The batch's rows of e_m into its copy.
  void copy_rows(Modality& e, const Batch& batch);
  size_t rows(const Batch& batch) const {
    return batch.n_users + batch.n_items * (1 + modalities_.size());
  }
  /// First element of the t-th table of items in a batch's matrix.
  size_t table(const Batch& batch, size_t t) const {
    return (batch.n_users + t * batch.n_items) * config_.d;
  }

  Ops<T>& ops_;
  const Graph<T>& graph_;
  Bm3Config config_;
  bool fetches_ahead_ = false;
  std::vector<ParameterSlot> slots_;
  const ParameterSlot *W_p_, *b_p_;
  std::vector<Modality> modalities_;
  Array<T> values_, gradients_;
  Array<T> H_, layer_;                                  // [n_nodes, d]
  Array<T> all_predicted_;                              // [n_nodes, d]
  Array<T> z_, predicted_, d_predicted_, d_z_;          // [rows of a batch, d]
  Array<uint8_t> masks_;                                // [rows of a batch, d]
  Array<double> loss_;                                  // sums of rec, align, mask, reg
  Array<double> norms_;                                 // |H_u|_F, |H_i|_F
};

}  // namespace bm3
