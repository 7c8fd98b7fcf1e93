#pragma once
// The GPU's memory, its streams, and the records of steps that are replayed: what of a Device does
// not depend on the type of the numbers.
#include <array>
#include <memory>
#include <type_traits>
#include <unordered_map>

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

/// `cuda_works` of cuda.h, inside the module.
bool works(std::string& why);

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

/// Calls of one operation that wait for each other, to become one launch.
class Waiting {
 public:
  virtual ~Waiting() = default;
  virtual void launch(cudaStream_t stream) const = 0;
  Spans spans;  // of all of them
};

class Runtime : public virtual Device {
 public:
  /// Throws where no GPU works.
  Runtime();
  ~Runtime() override;

  /// Streams of work that runs side by side; the first is the main one.
  static constexpr size_t lanes = 8;
  cudaStream_t stream(size_t lane) const { return streams_[lane].get(); }
  /// Returns the stream for an operation on these operands: matrices, views, pointers to one
  /// number. There it follows all that was issued before and touches what it writes, or writes what
  /// it touches. Row lists, pairs and graphs are uploaded: no operation writes or names them.
  template <class... Operands>
  cudaStream_t stream_for(const Operands&... operands) {
    if (side_by_side_ || !waiting_.empty()) turn_to(spans_of(operands...));
    return stream(lane_);
  }
  /// The lane of the operation that called `stream_for` last.
  size_t lane_number() const { return lane_; }
  /// Puts a call with these operands off until something is issued that must follow it, or somebody
  /// waits for it. It joins a List that waits and takes it.
  template <class List, class Call, class... Operands>
  void put_off(const Call& call, const Operands&... operands) {
    const Spans spans = spans_of(operands...);
    List* joined = nullptr;
    for (const auto& each : waiting_)
      if (auto* list = dynamic_cast<List*>(each.get()); list && list->takes(call)) joined = list;
    launch_waiting([&](const Waiting& w) { return &w != joined && conflict(w.spans, spans); });
    if (!joined) {
      waiting_.push_back(std::make_unique<List>());
      joined = static_cast<List*>(waiting_.back().get());
    }
    joined->add(call);
    joined->spans.insert(joined->spans.end(), spans.begin(), spans.end());
  }
  const cudaDeviceProp& properties() const { return properties_; }
  /// Returns whether `at` lies in this block of allocated memory.
  bool holds(const void* memory, const void* at) const;
  /// Throws while a step is recorded: `what` cannot be part of a record.
  void refuse_in_record(const char* what) const;

  size_t allocated() const override { return allocated_; }
  size_t most_allocated() const override { return most_allocated_; }
  void* allocate(size_t bytes) override;
  void release(void* memory) noexcept override;
  /// Releases memory that no call which waits uses, so that these go on waiting.
  void free(void* memory) noexcept;
  void zero(void* dst, size_t bytes) override;
  /// Copies to memory of its own on the GPU while earlier work goes on, and from there to `dst` in
  /// the order of work.
  void upload(void* dst, const void* src, size_t bytes) override;
  void download(void* dst, const void* src, size_t bytes) override;
  void synchronize() override;
  double seconds_of(const std::function<void()>& work) override;
  /// Operations of `work` that do not touch each other's memory run side by side. A key's first
  /// call does the work, which lets working memory grow and libraries load what they need; its
  /// second records it as a CUDA graph; from then on the graph is launched. The release of memory
  /// that was there at the first call makes the next call the first again.
  void replay(uint64_t key, const std::function<void()>& work) override;

 private:
  using Event = Owned<cudaEvent_t, cudaEventDestroy>;
  struct Block {
    size_t bytes;
    uint64_t born;  // when, by clock_
  };
  struct Record {
    uint64_t key, born;                                  // of the first call
    Owned<cudaGraphExec_t, cudaGraphExecDestroy> graph;  // null until the second
  };
  static Event new_event(unsigned flags = cudaEventDisableTiming);
  /// Operations as numbers in issued_, from 1, one of each lane: it and all before it; 0: none.
  using Clock = std::array<size_t, lanes>;
  struct Issued {
    size_t lane;
    Spans spans;
    Clock before;  // what it follows
  };
  void record(Record& out, const std::function<void()>& work);
  /// Launches, in the order of their first calls, the lists that wait and are meant.
  template <class Which>
  void launch_waiting(const Which& which) {
    for (size_t k = 0; k < waiting_.size();) {
      if (!which(*waiting_[k])) {
        ++k;
        continue;
      }
      const auto list = std::move(waiting_[k]);
      waiting_.erase(waiting_.begin() + static_cast<int>(k));
      if (side_by_side_) choose_lane(list->spans);
      list->launch(stream(lane_));
    }
  }
  void launch_waiting() {
    launch_waiting([](const Waiting&) { return true; });
  }
  /// See stream_for.
  void turn_to(const Spans& spans);
  /// Turns to a lane for an operation on `spans`, which there follows what it must.
  void choose_lane(const Spans& spans);
  /// Does work whose operations run side by side, and joins all lanes.
  void do_side_by_side(const std::function<void()>& work);
  /// Makes the main lane follow all others, which no operation uses any more.
  void join();
  /// Marks the end of the last operation, for those that follow it.
  void mark();

  cudaDeviceProp properties_{};
  Owned<cudaStream_t, cudaStreamDestroy> streams_[lanes], uploading_;
  size_t lane_ = 0;
  Event arrived_;
  std::vector<std::unique_ptr<Waiting>> waiting_;
  bool side_by_side_ = false;
  std::vector<Issued> issued_;  // in the present replay
  std::vector<Event> done_;     // of each; 0: of what came before
  size_t marked_ = 0;           // events of done_ that are recorded
  Clock last_{};                // of each lane
  Clock known_[lanes] = {};     // what a lane's next operation follows in any case
  Owned<void*, cudaFreeHost> staging_;  // slots on the host
  void* landing_ = nullptr;             // and on the GPU
  std::vector<Event> copied_;           // of each slot: its last copy to where it belongs is done
  size_t turn_ = 0;                     // counts the slots' uses
  std::unordered_map<const void*, Block> blocks_;
  size_t allocated_ = 0, most_allocated_ = 0;
  uint64_t clock_ = 0;           // counts allocations and first calls
  std::vector<Record> records_;  // the one used last is last
  bool recording_ = false;
};

/// Working memory of one operation, which only grows.
class Workspace {
 public:
  explicit Workspace(Runtime& runtime) : runtime_(runtime) {}
  ~Workspace() { release(); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Returns room for n elements, not initialised, until the next call.
  template <class E>
  E* room(size_t n) {
    if (n * sizeof(E) > bytes_) {
      runtime_.refuse_in_record("the growth of working memory");
      release();  // and with it the graphs that use it
      memory_ = runtime_.allocate(n * sizeof(E));
      bytes_ = n * sizeof(E);
    }
    return static_cast<E*>(memory_);
  }

 private:
  void release() noexcept {
    runtime_.free(memory_);  // nobody keeps anything for its address, and no call waits for it
    memory_ = nullptr;
    bytes_ = 0;
  }
  Runtime& runtime_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace bm3::cuda
