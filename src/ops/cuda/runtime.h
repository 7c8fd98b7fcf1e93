#pragma once
// The GPU's memory, the order of work on it, and the records of steps that are replayed: what of a
// Device does not depend on the type of the numbers.
#include <unordered_map>

#include "ops/cuda/lanes.h"

namespace bm3::cuda {

/// `cuda_works` of cuda.h, inside the module.
bool works(std::string& why);

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

  /// Returns the stream for an operation on these operands: matrices, views, pointers to one
  /// number. It follows there what it must (Lanes::turn_to). Row lists, pairs and graphs are
  /// uploaded: no operation writes or names them.
  template <class... Operands>
  cudaStream_t stream_for(const Operands&... operands) {
    if (lanes_.side_by_side() || !waiting_.empty() || arriving_ > 0)
      turn_to(spans_of(operands...));
    return lanes_.stream(lanes_.now());
  }
  const Lanes& lanes() const { return lanes_; }
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
  /// the order of work: as the first part of a record, where one is launched next.
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
  struct Block {
    size_t bytes;
    uint64_t born;  // when, by clock_
  };
  struct Record {
    uint64_t key;
    bool arrives;   // whether it begins with what an upload brings
    uint64_t born;  // when, at the first call
    Owned<cudaGraphExec_t, cudaGraphExecDestroy> graph;  // null until the second
  };
  void record(Record& out, const std::function<void()>& work);
  /// Copies what the last upload brings to where it belongs, if it still waits in its slot.
  void arrive();
  void copy_arrival(size_t bytes);
  void free_slot();
  /// Launches, in the order of their first calls, the lists that wait and are meant.
  template <class Which>
  void launch_waiting(const Which& which) {
    for (size_t k = 0; k < waiting_.size();) {
      if (!which(*waiting_[k])) {
        ++k;
        continue;
      }
      arrive();
      const auto list = std::move(waiting_[k]);
      waiting_.erase(waiting_.begin() + static_cast<int>(k));
      if (lanes_.side_by_side()) lanes_.turn_to(list->spans);
      list->launch(lanes_.stream(lanes_.now()));
    }
  }
  void launch_waiting() {
    launch_waiting([](const Waiting&) { return true; });
  }
  /// See stream_for.
  void turn_to(const Spans& spans);
  /// Does work whose operations run side by side, and joins all lanes.
  void do_side_by_side(const std::function<void()>& work);
  cudaStream_t main_stream() const { return lanes_.stream(0); }

  cudaDeviceProp properties_{};
  Lanes lanes_;
  std::vector<std::unique_ptr<Waiting>> waiting_;
  Owned<cudaStream_t, cudaStreamDestroy> uploading_;
  Event arrived_;
  Owned<void*, cudaFreeHost> staging_;  // slots on the host
  void* landing_ = nullptr;             // and on the GPU
  std::vector<Event> copied_;           // of each slot: its last copy to where it belongs is done
  size_t turn_ = 0;                     // counts the slots' uses
  size_t arriving_ = 0;                 // bytes of the last upload, while they wait in their slot
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
