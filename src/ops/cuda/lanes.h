#pragma once
// Which stream an operation takes: operations of a replay run side by side unless one touches what
// the other writes.
#include <array>
#include <memory>
#include <type_traits>

#include "ops/cuda/check.h"
#include "ops/ops.h"

namespace bm3::cuda {

/// Owns a handle that a C function destroys; a failure to destroy has nobody left to tell.
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>,
                              std::integral_constant<decltype(destroy), destroy>>;

/// Where a C function puts the handle that it creates; `owner` has it when the call is over.
template <class Owner>
class Into {
 public:
  explicit Into(Owner& owner) : owner_(owner) {}
  ~Into() { owner_.reset(handle_); }
  operator typename Owner::pointer*() { return &handle_; }

 private:
  Owner& owner_;
  typename Owner::pointer handle_ = nullptr;
};

/// Memory that an operation reads, or writes and perhaps reads.
struct Span {
  uintptr_t first, end;
  bool written;
};
using Spans = std::vector<Span>;
/// Returns whether one writes what the other reads or writes.
bool conflict(const Spans& a, const Spans& b);

template <class E>
void add_span(Spans& to, E* at, size_t n) {
  const auto first = reinterpret_cast<uintptr_t>(at);
  if (at && n > 0) to.push_back({first, first + n * sizeof(E), !std::is_const_v<E>});
}
template <class E>
void add_span(Spans& to, E* one) {
  add_span(to, one, 1);
}
template <class E>
void add_span(Spans& to, const Matrix<E>& x) {
  add_span(to, x.at, x.size());
}
template <class T>
void add_span(Spans& to, const View<T>& view) {
  add_span(to, view.h);
  add_span(to, view.mask, view.h.size());
}
template <class T>
void add_span(Spans& to, const AdamRows<T>& at) {
  add_span(to, at.p);
  add_span(to, at.m);
  add_span(to, at.v);
  add_span(to, at.last, at.p.rows);
}
template <class... Operands>
Spans spans_of(const Operands&... operands) {
  Spans out;
  (add_span(out, operands), ...);
  return out;
}

using Event = Owned<cudaEvent_t, cudaEventDestroy>;
Event new_event(unsigned flags = cudaEventDisableTiming);

/// Streams of work that runs side by side; the first is the main one.
class Lanes {
 public:
  static constexpr size_t count = 8;
  /// Creates the streams, before all else; throws where that fails.
  void create();
  cudaStream_t stream(size_t lane) const { return streams_[lane].get(); }
  /// The lane of the operation that is issued now: 0, the main one, but between begin and end.
  size_t now() const { return now_; }
  bool side_by_side() const { return side_by_side_; }
  /// Operations run side by side from here on, each after `turn_to`.
  void begin();
  /// Turns to a lane for an operation on these operands, which there follows all that was issued
  /// before and touches what it writes, or writes what it touches.
  void turn_to(const Spans& spans);
  /// The main lane follows all others, which no operation uses any more.
  void end();
  void synchronize() const;

 private:
  /// Operations as numbers in issued_, from 1, one of each lane: it and all before it; 0: none.
  using Clock = std::array<size_t, count>;
  struct Issued {
    size_t lane;
    Spans spans;
    Clock before;  // what it follows
  };
  /// Marks the end of the last operation, for those that follow it.
  void mark();
  void wait(size_t lane, size_t operation);

  Owned<cudaStream_t, cudaStreamDestroy> streams_[count];
  size_t now_ = 0;
  bool side_by_side_ = false;
  std::vector<Issued> issued_;
  std::vector<Event> done_;    // of each operation; 0: of what came before begin
  size_t marked_ = 0;          // events of done_ that are recorded
  Clock last_{};               // of each lane
  Clock known_[count] = {};    // what a lane's next operation follows in any case
};

}  // namespace bm3::cuda
