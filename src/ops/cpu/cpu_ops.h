#pragma once
#include <omp.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "ops/cpu/blocks.h"
#include "ops/ops.h"

namespace bm3 {

/// The operations with OpenMP and a CBLAS; see ops.h for what each computes. Work is cut into
/// blocks of fixed sizes, each done by one thread with a single-threaded BLAS, and partial sums are
/// added in block order: the number of threads changes no byte.
template <class T>
class CpuOps : public Ops<T> {
 public:
  explicit CpuOps(int threads);

  std::string name() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory) noexcept override;
  size_t allocated() const override;
  void zero(void* dst, size_t bytes) override;
  void upload(void* dst, const void* src, size_t bytes) override;
  void download(void* dst, const void* src, size_t bytes) override;
  void synchronize() override {}
  double seconds_of(const std::function<void()>& work) override;
  void replay(uint64_t, const std::function<void()>& work) override { work(); }
  size_t row_padding() const override { return 1; }
  bool copies_rows() const override { return false; }

  void linear_forward(T* y, const T* x, const int32_t* rows, const T* W, const T* b, size_t n,
                      size_t in, size_t out) override;
  void linear_backward(T* d_x, T* d_W, T* d_b, const T* d_y, const T* x, const int32_t* rows,
                       const T* W, size_t n, size_t in, size_t out) override;
  void propagate(T* y, const T* x, const T* z, T a, T b_user, T b_item, const Graph<T>& graph,
                 size_t d) override;
  void gather_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void scatter_add_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void scatter_rows(T* y, const T* x, const int32_t* rows, size_t n, size_t d) override;
  void draw_mask(uint8_t* mask, const int32_t* rows, size_t n, size_t d, double p, uint64_t seed,
                 uint32_t stream, const uint32_t* step) override;
  void cosine_loss(double* loss, T* d_a, const T* a, const View<T>& b, const Pairs& pairs,
                   double scale, size_t d) override;
  void squared_forward(double* loss, const T* x, const Pairs& pairs, double scale,
                       size_t d) override;
  void squared_backward(T* d_x, const T* x, const Pairs& pairs, double scale, size_t d) override;
  void norm_forward(double* loss, double* norm, const T* x, double scale, size_t n) override;
  void norm_backward(T* d_x, const double* norm, const T* x, double scale, size_t n) override;
  void advance(uint32_t* step) override { ++*step; }
  void adam(T* p, T* m, T* v, const T* g, const AdamConstants<T>& constants,
            const AdamStep<T>* schedule, const uint32_t* step, size_t n) override;
  void adam_replay(const AdamRows<T>& at, const AdamConstants<T>& constants,
                   const AdamStep<T>* schedule, const uint32_t* step, int lag, size_t n,
                   size_t d) override;
  void adam_rows(const AdamRows<T>& at, const T* g, const AdamConstants<T>& constants,
                 const AdamStep<T>* schedule, const uint32_t* step, size_t n, size_t d) override;
  void top_k(int32_t* item, T* score, const T* h_u, const T* h_i, const int32_t* users,
             const Graph<T>& graph, size_t k, size_t n, size_t d) override;
  void metrics(double* sums, const int32_t* item, const Truth& truth, const double* ideal,
               size_t k) override;

 private:
  /// Calls body(block, first, last) for each block of at most `size` of n, blocks shared by
  /// threads.
  template <class Body>
  void for_blocks(size_t n, size_t size, const Body& body) {
    const auto blocks = static_cast<int64_t>((n + size - 1) / size);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
    for (int64_t i = 0; i < blocks; ++i) {
      const auto block = static_cast<size_t>(i);
      body(block, block * size, std::min(n, (block + 1) * size));
    }
  }
  /// Adds up the doubles that body(first, last) returns for blocks of `size`, in block order.
  template <class Body>
  double sum_blocks(size_t n, size_t size, const Body& body) {
    partial_.assign((n + size - 1) / size, 0.0);
    for_blocks(n, size, [&](size_t block, size_t first, size_t last) {
      partial_[block] = body(first, last);
    });
    double sum = 0;
    for (double part : partial_) sum += part;
    return sum;
  }
  /// The calling thread's scratch memory, at least n elements; its size only grows.
  T* scratch(size_t n) {
    auto& own = scratch_[static_cast<size_t>(omp_get_thread_num())];
    if (own.size() < n) own.resize(n);
    return own.data();
  }

  int threads_;
  std::unordered_map<void*, size_t> blocks_;  // bytes of what is allocated
  std::vector<std::vector<T>> scratch_;  // one a thread
  std::vector<T> shared_;                // partial matrices of one operation
  std::vector<double> partial_;
};

}  // namespace bm3
