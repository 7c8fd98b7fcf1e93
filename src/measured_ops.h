#pragma once
// Operations that keep count of time and work, around those of a device: for the benchmark.
#include <chrono>
#include <map>

#include "error.h"
#include "ops/ops.h"

namespace bm3 {

template <class Work>
double timed(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What the calls of a stage took and what they had to do at least: FLOPs, and bytes when every
/// operand is moved once.
struct Stage {
  size_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;
};

class MeasuredOps final : public Ops<float> {
  using T = float;

 public:
  static constexpr const char* ranking = "ranking [Eq. 13]";

  explicit MeasuredOps(std::unique_ptr<Ops<float>> ops) : ops_(std::move(ops)) {}
  std::map<std::string, Stage>& stages() { return stages_; }

  std::string name() const override { return ops_->name(); }
  void* allocate(size_t bytes) override { return ops_->allocate(bytes); }
  void release(void* memory) noexcept override { ops_->release(memory); }
  void zero(void* dst, size_t bytes) override {
    count("zero", 0, dbl(bytes), [&] { ops_->zero(dst, bytes); });
  }
  void upload(void* dst, const void* src, size_t bytes) override {
    count("upload", 0, 2 * dbl(bytes), [&] { ops_->upload(dst, src, bytes); });
  }
  void download(void* dst, const void* src, size_t bytes) override {
    count("download", 0, 2 * dbl(bytes), [&] { ops_->download(dst, src, bytes); });
  }
  void synchronize() override { ops_->synchronize(); }
  void replay(uint64_t, const std::function<void()>& work) override { work(); }
  size_t row_padding() const override { return ops_->row_padding(); }
  bool copies_rows() const override { return ops_->copies_rows(); }

  void linear_forward(T* y, const T* x, const int32_t* rows, const T* W, const T* b, size_t n,
                      size_t in, size_t out) override {
    count(in != out ? "projection forward [Eq. 1]" : "predictor forward [Eq. 6]",
          2 * dbl(n) * dbl(in * out), 4 * (dbl(n) * dbl(in + out) + dbl(in * out)),
          [&] { ops_->linear_forward(y, x, rows, W, b, n, in, out); });
  }
  void linear_backward(T* d_x, T* d_W, T* d_b, const T* d_y, const T* x, const int32_t* rows,
                       const T* W, size_t n, size_t in, size_t out) override {
    const double products = d_x ? 2 : 1;
    count(in != out ? "projection backward" : "predictor backward",
          products * 2 * dbl(n) * dbl(in * out),
          4 * (dbl(n) * (products * dbl(in) + dbl(out)) + products * dbl(in * out)),
          [&] { ops_->linear_backward(d_x, d_W, d_b, d_y, x, rows, W, n, in, out); });
  }
  void propagate(T* y, const T* x, const T* z, T a, T b_user, T b_item, const Graph<T>& graph,
                 size_t d) override {
    const double edges = dbl(graph.neighbour.size()), nodes = dbl(graph.scale.size());
    count("propagation [Eq. 3, 4]", 2 * edges * dbl(d),
          4 * edges + nodes * (12 + 4 * (x == z ? 2 : 3) * dbl(d)),
          [&] { ops_->propagate(y, x, z, a, b_user, b_item, graph, d); });
  }
  void gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override {
    count("batch rows of H", 0, 8 * dbl(n * d), [&] { ops_->gather_rows(y, x, rows, n, d); });
  }
  void scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override {
    count("batch rows of d_H", dbl(n * d), 12 * dbl(n * d),
          [&] { ops_->scatter_add_rows(y, x, rows, n, d); });
  }
  void draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p, uint64_t seed,
                 uint32_t stream, const uint32_t* step) override {
    // 10 rounds of 2 products and 4 sums or exclusive ors for 4 entries.
    count("views: masks [Eq. 5]", 15 * dbl(n * d), dbl(n * d),
          [&] { ops_->draw_mask(mask, rows, n, d, p, seed, stream, step); });
  }
  void make_view(T* view, const T* h, const uint8_t* mask, double p, size_t n, size_t d) override {
    count("views [Eq. 5]", dbl(n * d), 9 * dbl(n * d),
          [&] { ops_->make_view(view, h, mask, p, n, d); });
  }
  void cosine_loss(double* loss, T* d_a, const T* a, const T* b, const Pairs& pairs, double scale,
                   size_t d) override {
    const double rows = dbl(pairs.n * d);  // a and d_a in, d_a out, and as many targets
    count("losses [Eq. 8-11]", 10 * rows, 16 * rows,
          [&] { ops_->cosine_loss(loss, d_a, a, b, pairs, scale, d); });
  }
  void squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                       size_t d) override {
    count("regulariser [Eq. 12]", 2 * dbl(pairs.n * d), 4 * dbl(pairs.n * d),
          [&] { ops_->squared_forward(loss, x, pairs, scale, d); });
  }
  void squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) override {
    count("regulariser [Eq. 12]", 2 * dbl(pairs.n * d), 12 * dbl(pairs.n * d),
          [&] { ops_->squared_backward(d_x, x, pairs, scale, d); });
  }
  void norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) override {
    count("regulariser [Eq. 12]", 2 * dbl(n), 4 * dbl(n),
          [&] { ops_->norm_forward(loss, norm, x, scale, n); });
  }
  void norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) override {
    count("regulariser [Eq. 12]", dbl(n), 8 * dbl(n),
          [&] { ops_->norm_backward(d_x, norm, x, scale, n); });
  }
  void advance(uint32_t* step) override { ops_->advance(step); }
  void adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
            const AdamStep<T>* schedule, const uint32_t* step, size_t n) override {
    count("Adam", 12 * dbl(n), 28 * dbl(n),
          [&] { ops_->adam(p, m, v, g, constants, schedule, step, n); });
  }
  void adam_replay(T* p, T* m, T* v, uint32_t* last, const int32_t* rows,
                   const AdamConstants<T>& constants, const AdamStep<T>* schedule,
                   const uint32_t* step, int lag, size_t n, size_t d) override {
    // At least one pass; the steps that are replayed depend on the rows.
    count("Adam of features: replay", 12 * dbl(n * d), 24 * dbl(n * d), [&] {
      ops_->adam_replay(p, m, v, last, rows, constants, schedule, step, lag, n, d);
    });
  }
  void adam_rows(T* p, T* m, T* v, uint32_t* last, const int32_t* rows, const T* g,
                 const AdamConstants<T>& constants, const AdamStep<T>* schedule,
                 const uint32_t* step, size_t n, size_t d) override {
    count("Adam of features: step", 12 * dbl(n * d), 28 * dbl(n * d),
          [&] { ops_->adam_rows(p, m, v, last, rows, g, constants, schedule, step, n, d); });
  }
  void top_k(int32_t* item, T* score, const T* h_u, const T* h_i, const int32_t* users,
             const Graph<T>& graph, size_t k, size_t n, size_t d) override {
    const double items = dbl(static_cast<size_t>(graph.n_items));
    count(ranking, 2 * dbl(n * d) * items, 4 * dbl(d) * (dbl(n) + items) + 8 * dbl(n * k),
          [&] { ops_->top_k(item, score, h_u, h_i, users, graph, k, n, d); });
  }

 private:
  static double dbl(size_t n) { return static_cast<double>(n); }
  template <class Work>
  void count(const char* name, double flops, double bytes, const Work& work) {
    Stage& stage = stages_[name];
    stage.seconds += timed([&] {
      work();
      ops_->synchronize();
    });
    ++stage.calls;
    stage.flops += flops;
    stage.bytes += bytes;
  }
  std::unique_ptr<Ops<float>> ops_;
  std::map<std::string, Stage> stages_;
};

}  // namespace bm3
