#pragma once
// What training, goldens, tests and the benchmark need of a model, and the list of all models.
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "layers/graph.h"
#include "layers/pair_loss.h"
#include "layers/saved_array.h"
#include "settings.h"

namespace bm3 {

struct ModalityShape {
  std::string name;
  size_t dim;  // d_m
};

/// Whether these are the features of images, which the released code of some models treats apart.
inline bool is_visual(const std::string& modality) { return modality == "image"; }

/// What a model is made of. The loader knows how many rows a batch can have.
template <class T>
struct Setup {
  Ops<T>& ops;
  const Graph<T>& graph;
  const Settings& settings;
  const std::vector<ModalityShape>& modalities;
  const BatchLoader& loader;
};

/// A part of the loss: L = sum of weight * value.
struct Loss {
  std::string name;
  double weight;
  double value = 0;
};

/// The final vectors [n_users, w] and [n_items, w]: s(u, i) is their inner product.
template <class T>
struct Embeddings {
  Matrix<const T> user, item;
};

/// A dropout mask [n, d] of a batch's rows, as `draw` fills it.
struct Mask {
  std::string name;  // in a golden: mask.user
  Rows rows;         // of the golden's whole mask, which has `height`
  size_t height;
  Matrix<uint8_t> mask;
  double* rate = nullptr;  // on the device, if it is drawn, too; in a golden: rate.online
};

/// What `begin_epoch` draws: whole numbers [rows, cols], by their name in a golden.
struct EpochDraw {
  std::string name;
  size_t rows = 0, cols = 0;  // 0: nothing
};

/// An intermediate result on the host, for goldens.
struct Trace {
  std::string name, equation;
  std::vector<size_t> shape;  // of the golden's array; [B]: a value for each pair, as in by_user
  std::vector<int32_t> rows;  // of the golden's array, -1: padding; empty: all of it
  std::vector<double> values;
};

template <class T>
class Model {
 public:
  /// `tables` are the first parameters, the users' and the items', or none; a model's constructor
  /// adds the others. Tuned features have gradients of at most `feature_rows` rows; 0: of a batch's
  /// items.
  Model(const Setup<T>& setup, const std::vector<ParameterShape>& tables,
        const std::vector<Loss>& losses, size_t feature_rows = 0);
  virtual ~Model() = default;
  /// Takes memory for the parameters, once all are added.
  void allocate();

  /// Computes what follows from the features as they were loaded, before training changes them.
  virtual void prepare() {}
  /// Draws what an epoch's steps take at random, keyed by (seed, epoch), and computes what they
  /// take as a constant. The parameters have their values.
  virtual void begin_epoch(uint64_t, size_t) {}
  /// Draws what the next forward pass takes at random, keyed by (seed, the batch's step).
  virtual void draw(const Batch&, uint64_t) {}
  /// Returns the rows of tuned features that the next step's gradient has; all others are 0 there.
  virtual Rows feature_rows(const Batch& batch) const { return batch.items; }
  /// Whether the next step is the same sequence of operations as others of its sizes.
  virtual bool repeats() const { return true; }
  /// Adds the batch's losses to the running sums and keeps what `backward` reads.
  virtual void forward(const Batch& batch) = 0;
  /// Writes the gradient of L with respect to every parameter, and to the rows of tuned features.
  virtual void backward(const Batch& batch) = 0;
  /// Moves what follows the parameters without a gradient, after each of their updates.
  virtual void after_update() {}
  /// Returns the vectors that rank, on the device, until the next call or forward pass.
  virtual Embeddings<T> embeddings() = 0;

  /// Returns what else outlasts a batch, for checkpoints: targets that follow by a moving average,
  /// and what an epoch begins with unless (seed, epoch) alone decide it.
  virtual std::vector<SavedArray> state() { return {}; }

  /// Keeps the targets, which have no gradient, at their values in the last forward pass while the
  /// parameters move: finite differences must not see them change.
  virtual void hold_targets() {}
  /// Returns the masks that `draw` fills.
  virtual std::vector<Mask> masks(const Batch&) { return {}; }
  /// Returns the shape of what `begin_epoch` draws for its steps.
  virtual EpochDraw epoch_draw() const { return {}; }
  /// Takes these numbers instead of those drawn. Throws where they cannot be drawn.
  virtual void take_draw(const std::vector<int32_t>&) {}
  /// Returns the intermediate results of the last forward pass, in the order of the equations.
  std::vector<Trace> trace(const Batch& batch);

  Parameters<T>& parameters() { return parameters_; }
  std::vector<Features<T>>& features() { return features_; }
  /// Returns the features that training changes.
  std::vector<Features<T>*> tuned_features();
  /// Returns the names and weights of the losses, with value 0.
  const std::vector<Loss>& losses() const { return losses_; }
  /// Returns the sums since the last call; blocks.
  std::vector<Loss> take_losses();
  /// Returns all that outlasts a batch: parameters, tuned features, sums of losses, `state()`.
  std::vector<SavedArray> saved();

 private:
  Parameters<T> parameters_;

 protected:
  /// Calls `look` for each intermediate result.
  virtual void show(const Batch&) {}
  /// Adds a parameter, or those of a linear layer, as Parameters does.
  const Parameter<T>* add(const ParameterShape& shape) { return parameters_.add(shape); }
  Linear<T> add_linear(const std::string& name, size_t in, size_t out, const Law& law) {
    return parameters_.add_linear(name, in, out, law);
  }
  /// Adds a linear layer to d columns for each modality, of its name.
  template <class LawOf>
  std::vector<Linear<T>> add_projections(const LawOf& law) {
    std::vector<Linear<T>> out;
    for (const auto& e : features_)
      out.push_back(add_linear(e.name, e.value.cols, d, law(e.value.cols)));
    return out;
  }
  /// The running sum of the k-th loss, on the device, and its weight.
  double* loss(size_t k) { return sums_.data() + k * loss_parts; }
  double weight(size_t k) const { return losses_[k].weight; }
  /// Memory for a row of each node or item, unless `wanted` says no, and for rows of a batch.
  Table<T> node_table(bool wanted = true) const { return {ops, wanted ? graph.n_nodes() : 0, d}; }
  Table<T> item_table(bool wanted = true) const { return {ops, wanted ? graph.n_items : 0, d}; }
  BatchRows<T> batch_rows(size_t n_modalities = 0) const { return {ops, loader, d, n_modalities}; }
  /// The rows of users, and of items, of those of all nodes.
  Matrix<T> users(Matrix<T> x) const { return x.slice(0, graph.n_users); }
  Matrix<T> items(Matrix<T> x) const { return x.slice(graph.n_users, graph.n_items); }
  /// Traces a matrix, all of the golden's array or these rows of it, and returns its values.
  std::vector<double>& look(const std::string& name, const std::string& equation,
                            Matrix<const T> matrix, const std::vector<size_t>& shape = {},
                            Rows rows = {});
  /// Traces layer_1 .. layer_L of the graph, one by one: the model itself keeps none.
  void look_at_layers(size_t n_layers, const std::string& equation);

  Ops<T>& ops;
  const Graph<T>& graph;
  const BatchLoader& loader;
  const size_t d;  // size of an embedding
  /// Users' rows, then items', of the two embedding tables, which are the first parameters.
  Matrix<T> E, d_E;
  const Parameter<T>*E_u = nullptr, *E_i = nullptr;

 private:
  std::vector<Features<T>> features_;
  std::vector<Loss> losses_;
  Array<double> sums_;
  std::vector<Trace> traces_;
};

/// What a model says without `this->`.
#define BM3_MODEL_NAMES                                                                      \
  using Model<T>::ops, Model<T>::graph, Model<T>::loader, Model<T>::d, Model<T>::E;          \
  using Model<T>::d_E, Model<T>::E_u, Model<T>::E_i, Model<T>::add, Model<T>::add_linear;    \
  using Model<T>::add_projections, Model<T>::features, Model<T>::loss, Model<T>::weight;     \
  using Model<T>::node_table, Model<T>::item_table, Model<T>::batch_rows, Model<T>::users;   \
  using Model<T>::items, Model<T>::look, Model<T>::look_at_layers

/// Sum of weight * value. [Eq. 12]
double total(const std::vector<Loss>& losses);

/// Settings that several models have; `fallback` is the default.
Setting dim_setting(), recipe_setting(), features_setting(), neighbours_setting(),
    reg_form_setting();
using Best = std::map<std::string, std::string>;
Setting reg_setting(const char* fallback, const Best& best = {});
Setting layers_setting(const char* fallback, const char* alias, const Best& best = {});
/// The settings of models with BPR's loss: the recipe, `others`, the regulariser's weight (default
/// weight_of_reg), and the rest. Then the losses, whose places are `bpr` and `reg`, and the forms
/// that these settings ask for.
std::vector<Setting> pair_settings(const char* weight_of_reg,
                                   const std::vector<Setting>& others = {});
std::vector<Loss> pair_losses(const Settings& settings);
enum : size_t { bpr, reg };
PairForms pair_forms(const Settings& settings);
RegForm reg_form(const Settings& settings);
/// Shapes of user_embedding and item_embedding, each with this law of its rows and columns.
template <class T, class LawOf>
std::vector<ParameterShape> embedding_tables(const Setup<T>& setup, const LawOf& law) {
  const size_t d = setup.settings.whole("dim");
  const size_t n_users = setup.graph.n_users, n_items = setup.graph.n_items;
  return {{"user_embedding", n_users, d, law(n_users, d)},
          {"item_embedding", n_items, d, law(n_items, d)}};
}
/// The same, with the laws of one table of all nodes.
template <class T>
std::vector<ParameterShape> one_embedding_table(const Setup<T>& setup, bool frozen = false) {
  const size_t n = setup.graph.n_nodes();
  auto out = embedding_tables(setup, [n](size_t, size_t d) { return xavier_normal(n, d); });
  for (auto& table : out) table.frozen = frozen;
  return out;
}

/// Published test figures of a model on one of the paper's data sets.
struct Published {
  const char* data;
  std::array<double, 4> figures;  // R@10, R@20, N@10, N@20
};

/// All that is known of a model without making one.
struct ModelKind {
  std::string name, words;  // words: its paper
  std::vector<Setting> settings;
  std::vector<Published> published;
  bool draws_negatives, reads_features;
  std::unique_ptr<Model<float>> (*make_float)(const Setup<float>&);
  std::unique_ptr<Model<double>> (*make_double)(const Setup<double>&);
  std::map<std::string, std::string> training = {};  // other defaults of the training's settings
  bool needs_features = false;  // of one modality at least
};
/// Returns a new M<T>: a kind's make_float and make_double.
template <template <class> class M, class T>
std::unique_ptr<Model<T>> make(const Setup<T>& setup) {
  auto model = std::make_unique<M<T>>(setup);
  model->allocate();
  return model;
}

ModelKind bm3_kind(), bpr_kind(), lightgcn_kind(), buir_kind(), vbpr_kind(), mmgcn_kind(),
    grcn_kind(), dualgnn_kind(), lattice_kind(), freedom_kind();

/// All models, the default first.
const std::vector<ModelKind>& all_models();
/// Returns the model of this name. Throws where there is none, with those that there are.
const ModelKind& model_kind(const std::string& name);

/// Throws where the model needs features and there are none.
template <class T>
std::unique_ptr<Model<T>> make_model(const ModelKind& kind, const Setup<T>& setup) {
  if (kind.needs_features && setup.modalities.empty())
    throw Error("the model " + kind.name + " without features: expected one modality or more");
  if constexpr (sizeof(T) == sizeof(float))
    return kind.make_float(setup);
  else
    return kind.make_double(setup);
}

}  // namespace bm3
