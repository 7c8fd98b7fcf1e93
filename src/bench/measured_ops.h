#pragma once
// Operations that keep count of what they do and how long it takes; models and training run over
// them as over any others.
#include <map>

#include "bench/rates.h"

namespace bm3 {

/// What an operation's calls took and what they had to do at least: FLOPs, bytes when every operand
/// is moved once, and the sum of the calls' floors. A stage is a name of an operation, with its
/// shape where that tells its uses apart.
struct Stage {
  size_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0, floor = 0;
};
using Stages = std::map<std::string, Stage>;

/// An operation with its operands, their names, its stage, FLOPs and bytes.
#define BM3_STAGE(operation, operands, names, stage, flops, bytes) \
  void operation operands override {                               \
    measure(stage, flops, bytes, [&] { ops_->operation names; });  \
  }

class MeasuredOps final : public Ops<float> {
  using T = float;
  using Out = Matrix<T>;
  using In = ConstMatrix<T>;

 public:
  MeasuredOps(std::unique_ptr<Ops<T>> ops, const Rates& rates)
      : ops_(std::move(ops)), rates_(rates) {}
  /// Counting, each operation waits for the device, and `replay` does its work anew. Otherwise the
  /// device's operations are called as they are; unless they `record`, `replay` does its work anew.
  void count(bool counting, bool record = true) {
    counting_ = counting;
    record_ = record;
  }
  /// Returns what was counted since the last call.
  Stages take() { return std::exchange(stages_, {}); }

  std::string name() const override { return ops_->name(); }
  void* allocate(size_t bytes) override { return ops_->allocate(bytes); }
  void release(void* memory) noexcept override { ops_->release(memory); }
  size_t allocated() const override { return ops_->allocated(); }
  size_t most_allocated() const override { return ops_->most_allocated(); }
  BM3_STAGE(zero, (void* dst, size_t bytes), (dst, bytes), "zero", 0, bytes)
  BM3_STAGE(upload, (void* dst, const void* src, size_t bytes), (dst, src, bytes), "upload", 0,
            2 * bytes)
  BM3_STAGE(download, (void* dst, const void* src, size_t bytes), (dst, src, bytes), "download", 0,
            2 * bytes)
  void synchronize() override { ops_->synchronize(); }
  double seconds_of(const std::function<void()>& work) override { return ops_->seconds_of(work); }
  void replay(uint64_t key, const std::function<void()>& work) override {
    record_ && !counting_ ? ops_->replay(key, work) : work();
  }
  size_t row_padding() const override { return ops_->row_padding(); }

  BM3_STAGE(linear_forward, (Out y, In x, Rows rows, In W, In b), (y, x, rows, W, b),
            "linear " + shape(W) + " forward", 2 * y.rows * W.size(),
            4 * (y.rows * x.cols + y.size() + W.size() + b.size()))
  void linear_backward(Out d_x, Out d_W, Out d_b, In d_y, In x, Rows rows, In W) override {
    const size_t products = (d_x.at ? 1 : 0) + (d_W.at ? 1 : 0), n = d_y.rows;
    measure("linear " + shape(W) + " backward", products * 2 * n * W.size() + d_y.size(),
            4 * (products * (n * x.cols + W.size()) + d_y.size() + d_b.size()),
            [&] { ops_->linear_backward(d_x, d_W, d_b, d_y, x, rows, W); });
  }
  void propagate(Out y, In x, In z, T a, T b_user, T b_item, const Graph<T>& graph) override {
    const bool reads_x = a != T(0), reads_z = b_user != T(0) || b_item != T(0);
    const size_t edges = reads_x ? graph.neighbour.size() : 0;
    const size_t matrices = 1 + (reads_x ? 1 : 0) + (reads_z && !(reads_x && x.at == z.at) ? 1 : 0);
    measure("propagation [Eq. 3, 4]", 2 * edges * y.cols + 3 * y.size(),
            4 * edges + (8 + 4) * y.rows + 4 * matrices * y.size(),
            [&] { ops_->propagate(y, x, z, a, b_user, b_item, graph); });
  }
  BM3_STAGE(gather_rows, (Out y, In x, Rows rows), (y, x, rows), "gather rows", 0,
            8 * y.size() + index(rows))
  BM3_STAGE(scatter_add_rows, (Out y, In x, Rows rows), (y, x, rows), "scatter-add rows", x.size(),
            12 * x.size() + index(rows))
  BM3_STAGE(copy_columns, (Out y, size_t to, In x, size_t from, size_t n), (y, to, x, from, n),
            "columns", 0, 8 * y.rows * n)
  BM3_STAGE(add, (Out y, double b, In x, double a), (y, b, x, a), "sums of matrices", 3 * y.size(),
            (b == 0 ? 8 : 12) * y.size())
  BM3_STAGE(leaky_relu_forward, (Out y, In x), (y, x), "leaky ReLU", y.size(), 8 * y.size())
  BM3_STAGE(leaky_relu_backward, (Out d_x, In d_y, In y), (d_x, d_y, y), "leaky ReLU", y.size(),
            12 * y.size())
  BM3_STAGE(normalise_forward, (Out y, In x), (y, x), "rows of length 1", 3 * y.size(),
            8 * y.size())
  BM3_STAGE(normalise_backward, (Out d_x, In d_y, In x), (d_x, d_y, x), "rows of length 1",
            7 * x.size(), 12 * x.size())
  void add_weighted(Out y, double b, In z, In w, In x, const Pairs& pairs, double scale) override {
    const Count has = counted(pairs);
    const size_t rows = y.at == z.at && b == 1 ? has.rows : y.rows;
    const bool reads_z = b != 0 && z.at != x.at;
    measure("weighted sums of rows", 2 * has.pairs * y.cols,
            4 * ((reads_z ? 2 : 1) * rows * y.cols + x.size() + pairs.n +
                 (pairs.edge ? 3 : 2) * has.pairs),
            [&] { ops_->add_weighted(y, b, z, w, x, pairs, scale); });
  }
  BM3_STAGE(edge_dot, (Out w, In y, In x, const Pairs& pairs), (w, y, x, pairs),
            "products of edges", 2 * counted(pairs).pairs * y.cols,
            4 * (counted(pairs).rows * y.cols + x.size() + pairs.n + 3 * counted(pairs).pairs))
  BM3_STAGE(edge_softmax_forward, (Out alpha, In a, const Pairs& pairs), (alpha, a, pairs),
            "softmax of edges", 4 * counted(pairs).pairs, 4 * (pairs.n + 2 * counted(pairs).pairs))
  BM3_STAGE(edge_softmax_backward, (Out d_a, In d_alpha, In alpha, const Pairs& pairs),
            (d_a, d_alpha, alpha, pairs), "softmax of edges", 4 * counted(pairs).pairs,
            4 * (pairs.n + 3 * counted(pairs).pairs))
  BM3_STAGE(edge_weights_forward,
            (Out w, Matrix<int32_t> chosen, In alpha, In c, const Pairs& pairs),
            (w, chosen, alpha, c, pairs), "weights of edges", 2 * alpha.size(),
            4 * (alpha.size() + c.size() + c.rows + 3 * w.rows))
  BM3_STAGE(edge_weights_backward,  // of alpha what was chosen
            (Out d_alpha, Out d_c, In d_w, Matrix<const int32_t> chosen, In alpha, In c,
             const Pairs& pairs),
            (d_alpha, d_c, d_w, chosen, alpha, c, pairs), "weights of edges", 3 * d_w.rows,
            4 * (alpha.size() + 2 * c.size() + c.rows + 4 * d_w.rows))
  BM3_STAGE(draw_mask, (Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key),
            (mask, rows, p, key), "masks [Eq. 5]", philox_flops * mask.size(),
            mask.size() + index(rows))
  BM3_STAGE(drop_edges, (Out y, In w, Matrix<const uint8_t> mask, const double* rate),
            (y, w, mask, rate), "dropped edges", y.size(), 9 * y.size())
  BM3_STAGE(draw_edges, (Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key),
            (mask, rate, ratio, key), "dropped edges", philox_flops * mask.size(), mask.size())
  void cosine_loss(double* loss, Out d_a, In a, const View<T>& b, const Pairs& pairs, double mean,
                   double weight) override {
    // a.a once a row; the view, a.b, b.b and d_a for each pair, or for a row whose pairs are alike.
    const Count has = counted(pairs);
    const size_t views = pairs.target ? has.pairs : has.rows;
    const size_t targets = pairs.target ? b.h.rows : has.rows;
    measure("views and cosines [Eq. 5, 8]", (2 * has.rows + 9 * views) * a.cols,
            (12 * has.rows + 5 * targets) * a.cols + 4 * (pairs.n + (pairs.target ? views : 0)),
            [&] { ops_->cosine_loss(loss, d_a, a, b, pairs, mean, weight); });
  }
  // i_p - i_n, its product with u and the sum into d_u; x, c and both items' rows by triple.
  BM3_STAGE(pair_loss,
            (double* loss, Out x, Out c, Out d_u, In u, In i, const Triples& triples, PairForm form,
             double mean, double weight),
            (loss, x, c, d_u, u, i, triples, form, mean, weight), "pair loss", 5 * x.rows * u.cols,
            4 * (3 * u.size() + i.size() + u.rows + 4 * x.rows))
  BM3_STAGE(penalty_forward,
            (double* loss, double* norm, In x, const Pairs& pairs, RegForm form, double mean),
            (loss, norm, x, pairs, form, mean), "regulariser, forward",
            2 * counted(pairs).rows * x.cols, 4 * (counted(pairs).rows * x.cols + pairs.n))
  BM3_STAGE(penalty_backward,
            (Out d_x, const double* norm, In x, const Pairs& pairs, RegForm form, double scale),
            (d_x, norm, x, pairs, form, scale), "regulariser, backward",
            2 * counted(pairs).rows * x.cols, 4 * (3 * counted(pairs).rows * x.cols + pairs.n))
  BM3_STAGE(norm_forward, (double* loss, double* norm, In x, double mean), (loss, norm, x, mean),
            "regulariser, forward", 2 * x.size(), 4 * x.size())
  BM3_STAGE(norm_backward, (Out d_x, const double* norm, In x, double scale), (d_x, norm, x, scale),
            "regulariser, backward", x.size(), 8 * x.size())
  BM3_STAGE(adam, (Out p, Out m, Out v, In g, const AdamTime<T>& time), (p, m, v, g, time), "Adam",
            13 * p.size(), 28 * p.size())
  void adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) override {
    // Of each row that waits what is due, with gradients of 0; m, v and p move once.
    const Count waiting = due(at, time, lag);
    measure("Adam of features: replay", 8 * waiting.pairs * at.p.cols,
            24 * waiting.rows * at.p.cols + 4 * at.rows.n + index(at.rows),
            [&] { ops_->adam_replay(at, time, lag); });
  }
  BM3_STAGE(adam_rows, (const AdamRows<T>& at, In g, const AdamTime<T>& time), (at, g, time),
            "Adam of features: step", 13 * g.size(), 28 * g.size())
  BM3_STAGE(top_k,  // of the graph the users' half of the lists
            (Matrix<int32_t> item, In h_u, In h_i, Rows users, const Graph<T>& graph),
            (item, h_u, h_i, users, graph), "ranking [Eq. 13]", 2 * item.rows * h_u.cols * h_i.rows,
            4 * (item.rows * h_u.cols + h_i.size() + item.size()) + index(users) +
                2 * graph.neighbour.size())
  /// The last operation of an evaluation. What follows, the copy of a best epoch's vectors, is no
  /// part of it: counting ends.
  void metrics(double* sums, Matrix<const int32_t> item, const Truth& truth,
               const double* ideal) override {
    // Lists, rows and begins, and at least one item a user.
    measure("metrics [4.3]", truth.n * n_metrics, truth.n * (4 * item.cols + 4 + 8 + 4),
            [&] { ops_->metrics(sums, item, truth, ideal); });
    counting_ = false;
  }

 private:
  struct Count {
    size_t rows = 0, pairs = 0;
  };
  /// Of an entry that Philox draws, which is integer arithmetic: for 4 entries 10 rounds of 2 wide
  /// products, each worth two instructions of a lane, and 4 exclusive ors; in such an instruction's
  /// time a lane can do the 2 FLOPs of a multiply-add.
  static constexpr size_t philox_flops = 2 * 10 * (2 * 2 + 4) / 4;
  static size_t index(Rows rows) { return rows.at ? 4 * rows.n : 0; }
  static std::string shape(In W) { return std::to_string(W.rows) + " x " + std::to_string(W.cols); }
  /// Counts the rows that have pairs, and the pairs.
  Count counted(const Pairs& pairs) const {
    if (!counting_) return {};
    if (!pairs.begin) return {pairs.n, pairs.n};
    std::vector<int32_t> begin(pairs.n + 1);
    ops_->download(begin.data(), pairs.begin, begin.size() * sizeof(int32_t));
    Count out{0, static_cast<size_t>(begin.back() - begin.front())};
    for (size_t r = 0; r < pairs.n; ++r) out.rows += begin[r + 1] > begin[r] ? 1 : 0;
    return out;
  }
  /// Counts the rows that wait, and as their pairs the steps that are due.
  Count due(const AdamRows<T>& at, const AdamTime<T>& time, int lag) const {
    if (!counting_) return {};
    std::vector<uint32_t> last(at.p.rows);
    std::vector<int32_t> rows(at.rows.n);
    uint32_t step = 0;
    ops_->download(last.data(), at.last, last.size() * sizeof(uint32_t));
    ops_->download(&step, time.step, sizeof step);
    if (at.rows.at) ops_->download(rows.data(), at.rows.at, rows.size() * sizeof(int32_t));
    Count out;
    for (size_t k = 0; k < rows.size(); ++k) {
      const int64_t row = at.rows.at ? rows[k] : static_cast<int64_t>(k);
      if (row < 0 || last[static_cast<size_t>(row)] == 0) continue;
      const int64_t steps = int64_t{step} + lag - last[static_cast<size_t>(row)];
      if (steps <= 0) continue;
      ++out.rows;
      out.pairs += static_cast<size_t>(steps);
    }
    return out;
  }
  void measure(const std::string& name, size_t flops, size_t bytes,
               const std::function<void()>& work) {
    if (!counting_) return work();
    Stage& stage = stages_[name];
    const auto n_flops = static_cast<double>(flops), n_bytes = static_cast<double>(bytes);
    stage.seconds += ops_->seconds_of(work);
    ++stage.calls;
    stage.flops += n_flops;
    stage.bytes += n_bytes;
    stage.floor += rates_.floor(n_flops, n_bytes);
  }
  std::unique_ptr<Ops<T>> ops_;
  Rates rates_;
  bool counting_ = true, record_ = true;
  Stages stages_;
};

#undef BM3_STAGE

}  // namespace bm3
