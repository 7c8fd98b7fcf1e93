#pragma once
// What training changes: parameters with their initial law, value and gradient, and features.
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "error.h"
#include "ops/ops.h"

namespace bm3 {

/// The law of initial values: normal with this deviation, or uniform in +-spread; perhaps the
/// softmax of such a row.
struct Law {
  bool normal;
  double spread;
  bool softmax = false;
  /// Returns numbers [rows, cols], normal ones by Box and Muller's transform.
  std::vector<double> draw(size_t rows, size_t cols, uint64_t seed, size_t parameter) const {
    const auto stream = static_cast<uint32_t>(Stream::parameter) + static_cast<uint32_t>(parameter);
    constexpr double two_pi = 6.283185307179586;
    std::vector<double> out(rows * cols);
    for (size_t k = 0; k < out.size(); ++k) {
      const Random4 random = philox(seed, stream, 0, k / 2);
      const double u = uniform01(random.x[k % 2 * 2]), w = uniform01(random.x[k % 2 * 2 + 1]);
      out[k] = spread * (normal ? std::sqrt(-2 * std::log(u)) * std::cos(two_pi * w) : 2 * u - 1);
    }
    for (size_t first = 0; softmax && first < out.size(); first += cols) {
      double sum = 0;
      for (size_t k = first; k < first + cols; ++k) sum += out[k] = std::exp(out[k]);
      for (size_t k = first; k < first + cols; ++k) out[k] /= sum;
    }
    return out;
  }
};
/// Xavier's laws for a table or a weight [rows, cols] (Glorot and Bengio, 2010), and the usual one
/// of a linear layer with `fan_in` inputs.
inline Law xavier_uniform(size_t rows, size_t cols) {
  return {false, std::sqrt(6 / static_cast<double>(rows + cols))};
}
inline Law xavier_normal(size_t rows, size_t cols) {
  return {true, std::sqrt(2 / static_cast<double>(rows + cols))};
}
inline Law of_fan_in(size_t fan_in) {
  return {false, 1 / std::sqrt(static_cast<double>(fan_in))};
}
inline Law zeros() { return {false, 0}; }
inline Law softmax_of(Law law) { return {law.normal, law.spread, true}; }

struct ParameterShape {
  std::string name;  // as in a golden: user_embedding, image.weight, predictor.bias, ...
  size_t rows, cols;
  Law law;
  bool frozen = false;  // has no gradient: Adam leaves it as it is
  std::string copy_of = {};  // a parameter whose initial values it has
};

template <class T>
struct Parameter : ParameterShape {
  Matrix<T> value;
  Matrix<T> gradient;  // null where it is frozen
};

/// A linear layer, of the parameters NAME.weight [in, out] and NAME.bias [1, out].
template <class T>
struct Linear {
  const Parameter<T>*W, *b = nullptr;
  /// y = x[rows] W + b; without b (null) y += x[rows] W.
  void forward(Ops<T>& ops, Matrix<T> y, ConstMatrix<T> x, Rows rows = {}) const {
    ops.linear_forward(y, x, rows, W->value, b ? b->value : Matrix<T>{});
  }
  /// y = LR(x W + b), with y = 0 to begin with where there is no b.
  void leaky_forward(Ops<T>& ops, Matrix<T> y, ConstMatrix<T> x) const {
    forward(ops, y, x);
    ops.leaky_relu_forward(y, y);
  }
  /// d_x (unless null), and the gradients of W and b.
  void backward(Ops<T>& ops, Matrix<T> d_x, ConstMatrix<T> d_y, ConstMatrix<T> x,
                Rows rows = {}) const {
    ops.linear_backward(d_x, W->gradient, b ? b->gradient : Matrix<T>{}, d_y, x, rows, W->value);
  }
  /// The same for y = LR(x W + b): d_y becomes that of its argument.
  void leaky_backward(Ops<T>& ops, Matrix<T> d_x, Matrix<T> d_y, ConstMatrix<T> y,
                      ConstMatrix<T> x) const {
    ops.leaky_relu_backward(d_y, d_y, y);
    backward(ops, d_x, d_y, x);
  }
};

/// All parameters of a model, one after the other in memory, in the order in which they are added.
template <class T>
class Parameters {
 public:
  explicit Parameters(Ops<T>& ops) : ops_(ops) {}

  /// Adds a parameter, whose matrices are null until `allocate`.
  const Parameter<T>* add(const ParameterShape& shape) {
    all_.push_back({shape, {nullptr, shape.rows, shape.cols}, {}});
    return &all_.back();
  }
  /// Adds those of a linear layer, with this law of W; b's is that of its fan-in.
  Linear<T> add_linear(const std::string& name, size_t in, size_t out, const Law& law) {
    const Parameter<T>* const W = add({name + ".weight", in, out, law});
    if (!first_layer_) first_layer_ = W;
    return {W, add({name + ".bias", 1, out, of_fan_in(in)})};
  }
  /// Takes memory for all: values and gradients are 0.
  void allocate() {
    size_t size = 0;
    for (const auto& p : all_) size += p.value.size();
    values_ = Table<T>(ops_, 1, size);
    gradients_ = Table<T>(ops_, 1, size);
    size_t first = 0;
    for (auto& p : all_) {
      p.value.at = values_.at + first;
      if (!p.frozen) p.gradient = {gradients_.at + first, p.rows, p.cols};
      first += p.value.size();
    }
  }
  /// Draws every value from its law, keyed by (seed, the parameter's place); a copy's by the place
  /// of what it is a copy of.
  void initialise(uint64_t seed) {
    for (const auto& p : all_) {
      const size_t of = place(p.copy_of.empty() ? p.name : p.copy_of);
      const std::vector<double> drawn = p.law.draw(p.rows, p.cols, seed, of);
      const std::vector<T> cast(drawn.begin(), drawn.end());
      ops_.upload(p.value.at, cast.data(), cast.size() * sizeof(T));
    }
  }
  /// Returns the parameter of this name. Throws where there is none.
  const Parameter<T>& at(const std::string& name) const { return all_[place(name)]; }
  const std::deque<Parameter<T>>& all() const { return all_; }
  /// Returns how many of all values are before the first linear layer.
  size_t size_of_tables() const {
    return first_layer_ ? static_cast<size_t>(first_layer_->value.at - values_.at) : values_.size();
  }
  /// All values, and all gradients, as one row.
  Matrix<T> values() { return values_; }
  Matrix<T> gradients() { return gradients_; }

 private:
  size_t place(const std::string& name) const {
    for (size_t k = 0; k < all_.size(); ++k)
      if (all_[k].name == name) return k;
    throw Error("the model has no parameter " + name);
  }
  Ops<T>& ops_;
  const Parameter<T>* first_layer_ = nullptr;  // its weight
  std::deque<Parameter<T>> all_;  // a deque: they stay where they are
  Table<T> values_, gradients_;
};

/// One modality's features e_m [n_items, d_m]. Where training changes them, `gradients` has room
/// for the rows that a step's gradient has; all others are 0.
template <class T>
struct Features {
  std::string name;
  Table<T> value, gradients;
  /// The gradient of n rows; null when features are frozen.
  Matrix<T> gradient(size_t n) const {
    return gradients.size() > 0 ? gradients.slice(0, n) : Matrix<T>{};
  }
};

}  // namespace bm3
