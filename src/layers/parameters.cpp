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

template <class T>
const Parameter<T>* Parameters<T>::add(const ParameterShape& shape) {
  all_.push_back({shape, {nullptr, shape.rows, shape.cols}, {}});
  return &all_.back();
}

template <class T>
Linear<T> Parameters<T>::add_linear(const std::string& name, size_t in, size_t out,
                                    const Law& law) {
  const Parameter<T>* const W = add({name + ".weight", in, out, law});
  return {W, add({name + ".bias", 1, out, of_fan_in(in)})};
}

template <class T>
void Parameters<T>::allocate() {
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

template <class T>
void Parameters<T>::initialise(uint64_t seed) {
  for (const auto& p : all_) {
    std::vector<double> drawn(p.value.size());
    draw(drawn, p.law, seed, place(p.copy_of.empty() ? p.name : p.copy_of));
    if (p.law.softmax) take_softmax(drawn, p.cols);
    const std::vector<T> cast(drawn.begin(), drawn.end());
    ops_.upload(p.value.at, cast.data(), cast.size() * sizeof(T));
  }
}

template <class T>
size_t Parameters<T>::place(const std::string& name) const {
  for (size_t k = 0; k < all_.size(); ++k)
    if (all_[k].name == name) return k;
  throw Error("the model has no parameter " + name);
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace bm3
