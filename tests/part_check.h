#pragma once
// Gradients of each part of the models alone, against finite differences. A part with a matrix as
// its output is followed by the loss sum g . output with random numbers g, whose gradient is g.
#include <map>
#include <string>

#include "finite_difference.h"
#include "layers/graph.h"
#include "layers/pair_loss.h"
#include "random_pairs.h"

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

/// Interactions that leave the last user and the last item isolated.
inline std::vector<Interaction> random_train(Random& random, size_t users, size_t items, size_t n) {
  std::vector<Interaction> train(n);
  for (auto& x : train) x = {random.below(users - 1), random.below(items - 1)};
  return train;
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
    ops.linear_forward(y.matrix(n, out), on_x.matrix(height, in), on_rows.rows(),
                       on_W.matrix(in, out), on_b.matrix(1, out));
    return dot(g, y.host());
  };
  Array<double> d_x(ops, n * in), d_W(ops, in * out), d_b(ops, out);
  const Array<double> on_x(ops, x), on_W(ops, W), d_y(ops, g);
  ops.linear_backward(d_x.matrix(n, in), d_W.matrix(in, out), d_b.matrix(1, out),
                      d_y.matrix(n, out), on_x.matrix(height, in), on_rows.rows(),
                      on_W.matrix(in, out));
  return {{"linear.d_x", check_gradient(summed_by_row(d_x.host(), rows, height, in), x,
                                        [&](const auto& at) { return loss(at, W, b); })},
          {"linear.d_W", check_gradient(d_W.host(), W,
                                        [&](const auto& at) { return loss(x, at, b); })},
          {"linear.d_b", check_gradient(d_b.host(), b,
                                        [&](const auto& at) { return loss(x, W, at); })}};
}

/// H = P E [Eq. 3, 4], of which a batch's rows are gathered; backward, scattered.
inline Agreements check_lightgcn(Ops<double>& ops, size_t n_layers, double residual,
                                 uint64_t seed) {
  Random random(seed);
  const auto users = static_cast<size_t>(3 + random.below(5));
  const auto items = static_cast<size_t>(3 + random.below(6));
  const auto d = static_cast<size_t>(2 + random.below(5));
  const size_t nodes = users + items, n = nodes - 1;
  std::vector<int32_t> in_batch = random.permutation(nodes);
  in_batch.resize(n);
  in_batch[1] = -1;
  const auto graph =
      make_graph<double>(ops, users, items, random_train(random, users, items, nodes));
  const Array<int32_t> rows(ops, in_batch);
  const auto E = random.numbers<double>(nodes * d), g = random.numbers<double>(n * d);
  Array<double> H(ops, nodes * d), other(ops, nodes * d), z(ops, n * d), d_E(ops, nodes * d);
  const auto loss = [&](const auto& at) {
    const Array<double> on_E(ops, at);
    lightgcn_forward(ops, H.matrix(nodes, d), other.matrix(nodes, d), on_E.matrix(nodes, d), graph,
                     n_layers, residual);
    ops.gather_rows(z.matrix(n, d), H.matrix(nodes, d), rows.rows());
    return dot(g, z.host());
  };
  const Array<double> d_z(ops, g);
  Array<double> d_H(ops, nodes * d);
  ops.scatter_add_rows(d_H.matrix(nodes, d), d_z.matrix(n, d), rows.rows());
  lightgcn_backward(ops, d_E.matrix(nodes, d), other.matrix(nodes, d), d_H.matrix(nodes, d), graph,
                    n_layers, residual);
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
    ops.gather_rows(z.matrix(n, d), on_x.matrix(height, d), rows.rows());
    return dot(g, z.host()) + dot(at, at) / 2;
  };
  const Array<double> d_z(ops, g);
  Array<double> d_x(ops, x);
  ops.scatter_add_rows(d_x.matrix(height, d), d_z.matrix(n, d), rows.rows());
  return {{"rows.d_x", check_gradient(d_x.host(), x, loss)}};
}

/// The cosine loss with respect to a; b, a view and the target, is frozen. [Eq. 5, 8]
inline Agreements check_cosine(Ops<double>& ops, size_t n, size_t targets, size_t d,
                               uint64_t seed) {
  Random random(seed);
  const RandomPairs pairs(ops, random, n, targets);
  const size_t height = std::max(n, targets);
  const Array<double> h(ops, random.numbers<double>(height * d));
  const Array<uint8_t> mask(ops, random.mask(h.size()));
  const View<double> b{h.matrix(height, d), mask.data(), 1.6};
  const auto a = random.numbers<double>(n * d);
  const double mean = 0.7, weight = 1.3;
  Agreements result;
  for (bool own : {false, true}) {
    Array<double> d_a;
    const auto loss = [&](const auto& at) {
      const Array<double> on_a(ops, at);
      Array<double> sum(ops, 1);
      d_a = Array<double>(ops, n * d);
      ops.cosine_loss(sum.data(), d_a.matrix(n, d), on_a.matrix(n, d), b,
                      own ? pairs.own() : pairs.pairs(), mean, weight);
      return weight * sum.host()[0];
    };
    loss(a);
    const std::vector<double> gradient = d_a.host();
    result[own ? "cosine.d_a, own rows" : "cosine.d_a"] = check_gradient(gradient, a, loss);
  }
  return result;
}

/// |x|_F of the two halves of a table. [Eq. 12]
inline Agreements check_norm(Ops<double>& ops, size_t n, size_t d, uint64_t seed) {
  Random random(seed);
  const auto x = random.numbers<double>(2 * n * d);
  Array<double> norms(ops, 2), d_x(ops, x.size());
  const auto loss = [&](const auto& at) {
    const Array<double> on_x(ops, at);
    Array<double> sum(ops, 1);
    for (size_t half : {0, 1})
      ops.norm_forward(sum.data(), norms.data() + half, on_x.matrix(2 * n, d).slice(half * n, n),
                       0.9);
    return sum.host()[0];
  };
  loss(x);
  const Array<double> on_x(ops, x);
  for (size_t half : {0, 1})
    ops.norm_backward(d_x.matrix(2 * n, d).slice(half * n, n), norms.data() + half,
                      on_x.matrix(2 * n, d).slice(half * n, n), 0.9);
  return {{"norm.d_x", check_gradient(d_x.host(), x, loss)}};
}

/// A loss of a batch's rows f with respect to its users' and its items': `backward` follows
/// `forward`, whose sum counts `weight` times.
template <class Forward, class Backward>
Agreements check_batch(Ops<double>& ops, const Batch& batch, const std::vector<double>& f, size_t d,
                       const std::string& name, const std::string& form, double weight,
                       const Forward& forward, const Backward& backward) {
  Array<double> d_f(ops, f.size()), on_f(ops, f);
  const auto loss = [&](const auto& at) {
    Array<double> on_at(ops, at), sum(ops, 1);
    forward(sum.data(), blocks(d_f, batch, 0, d), blocks(on_at, batch, 0, d));
    return weight * sum.host()[0];
  };
  loss(f);
  backward(blocks(d_f, batch, 0, d), blocks(on_f, batch, 0, d));
  const std::vector<double> gradient = d_f.host(), differences = central_differences(f, loss);
  const auto users = static_cast<std::ptrdiff_t>(batch.users.n * d);
  const auto of = [&](const std::vector<double>& all, bool user) {
    return std::vector<double>(user ? all.begin() : all.begin() + users,
                               user ? all.begin() + users : all.end());
  };
  Agreements result;
  for (bool user : {true, false})
    result[name + (user ? ".d_u" : ".d_i") + form] =
        compare(of(gradient, user), of(differences, user), gradient_floor);
  return result;
}

/// BPR's loss and its regulariser, in both forms, on a batch in which a user, an item and a whole
/// pair occur twice, and an item is positive and negative, in two triples and in one.
inline Agreements check_triples(Ops<double>& ops, size_t users, size_t items, size_t d,
                                uint64_t seed) {
  Random random(seed);
  std::vector<Interaction> pairs = {{0, 0}, {0, 1}, {1, 0}, {0, 0}};
  std::vector<int32_t> negatives = {1, 0, 2, 0};
  for (int32_t k = random.below(6); k > 0; --k) {
    const std::vector<int32_t> two = random.permutation(items);
    pairs.push_back({random.below(users), two[0]});
    negatives.push_back(two[1]);
  }
  BatchLoader loader(ops, users, items, pairs.size(), true);
  const Batch batch = loader.load(pairs.data(), negatives.data(), pairs.size());
  const auto f = random.numbers<double>((batch.users.n + batch.items.n) * d, 2);
  const double lambda = 0.9;
  Agreements result;
  for (bool other : {false, true}) {
    PairLoss<double> layer(ops, other ? PairForm::epsilon : PairForm::plain,
                           other ? RegForm::squared : RegForm::norm, pairs.size());
    result.merge(check_batch(
        ops, batch, f, d, "pair", other ? ", epsilon" : "", 1,
        [&](double* sum, auto d_f, auto at) { layer.forward(sum, d_f, at, batch); },
        [&](auto d_f, auto at) { layer.backward(d_f, at, batch); }));
    result.merge(check_batch(
        ops, batch, f, d, "penalty", other ? ", squared" : "", lambda,
        [&](double* sum, auto d_f, auto at) {
          ops.zero(d_f.all.at, d_f.all.size() * sizeof(double));
          layer.reg_forward(sum, at, batch);
        },
        [&](auto d_f, auto at) { layer.reg_backward(d_f, at, batch, lambda); }));
  }
  return result;
}

/// Every part once, in small.
inline Agreements check_parts(Ops<double>& ops, uint64_t seed) {
  Agreements all;
  for (Agreements part : {check_linear(ops, 6, 4, 3, seed), check_lightgcn(ops, 2, 1, seed),
                          check_rows(ops, 5, 3, seed), check_cosine(ops, 6, 4, 5, seed),
                          check_norm(ops, 3, 4, seed), check_triples(ops, 4, 5, 3, seed)})
    all.merge(part);
  return all;
}

}  // namespace bm3::test
