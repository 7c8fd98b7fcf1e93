#include "models/model.h"

#include <algorithm>

namespace bm3 {

template <class T>
Model<T>::Model(const Setup<T>& setup, const std::vector<ParameterShape>& tables,
                const std::vector<Loss>& losses, size_t feature_rows)
    : parameters_(setup.ops),
      ops(setup.ops),
      graph(setup.graph),
      loader(setup.loader),
      d(setup.settings.whole("dim")),
      losses_(losses),
      sums_(ops, losses.size() * loss_parts) {
  for (const auto& table : tables) (E_u ? E_i : E_u) = add(table);
  if (feature_rows == 0) feature_rows = loader.max_items();
  const Settings& of = setup.settings;
  if (!of.knows("features") || !of.has("features", "tuned")) feature_rows = 0;
  for (const auto& m : setup.modalities)
    features_.push_back({m.name, {ops, graph.n_items, m.dim}, {ops, feature_rows, m.dim}});
}

template <class T>
std::vector<Features<T>*> Model<T>::tuned_features() {
  std::vector<Features<T>*> out;
  for (auto& e : features_)
    if (e.gradients.size() > 0) out.push_back(&e);
  return out;
}

template <class T>
void Model<T>::allocate() {
  parameters_.allocate();
  E = {parameters_.values().at, graph.n_nodes(), d};
  d_E = {parameters_.gradients().at, graph.n_nodes(), d};
}

template <class T>
std::vector<Loss> Model<T>::take_losses() {
  std::vector<Loss> out = losses_;
  const std::vector<double> sums = sums_.host();
  ops.zero(sums_.matrix(1, sums.size()));
  for (size_t k = 0; k < sums.size(); ++k) out[k / loss_parts].value += sums[k];
  return out;
}

template <class T>
std::vector<SavedArray> Model<T>::saved() {
  std::vector<SavedArray> out = state();
  for (const auto& parameter : parameters_.all())
    out.push_back(saved_array("parameter/" + parameter.name, parameter.value));
  for (const auto* e : tuned_features())
    out.push_back(saved_array("features/" + e->name, e->value));
  out.push_back(saved_array("losses", sums_.matrix(losses_.size(), loss_parts)));
  return out;
}

template <class T>
std::vector<Trace> Model<T>::trace(const Batch& batch) {
  traces_.clear();
  show(batch);
  return std::move(traces_);
}

template <class T>
std::vector<double>& Model<T>::look(const std::string& name, const std::string& equation,
                                    Matrix<const T> matrix, const std::vector<size_t>& shape,
                                    Rows rows) {
  Trace out{name, equation, shape, {}, {}};
  if (shape.empty()) out.shape = {matrix.rows, matrix.cols};
  if (rows.at) out.rows = host<int32_t>(ops, {rows.at, 1, rows.n});
  const std::vector<T> values = host<T>(ops, matrix);
  out.values.assign(values.begin(), values.end());
  traces_.push_back(std::move(out));
  return traces_.back().values;
}

template <class T>
void Model<T>::look_at_layers(size_t n_layers, const std::string& equation) {
  Table<T> x = node_table(), y = node_table();
  for (size_t l = 1; l <= n_layers; ++l) {
    ops.propagate(y, l > 1 ? x : E, E, T(1), T(0), T(0), graph);
    std::swap(x, y);
    look("layer_" + std::to_string(l), equation, x);
  }
}

template class Model<float>;
template class Model<double>;

double total(const std::vector<Loss>& losses) {
  double sum = 0;
  for (const Loss& loss : losses) sum += loss.weight * loss.value;
  return sum;
}

Setting dim_setting() {
  return {"dim", whole_from_to(1, 1024), "64", "d, size of an embedding", {}, {"embedding-size"}};
}

Setting recipe_setting() {
  return {"recipe", word_of({"released", "paper"}), "released",
          "other defaults as in the authors' code or as in the paper's text"};
}

Setting features_setting() {
  return {"features", word_of({"frozen", "tuned"}), "frozen",
          "whether training changes the features"};
}

Setting neighbours_setting() {
  return {"neighbours", whole_from_to(1, 64), "10", "k, items most alike that an item is joined to",
          {}, {"knn-k"}};
}

Setting reg_setting(const char* fallback, const Best& best) {
  return {"reg", weight(), fallback, "lambda, weight of the regulariser", best, {"reg-weight"}};
}

Setting reg_form_setting() {
  return {"reg-form", word_of({"norm", "squared"}), "norm", "form of the regulariser",
          {{"paper", "squared"}}};
}

Setting layers_setting(const char* fallback, const char* alias, const Best& best) {
  return {"layers", whole_from_to(0, 8), fallback, "L, layers of the graph", best, {alias}};
}

std::vector<Setting> pair_settings(const char* weight_of_reg, const std::vector<Setting>& others) {
  std::vector<Setting> out = {
      recipe_setting(), reg_setting(weight_of_reg), reg_form_setting(),
      {"pair-form", word_of({"epsilon", "plain"}), "epsilon",
       "-ln(1e-10 + sigma(x)) or -ln sigma(x) for a triple", {{"paper", "plain"}}},
      dim_setting()};
  out.insert(out.begin() + 1, others.begin(), others.end());
  return out;
}

std::vector<Loss> pair_losses(const Settings& settings) {
  return {{"bpr", 1}, {"reg", settings.real("reg")}};
}

PairForms pair_forms(const Settings& settings) {
  return {settings.has("pair-form", "epsilon") ? PairForm::epsilon : PairForm::plain,
          reg_form(settings)};
}

RegForm reg_form(const Settings& settings) {
  return settings.has("reg-form", "norm") ? RegForm::norm : RegForm::squared;
}

const std::vector<ModelKind>& all_models() {
  static const std::vector<ModelKind> all = {
      bm3_kind(), bpr_kind(), lightgcn_kind(), buir_kind(), vbpr_kind(), mmgcn_kind(), grcn_kind(),
      dualgnn_kind(), lattice_kind(), freedom_kind()};
  return all;
}

const ModelKind& model_kind(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelKind& kind : all_models()) names.push_back(kind.name);
  check_value("--model", word_of(names), name);
  return *std::find_if(all_models().begin(), all_models().end(),
                       [&](const ModelKind& kind) { return kind.name == name; });
}

}  // namespace bm3
