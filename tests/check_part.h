#pragma once
// The check of one part's backward pass, alone, against finite differences in double precision.
#include <map>

#include "finite_difference.h"
#include "ops/ops.h"
#include "random_inputs.h"

namespace bm3::test {

/// Relative errors by name, such as "linear.d_W".
using Agreements = std::map<std::string, Agreement>;
/// Names of gradients with the sizes of their variables, which follow each other in memory.
using Variables = std::vector<std::pair<std::string, size_t>>;

/// At random numbers up to `scale`: what backward(variables, gradient) adds to a zero gradient,
/// against the central differences of forward(variables).
template <class Forward, class Backward>
Agreements check_loss(Ops<double>& ops, Random& random, double scale, const Variables& variables,
                      const Forward& forward, const Backward& backward) {
  size_t n = 0;
  for (const auto& [name, size] : variables) n += size;
  const auto x = random.numbers<double>(n, scale);
  Array<double> on_x(ops, x), d_x(ops, n);
  backward(on_x.data(), d_x.data());
  const auto gradient = d_x.host();
  const auto differences = central_differences(x, [&](const std::vector<double>& at) {
    on_x.upload(at);
    return forward(on_x.data());
  });
  Agreements result;
  auto begin = std::ptrdiff_t{0};
  for (const auto& [name, size] : variables) {
    const auto end = begin + static_cast<std::ptrdiff_t>(size);
    const auto part = [&](const std::vector<double>& all) {
      return std::vector<double>(all.begin() + begin, all.begin() + end);
    };
    result[name] = compare(part(gradient), part(differences), gradient_floor);
    begin = end;
  }
  return result;
}

/// The same for a part with an output y [n, d], zero before forward(y, variables): the loss is
/// sum g . y with random numbers g, which are what backward(variables, gradient, g, y) has as d_y.
template <class Forward, class Backward>
Agreements check_output(Ops<double>& ops, Random& random, size_t n, size_t d,
                        const Variables& variables, const Forward& forward,
                        const Backward& backward) {
  const auto g = random.numbers<double>(n * d);
  const Array<double> d_y(ops, g);
  Array<double> memory(ops, n * d);
  const Matrix<double> y = memory.matrix(n, d);
  const auto loss = [&](double* x) {
    ops.zero(y.at, y.size() * sizeof(double));
    forward(y, x);
    const auto out = memory.host();
    return std::inner_product(g.begin(), g.end(), out.begin(), 0.0);
  };
  return check_loss(ops, random, 1, variables, loss, [&](double* x, double* d_x) {
    loss(x);
    backward(x, d_x, d_y.matrix(n, d), y);
  });
}

}  // namespace bm3::test
