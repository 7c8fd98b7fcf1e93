#pragma once
// Checks of the operations on columns, entries and edges of matrices (check_part.h).
#include "check_part.h"
#include "layers/sparse.h"

namespace bm3::test {

/// A device's copy of a gradient d_y, put there as a scatter leaves it.
inline Array<double> scattered(Ops<double>& ops, const Vector& g, size_t n, size_t d) {
  const Array<double> from(ops, g);
  Array<double> to(ops, n * d);
  ops.scatter_add_rows(to.matrix(n, d), from.matrix(n, d), {nullptr, n});
  return to;
}

/// y = x_1 W_1 + x_2 W_2
inline Agreements check_sum_of_layers(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 7, 33}), in = random.one_of({1, 3, 8});
  const size_t out = random.one_of({1, 2, 5});
  const Vector g = random.numbers<double>(n * out);
  const Array<double> d_y(ops, g);
  Array<double> y(ops, n * out);
  const auto input = [&](double* at, size_t k) { return Matrix<double>{at + k * n * in, n, in}; };
  const auto weight = [&](double* at, size_t k) {
    return Matrix<double>{at + (2 * n + k * out) * in, in, out};
  };
  return check_part(
      ops, random, 1, {{"linear.d_x, no bias", 2 * n * in}, {"linear.d_W, no bias", 2 * in * out}},
      [&](double* at) {
        ops.zero(y.data(), n * out * sizeof(double));
        for (size_t k : {0, 1})
          ops.linear_forward(y.matrix(n, out), input(at, k), {}, weight(at, k), {});
        return dot(g, y.host());
      },
      [&](double* at, double* d) {
        for (size_t k : {0, 1})
          ops.linear_backward(input(d, k), weight(d, k), {}, d_y.matrix(n, out), input(at, k), {},
                              weight(at, k));
      });
}

/// y = a (+) b
inline Agreements check_columns(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), of_a = random.one_of({1, 3}), of_b = of_a + 2;
  const Vector g = random.numbers<double>(n * (of_a + of_b));
  const Array<double> d_y = scattered(ops, g, n, of_a + of_b);
  Array<double> memory(ops, g.size());
  const Matrix<double> y = memory.matrix(n, of_a + of_b);
  const auto a = [&](double* at) { return Matrix<double>{at, n, of_a}; };
  const auto b = [&](double* at) { return Matrix<double>{at + n * of_a, n, of_b}; };
  return check_part(
      ops, random, 1, {{"columns.d_a", n * of_a}, {"columns.d_b", n * of_b}},
      [&](double* at) {
        ops.copy_columns(y, 0, a(at), 0, of_a);
        ops.copy_columns(y, of_a, b(at), 0, of_b);
        return dot(g, memory.host());
      },
      [&](double*, double* d) {
        const Matrix<const double> from = d_y.matrix(n, of_a + of_b);
        ops.copy_columns(a(d), 0, from, 0, of_a);
        ops.copy_columns(b(d), 0, from, of_a, of_b);
      });
}

/// y = 0.7 x_1 - 1.3 x_2
inline Agreements check_sum(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), d = random.one_of({1, 3, 8});
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_y = scattered(ops, g, n, d);
  Array<double> y(ops, n * d);
  const auto half = [&](double* at, size_t k) { return Matrix<double>{at + k * n * d, n, d}; };
  return check_part(
      ops, random, 1, {{"sum.d_x", 2 * n * d}},
      [&](double* x) {
        ops.add(y.matrix(n, d), 0, half(x, 0), 0.7);
        ops.add(y.matrix(n, d), 1, half(x, 1), -1.3);
        return dot(g, y.host());
      },
      [&](double*, double* d_x) {
        ops.zero(y.data(), n * d * sizeof(double));
        ops.scatter_add_rows(y.matrix(n, d), d_y.matrix(n, d), {nullptr, n});
        ops.add(half(d_x, 0), 0, y.matrix(n, d), 0.7);
        ops.add(half(d_x, 1), 0, y.matrix(n, d), -1.3);
      });
}

/// y = leaky ReLU of x +- 2, away from the kink.
inline Agreements check_leaky_relu(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), d = random.one_of({1, 3, 8});
  const Vector g = random.numbers<double>(n * d);
  Vector sides;
  for (size_t k = 0; k < n * d; ++k) sides.push_back(random.below(2) ? 2 : -2);
  const Array<double> d_y(ops, g), side(ops, sides);
  Array<double> memory(ops, n * d);
  const Matrix<double> y = memory.matrix(n, d);
  const auto forward = [&](double* x) {
    ops.add(y, 0, {x, n, d}, 1);
    ops.add(y, 1, side.matrix(n, d), 1);
    ops.leaky_relu_forward(y, y);
    return dot(g, memory.host());
  };
  return check_part(ops, random, 1, {{"leaky_relu.d_x", n * d}}, forward,
                    [&](double* x, double* d_x) {
                      forward(x);
                      ops.leaky_relu_backward({d_x, n, d}, d_y.matrix(n, d), y);
                    });
}

/// y = x / |x|; in fewer than three dimensions some row would be too short for finite differences.
inline Agreements check_normalise(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9, 20}), d = random.one_of({3, 5, 8});
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_y(ops, g);
  Array<double> y(ops, n * d);
  return check_part(
      ops, random, 1, {{"normalise.d_x", n * d}},
      [&](double* x) {
        ops.normalise_forward(y.matrix(n, d), {x, n, d});
        return dot(g, y.host());
      },
      [&](double* x, double* d_x) {
        ops.normalise_backward({d_x, n, d}, d_y.matrix(n, d), {x, n, d});
      });
}

/// The regulariser of a matrix, each row once, in both forms.
inline Agreements check_penalty(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 2, 9}), d = random.one_of({1, 3, 8});
  Array<double> norm(ops, 1);
  Agreements result;
  for (RegForm form : {RegForm::norm, RegForm::squared}) {
    const auto forward = [&](double* x) {
      Array<double> sum(ops, 1);
      ops.penalty_forward(sum.data(), norm.data(), {x, n, d}, {n}, form, 0.9);
      return sum.host()[0];
    };
    const std::string name = form == RegForm::norm ? "penalty.d_x" : "penalty.d_x, other form";
    result.merge(check_part(ops, random, 1, {{name, n * d}}, forward, [&](double* x, double* d_x) {
      forward(x);
      ops.penalty_backward({d_x, n, d}, norm.data(), {x, n, d}, {n}, form, 0.9);
    }));
  }
  return result;
}

/// S [n, m] with about half of its entries.
inline Sparse<double> random_sparse(Ops<double>& ops, Random& random, size_t n, size_t m) {
  std::vector<Entry> entries = {{0, 0}};
  for (int32_t k = 1; k < static_cast<int32_t>(n * m); ++k)
    if (const auto of_row = static_cast<int32_t>(m); random.below(2))
      entries.push_back({k / of_row, k % of_row});
  return make_sparse<double>(ops, n, m, std::move(entries));
}

/// y = S x; d_w by the columns' list of edges, which is the rows' in another order.
inline Agreements check_sparse(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({1, 4, 9}), m = random.one_of({2, 5}), d = random.one_of({1, 3});
  const Sparse<double> S = random_sparse(ops, random, n, m);
  const Vector g = random.numbers<double>(n * d);
  const Array<double> d_y(ops, g);
  Array<double> y(ops, n * d);
  const auto x = [&](double* at) { return Matrix<double>{at, m, d}; };
  const auto w = [&](double* at) { return Matrix<double>{at + m * d, S.size(), 1}; };
  return check_part(
      ops, random, 1, {{"sparse.d_x", m * d}, {"sparse.d_w", S.size()}},
      [&](double* at) {
        ops.zero(y.data(), n * d * sizeof(double));
        ops.add_weighted(y.matrix(n, d), w(at), x(at), S.rows(), 0.8);
        return dot(g, y.host());
      },
      [&](double* at, double* gradient) {
        ops.add_weighted(x(gradient), w(at), d_y.matrix(n, d), S.columns(), 0.8);
        ops.edge_dot(w(gradient), x(at), d_y.matrix(n, d), S.columns(), 0.8);
      });
}

/// alpha = softmax(a) over the edges of each column.
inline Agreements check_softmax(Ops<double>& ops, Random& random) {
  const size_t n = random.one_of({2, 4, 9}), m = random.one_of({2, 5});
  const Sparse<double> S = random_sparse(ops, random, n, m);
  const Vector g = random.numbers<double>(S.size());
  const Array<double> d_alpha(ops, g);
  Array<double> memory(ops, S.size());
  const Matrix<double> alpha = memory.matrix(S.size(), 1);
  const auto forward = [&](double* a) {
    ops.edge_softmax_forward(alpha, {a, S.size(), 1}, S.columns());
    return dot(g, memory.host());
  };
  return check_part(ops, random, 2, {{"softmax.d_a", S.size()}}, forward,
                    [&](double* a, double* d_a) {
                      forward(a);
                      ops.edge_softmax_backward({d_a, S.size(), 1}, d_alpha.matrix(S.size(), 1),
                                                alpha, S.columns());
                    });
}

}  // namespace bm3::test
