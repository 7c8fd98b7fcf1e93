#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "ops/shapes.h"

namespace bm3 {

constexpr size_t row_block = 126;    // rows of a product
constexpr size_t pair_block = 128;   // rows of pairs whose sum is one partial sum

#if defined(__AVX512F__)
constexpr size_t vector_bytes = 64;
#elif defined(__AVX__)
constexpr size_t vector_bytes = 32;
#else
constexpr size_t vector_bytes = 16;
#endif
template <class T>
constexpr size_t lanes = vector_bytes / sizeof(T);

/// Neighbouring numbers that one instruction takes.
template <class T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(vector_bytes), aligned(sizeof(T)), may_alias));
};

/// Memory that only grows. It begins with a cache line, so that vectors need not lie across two.
template <class T>
class Room {
 public:
  T* of(size_t n) {
    lines_.resize(std::max(lines_.size(), n * sizeof(T) / sizeof(Line) + 1));
    return lines_.data()->x;
  }
  size_t bytes() const { return lines_.size() * sizeof(Line); }

 private:
  struct alignas(64) Line {
    T x[64 / sizeof(T)];
  };
  std::vector<Line> lines_;
};

/// A matrix as products read it, see product.h.
template <class T>
struct Panels;

/// x . y: a sum in each lane, then the sums of halves; adding up lane by lane takes longer than 64
/// products.
template <class T>
T dot(const T* x, const T* y, size_t d) {
  using V = typename Lanes<T>::Vector;
  V sum = {};
  size_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>)
    sum += *reinterpret_cast<const V*>(x + c) * *reinterpret_cast<const V*>(y + c);
  T part[lanes<T>];
  std::memcpy(part, &sum, sizeof part);
  for (size_t i = 0; c < d; ++c, ++i) part[i] += x[c] * y[c];
#pragma GCC unroll 4
  for (size_t half = lanes<T> / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

/// Calls tile(width, c) for tiles of d columns, of widths that the compiler knows.
template <class Tile>
void for_tiles(size_t d, const Tile& tile) {
  size_t c = 0;
  for (; c + 64 <= d; c += 64) tile(std::integral_constant<size_t, 64>(), c);
  for (; c + 8 <= d; c += 8) tile(std::integral_constant<size_t, 8>(), c);
  for (; c < d; ++c) tile(std::integral_constant<size_t, 1>(), c);
}

/// The operations with OpenMP; operations.inc says what each computes. Work is cut into blocks of
/// fixed sizes, each done by one thread, and partial sums are added in block order: the number of
/// threads changes no byte.
template <class T>
class CpuOps : public Ops<T> {
 public:
  explicit CpuOps(int threads);

  std::string name() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory) noexcept override;
  size_t allocated() const override;
  size_t most_allocated() const override { return std::max(most_, allocated()); }
  void zero(void* dst, size_t bytes) override {
    if (bytes) std::memset(dst, 0, bytes);
  }
  void upload(void* dst, const void* src, size_t bytes) override {
    if (bytes) std::memcpy(dst, src, bytes);
  }
  void download(void* dst, const void* src, size_t bytes) override {
    CpuOps::upload(dst, src, bytes);
  }
  void synchronize() override {}
  double seconds_of(const std::function<void()>& work) override;
  void replay(uint64_t, const std::function<void()>& work) override { work(); }
  size_t row_padding() const override { return 1; }

#define BM3_HERE override
#include "ops/operations.inc"

 private:
  /// Calls body(block, first, last) for each block of at most `size` of n. A thread first takes the
  /// blocks of its share, which is the same part of n in every operation: what it has written is in
  /// its cache. Then it takes what other threads have left.
  template <class Body>
  void for_blocks(size_t n, size_t size, const Body& body) {
    const size_t blocks = (n + size - 1) / size, threads = shares_.size();
    for (size_t t = 0; t < threads; ++t) shares_[t].next = blocks * t / threads;
#pragma omp parallel num_threads(static_cast<int>(threads))
    for (size_t k = 0; k < threads; ++k) {
      const size_t share = (static_cast<size_t>(omp_get_thread_num()) + k) % threads;
      const size_t end = blocks * (share + 1) / threads;
      for (size_t block; (block = shares_[share].next++) < end;)
        body(block, block * size, std::min(n, (block + 1) * size));
    }
  }
  /// Calls body(r) for each row r < n likewise.
  template <class Body>
  void for_rows(size_t n, size_t size, const Body& body) {
    for_blocks(n, size, [&](size_t, size_t first, size_t last) {
      for (size_t r = first; r < last; ++r) body(r);
    });
  }
  /// Calls body(i) for each entry i < n likewise, for several by vector instructions.
  template <class Body>
  void for_entries(size_t n, const Body& body) {
    for_blocks(n, 16384, [&](size_t, size_t first, size_t last) {
#pragma omp simd
      for (size_t i = first; i < last; ++i) body(i);
    });
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
  /// d_W = x[rows]^T d_y;  d_b = column sums of d_y
  void weights_backward(Matrix<T> d_W, Matrix<T> d_b, ConstMatrix<T> d_y, ConstMatrix<T> x,
                        Rows rows);
  /// Returns x, or x^T where it is `transposed`, for `multiply`: in shared_, or where x lies.
  Panels<T> panels(ConstMatrix<T> x, bool transposed);
  /// The calling thread's scratch memory, at least n elements.
  T* scratch(size_t n) { return scratch_[static_cast<size_t>(omp_get_thread_num())].of(n); }

  /// The first block of a thread's share that nobody has taken, in a cache line of its own.
  struct alignas(64) Share {
    std::atomic<size_t> next;
  };
  std::vector<Share> shares_;                 // of each thread
  std::unordered_map<void*, size_t> blocks_;  // bytes of what is allocated
  size_t most_ = 0;
  std::vector<Room<T>> scratch_;  // one a thread
  Room<T> shared_;                // partial matrices of one operation
  std::vector<double> partial_;
};

}  // namespace bm3
