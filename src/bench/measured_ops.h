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

class MeasuredOps final : public Ops<float> {
  using T = float;
  using Out = Matrix<T>;
  using In = ConstMatrix<T>;

 public:
  MeasuredOps(std::unique_ptr<Ops<T>> ops, const Rates& rates)
      : ops_(std::move(ops)), rates_(rates) {}
  /// Counting, each operation waits for the device, `replay` does its work anew, and `both` one
  /// piece after the other. Otherwise the device's operations are called as they are; unless they
  /// `record`, `replay` does its work anew.
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
  void zero(void* dst, size_t bytes) override {
    measure("zero", 0, bytes, [&] { ops_->zero(dst, bytes); });
  }
  void upload(void* dst, const void* src, size_t bytes) override {
    measure("upload", 0, 2 * bytes, [&] { ops_->upload(dst, src, bytes); });
  }
  void download(void* dst, const void* src, size_t bytes) override {
    measure("download", 0, 2 * bytes, [&] { ops_->download(dst, src, bytes); });
  }
  void synchronize() override { ops_->synchronize(); }
  double seconds_of(const std::function<void()>& work) override { return ops_->seconds_of(work); }
  void replay(uint64_t key, const std::function<void()>& work) override {
    record_ && !counting_ ? ops_->replay(key, work) : work();
  }
  void both(const std::function<void()>& f, const std::function<void()>& g) override {
    counting_ ? Device::both(f, g) : ops_->both(f, g);
  }
  size_t row_padding() const override { return ops_->row_padding(); }

  void linear_forward(Out y, In x, Rows rows, In W, In b) override {
    measure("linear " + shape(W) + " forward", 2 * y.rows * W.size(),
            4 * (y.rows * x.cols + y.size() + W.size() + b.size()),
            [&] { ops_->linear_forward(y, x, rows, W, b); });
  }
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
  void gather_rows(Out y, In x, Rows rows) override {
    measure("gather rows", 0, 8 * y.size() + index(rows), [&] { ops_->gather_rows(y, x, rows); });
  }
  void scatter_add_rows(Out y, In x, Rows rows) override {
    measure("scatter-add rows", x.size(), 12 * x.size() + index(rows),
            [&] { ops_->scatter_add_rows(y, x, rows); });
  }
  void copy_columns(Out y, size_t to, In x, size_t from, size_t n) override {
    measure("columns", 0, 8 * y.rows * n, [&] { ops_->copy_columns(y, to, x, from, n); });
  }
  void add(Out y, double b, In x, double a) override {
    measure("sums of matrices", 3 * y.size(), (b == 0 ? 8 : 12) * y.size(),
            [&] { ops_->add(y, b, x, a); });
  }
  void leaky_relu_forward(Out y, In x) override {
    measure("leaky ReLU", y.size(), 8 * y.size(), [&] { ops_->leaky_relu_forward(y, x); });
  }
  void leaky_relu_backward(Out d_x, In d_y, In y) override {
    measure("leaky ReLU", y.size(), 12 * y.size(), [&] { ops_->leaky_relu_backward(d_x, d_y, y); });
  }
  void normalise_forward(Out y, In x) override {
    measure("rows of length 1", 3 * y.size(), 8 * y.size(), [&] { ops_->normalise_forward(y, x); });
  }
  void normalise_backward(Out d_x, In d_y, In x) override {
    measure("rows of length 1", 7 * x.size(), 12 * x.size(),
            [&] { ops_->normalise_backward(d_x, d_y, x); });
  }
  void add_weighted(Out y, double b, In z, In w, In x, const Pairs& pairs, double scale) override {
    const Count has = counted(pairs);
    const size_t rows = y.at == z.at && b == 1 ? has.rows : y.rows;
    const bool reads_z = b != 0 && z.at != x.at;
    measure("weighted sums of rows", 2 * has.pairs * y.cols,
            4 * ((reads_z ? 2 : 1) * rows * y.cols + x.size() + pairs.n +
                 (pairs.edge ? 3 : 2) * has.pairs),
            [&] { ops_->add_weighted(y, b, z, w, x, pairs, scale); });
  }
  void edge_dot(Out w, In y, In x, const Pairs& pairs, double scale) override {
    const Count has = counted(pairs);
    measure("products of edges", 2 * has.pairs * y.cols,
            4 * (has.rows * y.cols + x.size() + pairs.n + 3 * has.pairs),
            [&] { ops_->edge_dot(w, y, x, pairs, scale); });
  }
  void edge_softmax_forward(Out alpha, In a, const Pairs& pairs) override {
    const Count has = counted(pairs);
    measure("softmax of edges", 4 * has.pairs, 4 * (pairs.n + 2 * has.pairs),
            [&] { ops_->edge_softmax_forward(alpha, a, pairs); });
  }
  void edge_softmax_backward(Out d_a, In d_alpha, In alpha, const Pairs& pairs) override {
    const Count has = counted(pairs);
    measure("softmax of edges", 4 * has.pairs, 4 * (pairs.n + 3 * has.pairs),
            [&] { ops_->edge_softmax_backward(d_a, d_alpha, alpha, pairs); });
  }
  void edge_weights_forward(Out w, Matrix<int32_t> chosen, In alpha, In c,
                            const Pairs& pairs) override {
    measure("weights of edges", 2 * alpha.size(),
            4 * (alpha.size() + c.size() + c.rows + 3 * w.rows),
            [&] { ops_->edge_weights_forward(w, chosen, alpha, c, pairs); });
  }
  void edge_weights_backward(Out d_alpha, Out d_c, In d_w, Matrix<const int32_t> chosen, In alpha,
                             In c, const Pairs& pairs) override {  // of alpha what was chosen
    measure("weights of edges", 3 * d_w.rows,
            4 * (alpha.size() + 2 * c.size() + c.rows + 4 * d_w.rows),
            [&] { ops_->edge_weights_backward(d_alpha, d_c, d_w, chosen, alpha, c, pairs); });
  }
  void draw_mask(Matrix<uint8_t> mask, Rows rows, double p, const DrawKey& key) override {
    measure("masks [Eq. 5]", philox_flops * mask.size(), mask.size() + index(rows),
            [&] { ops_->draw_mask(mask, rows, p, key); });
  }
  void drop_edges(Out y, In w, Matrix<const uint8_t> mask, const double* rate) override {
    measure("dropped edges", y.size(), 9 * y.size(), [&] { ops_->drop_edges(y, w, mask, rate); });
  }
  void draw_edges(Matrix<uint8_t> mask, double* rate, double ratio, const DrawKey& key) override {
    measure("dropped edges", philox_flops * mask.size(), mask.size(),
            [&] { ops_->draw_edges(mask, rate, ratio, key); });
  }
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
  void pair_loss(double* loss, Out x, Out c, Out d_u, In u, In i, const Triples& triples,
                 PairForm form, double mean, double weight) override {
    // i_p - i_n, its product with u and the sum into d_u; x, c and both items' rows by triple.
    measure("pair loss", 5 * x.rows * u.cols, 4 * (3 * u.size() + i.size() + u.rows + 4 * x.rows),
            [&] { ops_->pair_loss(loss, x, c, d_u, u, i, triples, form, mean, weight); });
  }
  void penalty_forward(double* loss, double* norm, In x, const Pairs& pairs, RegForm form,
                       double mean) override {
    const size_t entries = counted(pairs).rows * x.cols;
    measure("regulariser, forward", 2 * entries, 4 * (entries + pairs.n),
            [&] { ops_->penalty_forward(loss, norm, x, pairs, form, mean); });
  }
  void penalty_backward(Out d_x, const double* norm, In x, const Pairs& pairs, RegForm form,
                        double scale) override {
    const size_t entries = counted(pairs).rows * x.cols;
    measure("regulariser, backward", 2 * entries, 4 * (3 * entries + pairs.n),
            [&] { ops_->penalty_backward(d_x, norm, x, pairs, form, scale); });
  }
  void norm_forward(double* loss, double* norm, In x, double mean) override {
    measure("regulariser, forward", 2 * x.size(), 4 * x.size(),
            [&] { ops_->norm_forward(loss, norm, x, mean); });
  }
  void norm_backward(Out d_x, const double* norm, In x, double scale) override {
    measure("regulariser, backward", x.size(), 8 * x.size(),
            [&] { ops_->norm_backward(d_x, norm, x, scale); });
  }
  void advance(uint32_t* step) override {
    measure("Adam", 0, 8, [&] { ops_->advance(step); });
  }
  void adam(Out p, Out m, Out v, In g, const AdamTime<T>& time) override {
    measure("Adam", 13 * p.size(), 28 * p.size(), [&] { ops_->adam(p, m, v, g, time); });
  }
  void adam_replay(const AdamRows<T>& at, const AdamTime<T>& time, int lag) override {
    // Of each row that waits what is due, with gradients of 0; m, v and p move once.
    const Count waiting = due(at, time, lag);
    measure("Adam of features: replay", 8 * waiting.pairs * at.p.cols,
            24 * waiting.rows * at.p.cols + 4 * at.rows.n + index(at.rows),
            [&] { ops_->adam_replay(at, time, lag); });
  }
  void adam_rows(const AdamRows<T>& at, In g, const AdamTime<T>& time) override {
    measure("Adam of features: step", 13 * g.size(), 28 * g.size(),
            [&] { ops_->adam_rows(at, g, time); });
  }
  void top_k(Matrix<int32_t> item, In h_u, In h_i, Rows users, const Graph<T>& graph) override {
    const size_t entries = item.rows * h_u.cols;
    measure("ranking [Eq. 13]", 2 * entries * h_i.rows,
            4 * (entries + h_i.size() + item.size()) + index(users) +
                2 * graph.neighbour.size(),  // the users' half of the lists
            [&] { ops_->top_k(item, h_u, h_i, users, graph); });
  }
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

}  // namespace bm3
