#pragma once
// Gradients of each part of the model alone, against finite differences. A part with a matrix as
// its output is followed by the loss sum g . output with random numbers g, whose gradient is g.
#include "model_check.h"

namespace bm3::test {

/// Relative errors by name, such as "linear.d_W".
using Agreements = std::map<std::string, Agreement>;

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

/// A plain scatter: rows of d numbers added to those of `to`, also where a row number occurs twice.
inline std::vector<double> summed_by_row(const std::vector<double>& of_rows,
                                         const std::vector<int32_t>& rows, size_t height,
                                         size_t d) {
  std::vector<double> to(height * d);
  for (size_t r = 0; r < rows.size(); ++r)
    for (size_t c = 0; c < d && rows[r] >= 0; ++c)
      to[static_cast<size_t>(rows[r]) * d + c] += of_rows[r * d + c];
  return to;
}

/// y = x[rows] W + b, with rows that repeat and padding. [Eq. 1, 6]
inline Agreements check_linear(Ops<double>& ops, size_t n, size_t in, size_t out, uint64_t seed) {
  Random random(seed);
  const size_t height = n + 1;
  const auto rows = random.padded_rows(n, height);
  const Array<int32_t> on_rows(ops, rows);
  const auto x = random.numbers<double>(height * in), W = random.numbers<double>(in * out);
  const auto b = random.numbers<double>(out), g = random.numbers<double>(n * out);
  const auto loss = [&](const auto& at_x, const auto& at_W, const auto& at_b) {
    Array<double> y(ops, n * out);
    const Array<double> on_x(ops, at_x), on_W(ops, at_W), on_b(ops, at_b);
    ops.linear_forward(y.data(), on_x.data(), on_rows.data(), on_W.data(), on_b.data(), n, in, out);
    return dot(g, y.host());
  };
  Array<double> d_x(ops, n * in), d_W(ops, in * out), d_b(ops, out);
  const Array<double> on_x(ops, x), on_W(ops, W), d_y(ops, g);
  ops.linear_backward(d_x.data(), d_W.data(), d_b.data(), d_y.data(), on_x.data(), on_rows.data(),
                      on_W.data(), n, in, out);
  return {{"linear.d_x", check_gradient(summed_by_row(d_x.host(), rows, height, in), x,
                                        [&](const auto& at) { return loss(at, W, b); })},
          {"linear.d_W", check_gradient(d_W.host(), W,
                                        [&](const auto& at) { return loss(x, at, b); })},
          {"linear.d_b", check_gradient(d_b.host(), b,
                                        [&](const auto& at) { return loss(x, W, at); })}};
}

/// H = P E [Eq. 3, 4], of which a batch's rows are gathered; backward, scattered. The graph leaves
/// a user and an item isolated.
inline Agreements check_lightgcn(Ops<double>& ops, size_t n_layers, uint64_t seed) {
  const ModelCase c = random_case(n_layers, 0, seed);
  Random random(seed + 1);
  const auto graph = make_graph<double>(ops, c.n_users, c.n_items, c.train);
  const auto nodes = static_cast<size_t>(graph.n_nodes());
  const size_t d = c.config.d, size = nodes * d, n = nodes - 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, nodes));
  const auto E = random.numbers<double>(size), g = random.numbers<double>(n * d);
  Array<double> H(ops, size), other(ops, size), z(ops, n * d), d_E(ops, size);
  const auto loss = [&](const auto& at) {
    const Array<double> on_E(ops, at);
    lightgcn_forward(ops, H.data(), other.data(), on_E.data(), graph, n_layers, d);
    ops.gather_rows(z.data(), H.data(), rows.data(), n, d);
    return dot(g, z.host());
  };
  const Array<double> d_z(ops, g);
  Array<double> d_H(ops, size);
  ops.scatter_add_rows(d_H.data(), d_z.data(), rows.data(), n, d);
  lightgcn_backward(ops, d_E.data(), other.data(), d_H.data(), graph, n_layers, d);
  return {{"lightgcn.d_E", check_gradient(d_E.host(), E, loss)}};
}

/// z = x[rows], on top of a gradient that x has already: L = g . z + |x|^2 / 2.
inline Agreements check_rows(Ops<double>& ops, size_t n, size_t d, uint64_t seed) {
  Random random(seed);
  const size_t height = n + n / 2 + 1;
  const Array<int32_t> rows(ops, random.distinct_rows(n, height));
  const auto x = random.numbers<double>(height * d), g = random.numbers<double>(n * d);
  const auto loss = [&](const auto& at) {
    const Array<double> on_x(ops, at);
    Array<double> z(ops, n * d);
    ops.gather_rows(z.data(), on_x.data(), rows.data(), n, d);
    return dot(g, z.host()) + dot(at, at) / 2;
  };
  const Array<double> d_z(ops, g);
  Array<double> d_x(ops, x);
  ops.scatter_add_rows(d_x.data(), d_z.data(), rows.data(), n, d);
  return {{"rows.d_x", check_gradient(d_x.host(), x, loss)}};
}

/// The cosine loss with respect to a; b, a view and the target, is frozen. [Eq. 5, 8]
inline Agreements check_cosine(Ops<double>& ops, size_t n, size_t targets, size_t d,
                               uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> begin = {0}, target;
  for (size_t r = 0; r < n; ++r) {
    for (int32_t k = random.below(4); k > 0; --k) target.push_back(random.below(targets));
    begin.push_back(static_cast<int32_t>(target.size()));
  }
  const Array<int32_t> on_begin(ops, begin), on_target(ops, target);
  const Array<double> h(ops, random.numbers<double>(std::max(n, targets) * d));
  const Array<uint8_t> mask(ops, random.mask(h.size()));
  const View<double> b{h.data(), mask.data(), 1.6};
  const auto a = random.numbers<double>(n * d);
  Agreements result;
  for (bool own : {false, true}) {
    const Pairs pairs{n, on_begin.data(), own ? nullptr : on_target.data()};
    Array<double> d_a(ops, n * d), unused(ops, 1);
    const Array<double> on_a(ops, a);
    ops.cosine_loss(unused.data(), d_a.data(), on_a.data(), b, pairs, 0.7, d);
    const auto loss = [&](const auto& at) {
      const Array<double> on_at(ops, at);
      Array<double> sum(ops, 1);
      ops.cosine_loss(sum.data(), nullptr, on_at.data(), b, pairs, 0.7, d);
      return sum.host()[0];
    };
    result[own ? "cosine.d_a, own rows" : "cosine.d_a"] = check_gradient(d_a.host(), a, loss);
  }
  return result;
}

/// Both forms of the regulariser with respect to H and z, its batch's rows. [Eq. 12]
inline Agreements check_regulariser(Ops<double>& ops, uint64_t seed) {
  const ModelCase c = random_case(0, 0, seed);
  Random random(seed + 1);
  const auto graph = make_graph<double>(ops, c.n_users, c.n_items, c.train);
  BatchLoader loader(ops, c.n_users, c.n_items, c.batch.size());
  const Batch batch = loader.load(c.batch.data(), c.batch.size());
  const size_t d = c.config.d, nodes = static_cast<size_t>(graph.n_nodes());
  const auto H = random.numbers<double>(nodes * d);
  const auto z = random.numbers<double>((batch.n_users + batch.n_items) * d);
  const double lambda = 0.9;
  Agreements result;
  for (RegForm form : {RegForm::norm, RegForm::squared}) {
    Array<double> sum(ops, 1), norms(ops, 2), d_H(ops, H.size()), d_z(ops, z.size());
    const auto loss = [&](const auto& at_H, const auto& at_z) {
      const Array<double> on_H(ops, at_H), on_z(ops, at_z);
      ops.zero(sum.data(), sizeof(double));
      regulariser_forward(ops, sum.data(), norms.data(), on_H.data(), on_z.data(), form, lambda,
                          graph, batch, d);
      return sum.host()[0];
    };
    loss(H, z);
    const Array<double> on_H(ops, H), on_z(ops, z);
    regulariser_backward(ops, d_H.data(), d_z.data(), norms.data(), on_H.data(), on_z.data(), form,
                         lambda, graph, batch, d);
    const std::string name = form == RegForm::norm ? "norm." : "squared.";
    result[name + "d_H"] =
        check_gradient(d_H.host(), H, [&](const auto& at) { return loss(at, z); });
    result[name + "d_z"] =
        check_gradient(d_z.host(), z, [&](const auto& at) { return loss(H, at); });
  }
  return result;
}

/// Every part once, in small.
inline Agreements check_parts(Ops<double>& ops, uint64_t seed) {
  Agreements all;
  for (const Agreements& part :
       {check_linear(ops, 6, 4, 3, seed), check_lightgcn(ops, 2, seed), check_rows(ops, 5, 3, seed),
        check_cosine(ops, 6, 4, 5, seed), check_regulariser(ops, seed)})
    all.insert(part.begin(), part.end());
  return all;
}

}  // namespace bm3::test
