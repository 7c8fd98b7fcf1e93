#pragma once
// Operations that keep count of time and work, around those of a device: for the benchmark.
#include <map>

#include "error.h"
#include "ops/ops.h"

namespace bm3 {

/// What the calls of a stage took and what they had to do at least: FLOPs, and bytes when every
/// operand is moved once. A stage is a name of an operation, with its shape where that tells its
/// uses apart.
struct Stage {
  size_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;
};
using Stages = std::map<std::string, Stage>;

class MeasuredOps final : public Ops<float> {
  using T = float;

 public:
  explicit MeasuredOps(std::unique_ptr<Ops<float>> ops) : ops_(std::move(ops)) {}
  /// Counting, each operation waits for the device, and `replay` does its work anew. Otherwise the
  /// device's operations are called as they are; unless they `record`, `replay` does its work anew.
  void count(bool counting, bool record = true) {
    counting_ = counting;
    record_ = record;
  }
  /// What was counted since the last call.
  Stages take() { return std::exchange(stages_, {}); }

  std::string name() const override { return ops_->name(); }
  void* allocate(size_t bytes) override { return ops_->allocate(bytes); }
  void* allocate_table(size_t bytes) override { return ops_->allocate_table(bytes); }
  void release(void* memory) noexcept override { ops_->release(memory); }
  size_t allocated() const override { return ops_->allocated(); }
  void zero(void* dst, size_t bytes) override {
    measure("zero", 0, dbl(bytes), [&] { ops_->zero(dst, bytes); });
  }
  void upload(void* dst, const void* src, size_t bytes) override {
    measure("upload", 0, 2 * dbl(bytes), [&] { ops_->upload(dst, src, bytes); });
  }
  void download(void* dst, const void* src, size_t bytes) override {
    measure("download", 0, 2 * dbl(bytes), [&] { ops_->download(dst, src, bytes); });
  }
  void synchronize() override { ops_->synchronize(); }
  double seconds_of(const std::function<void()>& work) override { return ops_->seconds_of(work); }
  void replay(uint64_t key, const std::function<void()>& work) override {
    record_ && !counting_ ? ops_->replay(key, work) : work();
  }
  size_t row_padding() const override { return ops_->row_padding(); }
  bool copies_rows() const override { return ops_->copies_rows(); }
  bool fetches_ahead() const override { return ops_->fetches_ahead(); }
  void beside(size_t slot, const std::function<void()>& work) override {
    counting_ ? work() : ops_->beside(slot, work);
  }
  void join(size_t slot) override {
    if (!counting_) ops_->join(slot);
  }

  void linear_forward(T* y, const T* x, const int32_t* rows, const T* W, const T* b, size_t n,
                      size_t in, size_t out) override {
    measure("linear " + shape(in, out) + " forward", 2 * dbl(n) * dbl(in * out),
            4 * (dbl(n) * dbl(in + out) + dbl((in + 1) * out)),
            [&] { ops_->linear_forward(y, x, rows, W, b, n, in, out); });
  }
  void linear_backward(T* d_x, T* d_W, T* d_b, const T* d_y, const T* x, const int32_t* rows,
                       const T* W, size_t n, size_t in, size_t out) override {
    const double products = d_x ? 2 : 1;  // x and d_W, and with d_x also W
    measure("linear " + shape(in, out) + " backward",
            products * 2 * dbl(n) * dbl(in * out) + dbl(n * out),
            4 * (dbl(n) * (products * dbl(in) + dbl(out)) + products * dbl(in * out) + dbl(out)),
            [&] { ops_->linear_backward(d_x, d_W, d_b, d_y, x, rows, W, n, in, out); });
  }
  void propagate(T* y, const T* x, const T* z, T a, T b_user, T b_item, const Graph<T>& graph,
                 size_t d) override {
    const double nodes = dbl(graph.scale.size());
    const double edges = a != T(0) ? dbl(graph.neighbour.size()) : 0;
    const double matrices = a != T(0) && x != z ? 3 : 2;
    measure("propagation [Eq. 3, 4]", (2 * edges + 3 * nodes) * dbl(d),
            4 * edges + nodes * (8 + 4 + 4 * matrices * dbl(d)),
            [&] { ops_->propagate(y, x, z, a, b_user, b_item, graph, d); });
  }
  void gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override {
    measure("gather rows of " + std::to_string(d), 0, 8 * dbl(n * d) + 4 * dbl(n),
            [&] { ops_->gather_rows(y, x, rows, n, d); });
  }
  void scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override {
    measure("scatter-add rows of " + std::to_string(d), dbl(n * d), 12 * dbl(n * d) + 4 * dbl(n),
            [&] { ops_->scatter_add_rows(y, x, rows, n, d); });
  }
  void scatter_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override {
    measure("scatter rows of " + std::to_string(d), 0, 8 * dbl(n * d) + 4 * dbl(n),
            [&] { ops_->scatter_rows(y, x, rows, n, d); });
  }
  void draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p, uint64_t seed,
                 uint32_t stream, const uint32_t* step) override {
    // Philox is integer arithmetic: for 4 entries 10 rounds of 2 wide products, each worth two
    // instructions of a lane, and 4 exclusive ors; in such an instruction's time a lane can do the
    // 2 FLOPs of a multiply-add.
    measure("masks [Eq. 5]", 2 * 10 * (2 * 2 + 4) / 4.0 * dbl(n * d), dbl(n * d) + 4 * dbl(n),
            [&] { ops_->draw_mask(mask, rows, n, d, p, seed, stream, step); });
  }
  void cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b, const Pairs& pairs,
                   double scale, size_t d) override {
    // At least one pair a row and as many distinct targets: the view, a.a, a.b, b.b and d_a.
    const double rows = dbl(pairs.n * d);
    measure("views and losses [Eq. 5, 8-11]", (d_a ? 11 : 7) * rows, (d_a ? 17 : 9) * rows,
            [&] { ops_->cosine_loss(loss, d_a, a, b, pairs, scale, d); });
  }
  void squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                       size_t d) override {
    measure("regulariser [Eq. 12]", 2 * dbl(pairs.n * d), 4 * dbl(pairs.n * d),
            [&] { ops_->squared_forward(loss, x, pairs, scale, d); });
  }
  void squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) override {
    measure("regulariser [Eq. 12]", 2 * dbl(pairs.n * d), 12 * dbl(pairs.n * d),
            [&] { ops_->squared_backward(d_x, x, pairs, scale, d); });
  }
  void norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) override {
    measure("regulariser [Eq. 12]", 2 * dbl(n), 4 * dbl(n),
            [&] { ops_->norm_forward(loss, norm, x, scale, n); });
  }
  void norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) override {
    measure("regulariser [Eq. 12]", dbl(n), 8 * dbl(n),
            [&] { ops_->norm_backward(d_x, norm, x, scale, n); });
  }
  void advance(uint32_t* step) override {
    measure("Adam", 0, 8, [&] { ops_->advance(step); });
  }
  void adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
            const AdamStep<T>* schedule, const uint32_t* step, size_t n) override {
    measure("Adam", 13 * dbl(n), 28 * dbl(n),
            [&] { ops_->adam(p, m, v, g, constants, schedule, step, n); });
  }
  void adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                   const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                   size_t d) override {
    // As if one step were due in each row; how many are depends on the rows.
    measure("Adam of features: replay", 13 * dbl(n * d), 24 * dbl(n * d),
            [&] { ops_->adam_replay(at, constants, schedule, step, lag, n, d); });
  }
  void adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                 const AdamStep<T>* schedule, const uint32_t* step, size_t n, size_t d) override {
    measure("Adam of features: step", 13 * dbl(n * d), 28 * dbl(n * d),
            [&] { ops_->adam_rows(at, g, constants, schedule, step, n, d); });
  }
  void top_k(int32_t* item, T* score, const T* h_u, const T* h_i, const int32_t* users,
             const Graph<T>& graph, size_t k, size_t n, size_t d) override {
    const double items = dbl(static_cast<size_t>(graph.n_items));
    measure("ranking [Eq. 13]", 2 * dbl(n * d) * items,
            4 * dbl(d) * (dbl(n) + items) + dbl(n) * (4 + 8 * dbl(k)) +
                2 * dbl(graph.neighbour.size()),  // the users' half of the lists
            [&] { ops_->top_k(item, score, h_u, h_i, users, graph, k, n, d); });
  }
  void metrics(double* sums, const int32_t* item, const Truth& truth, const double* ideal,
               size_t k) override {
    // Lists, rows and begins, and at least one item a user.
    measure("metrics [4.3]", dbl(truth.n * n_metrics), dbl(truth.n) * (4 * dbl(k) + 4 + 8 + 4),
            [&] { ops_->metrics(sums, item, truth, ideal, k); });
  }

 private:
  static double dbl(size_t n) { return static_cast<double>(n); }
  static std::string shape(size_t in, size_t out) {
    return std::to_string(in) + " x " + std::to_string(out);
  }
  void measure(const std::string& name, double flops, double bytes,
               const std::function<void()>& work) {
    if (!counting_) return work();
    Stage& stage = stages_[name];
    stage.seconds += ops_->seconds_of(work);
    ++stage.calls;
    stage.flops += flops;
    stage.bytes += bytes;
  }
  std::unique_ptr<Ops<float>> ops_;
  bool counting_ = true, record_ = true;
  Stages stages_;
};

}  // namespace bm3
