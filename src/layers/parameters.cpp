#include "layers/parameters.h"

#include "error.h"

namespace bm3 {
namespace {

double as_real(size_t n) { return static_cast<double>(n); }

/// Draws `out` from a law; normal numbers by Box and Muller's transform.
void draw(std::vector<double>& out, const Law& law, uint64_t seed, size_t parameter) {
  const auto stream = static_cast<uint32_t>(Stream::parameter) + static_cast<uint32_t>(parameter);
  constexpr double two_pi = 6.283185307179586;
  for (size_t k = 0; k < out.size(); ++k) {
    const Random4 random = philox(seed, stream, 0, k / 2);
    const double u = uniform01(random.x[k % 2 * 2]), w = uniform01(random.x[k % 2 * 2 + 1]);
    out[k] = law.spread *
             (law.normal ? std::sqrt(-2 * std::log(u)) * std::cos(two_pi * w) : 2 * u - 1);
  }
}

/// Replaces each row [cols] by its softmax.
void take_softmax(std::vector<double>& values, size_t cols) {
  for (size_t first = 0; first < values.size(); first += cols) {
    double sum = 0;
    for (size_t k = first; k < first + cols; ++k) sum += values[k] = std::exp(values[k]);
    for (size_t k = first; k < first + cols; ++k) values[k] /= sum;
  }
}

}  // namespace

Law xavier_uniform(size_t rows, size_t cols) {
  return {false, std::sqrt(6 / as_real(rows + cols))};
}
Law xavier_normal(size_t rows, size_t cols) { return {true, std::sqrt(2 / as_real(rows + cols))}; }
Law of_fan_in(size_t fan_in) { return {false, 1 / std::sqrt(as_real(fan_in))}; }
Law zeros() { return {false, 0}; }

Law softmax_of(Law law) { return {law.normal, law.spread, true}; }

void add_linear(std::vector<ParameterShape>& shapes, const std::string& name, size_t in, size_t out,
                const Law& law) {
  shapes.push_back({name + ".weight", in, out, law});
  shapes.push_back({name + ".bias", 1, out, of_fan_in(in)});
}

template <class T>
Parameters<T>::Parameters(Ops<T>& ops, const std::vector<ParameterShape>& shapes) : ops_(ops) {
  size_t size = 0;
  for (const auto& shape : shapes) size += shape.rows * shape.cols;
  values_ = Array<T>(ops, size);
  gradients_ = Array<T>(ops, size);
  size_t first = 0;
  for (const auto& shape : shapes) {
    all_.push_back({shape,
                    {values_.data() + first, shape.rows, shape.cols},
                    shape.frozen ? Matrix<T>{}
                                 : Matrix<T>{gradients_.data() + first, shape.rows, shape.cols}});
    first += shape.rows * shape.cols;
  }
}

template <class T>
void Parameters<T>::initialise(uint64_t seed) {
  for (size_t k = 0; k < all_.size(); ++k) {
    std::vector<double> drawn(all_[k].value.size());
    const Parameter<T>& drawn_as = all_[k].copy_of.empty() ? all_[k] : at(all_[k].copy_of);
    draw(drawn, all_[k].law, seed, static_cast<size_t>(&drawn_as - all_.data()));
    if (all_[k].law.softmax) take_softmax(drawn, all_[k].value.cols);
    const std::vector<T> cast(drawn.begin(), drawn.end());
    ops_.upload(all_[k].value.at, cast.data(), cast.size() * sizeof(T));
  }
}

template <class T>
const Parameter<T>& Parameters<T>::at(const std::string& name) const {
  for (const auto& parameter : all_)
    if (parameter.name == name) return parameter;
  throw Error("the model has no parameter " + name);
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace bm3
