#pragma once
// The check of one part's backward pass, alone, against finite differences in double precision.
#include <map>

#include "finite_difference.h"
#include "ops/ops.h"
#include "random_inputs.h"

namespace bm3::test {

/// Relative errors by name, such as "linear.d_W".
using Agreements = std::map<std::string, Agreement>;
/// Checks a part, with random sizes. One with a matrix as its output is followed by the loss
/// sum g . output with random numbers g, whose gradient is g.
using Check = Agreements (*)(Ops<double>& ops, Random& random);
using Vector = std::vector<double>;

inline double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

/// Names of gradients with the sizes of their variables, which follow each other in memory.
using Variables = std::vector<std::pair<std::string, size_t>>;

/// At random numbers up to `scale`: what backward(variables, gradient) adds to a zero gradient,
/// against the central differences of forward(variables).
template <class Forward, class Backward>
Agreements check_part(Ops<double>& ops, Random& random, double scale, const Variables& variables,
                      const Forward& forward, const Backward& backward) {
  size_t n = 0;
  for (const auto& [name, size] : variables) n += size;
  const Vector x = random.numbers<double>(n, scale);
  Array<double> on_x(ops, x), d_x(ops, n);
  backward(on_x.data(), d_x.data());
  const Vector gradient = d_x.host(), differences = central_differences(x, [&](const Vector& at) {
    on_x.upload(at);
    return forward(on_x.data());
  });
  Agreements result;
  auto begin = std::ptrdiff_t{0};
  for (const auto& [name, size] : variables) {
    const auto end = begin + static_cast<std::ptrdiff_t>(size);
    const auto part = [&](const Vector& all) {
      return Vector(all.begin() + begin, all.begin() + end);
    };
    result[name] = compare(part(gradient), part(differences), gradient_floor);
    begin = end;
  }
  return result;
}

}  // namespace bm3::test
