#pragma once
// The GPU's memory, its streams, and the records of steps that are replayed: what of a Device does
// not depend on the type of the numbers.
#include <memory>
#include <type_traits>
#include <unordered_map>

#include "ops/cuda/check.h"
#include "ops/device.h"

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

/// Returns whether two matrices have an element in common.
template <class A, class B>
bool overlap(const Matrix<A>& a, const Matrix<B>& b) {
  const auto first_a = reinterpret_cast<uintptr_t>(a.at), end_a = first_a + a.size() * sizeof(A);
  const auto first_b = reinterpret_cast<uintptr_t>(b.at), end_b = first_b + b.size() * sizeof(B);
  return first_a < end_b && first_b < end_a && a.size() > 0 && b.size() > 0;
}

/// Calls of one operation that wait for each other, to become one launch.
class Waiting {
 public:
  virtual ~Waiting() = default;
  virtual void launch(cudaStream_t stream) const = 0;
};

class Runtime : public virtual Device {
 public:
  /// Throws where no GPU works.
  Runtime();
  ~Runtime() override;

  /// Streams of work that runs side by side; the first is the main one.
  static constexpr size_t lanes = 6;
  cudaStream_t stream(size_t lane) const { return streams_[lane].get(); }
  /// The stream of what is issued now, which comes after all that waits there.
  cudaStream_t stream() {
    issue(lane_);
    return stream(lane_);
  }
  /// The lane of what is issued now.
  size_t lane_number() const { return lane_; }
  /// Puts a call off until something else is issued on its stream, or somebody waits for it. It
  /// joins the List that waits there, if there is one and it takes the call.
  template <class List, class Call>
  void put_off(const Call& call) {
    auto* list = dynamic_cast<List*>(waiting_[lane_].get());
    if (!list || !list->takes(call)) {
      issue(lane_);
      waiting_[lane_] = std::make_unique<List>();
      list = static_cast<List*>(waiting_[lane_].get());
    }
    list->add(call);
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
  void zero(void* dst, size_t bytes) override;
  /// Copies to memory of its own on the GPU while earlier work goes on, and from there to `dst` in
  /// the order of work.
  void upload(void* dst, const void* src, size_t bytes) override;
  void download(void* dst, const void* src, size_t bytes) override;
  void synchronize() override;
  double seconds_of(const std::function<void()>& work) override;
  /// Does f in a lane that is free, while there is one, and g in the present one. In a record they
  /// are branches of the graph.
  void both(const std::function<void()>& f, const std::function<void()>& g) override;
  /// A key's first call does the work, which lets working memory grow and libraries load what they
  /// need; its second records it as a CUDA graph; from then on the graph is launched. The release
  /// of memory that was there at the first call makes the next call the first again.
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
  void record(Record& out, const std::function<void()>& work);
  /// Launches what waits, if anything does.
  void issue(size_t lane);
  /// Returns what `work` threw, or null. What waits is launched even then.
  std::exception_ptr failure_of(const std::function<void()>& work);

  cudaDeviceProp properties_{};
  Owned<cudaStream_t, cudaStreamDestroy> streams_[lanes], uploading_;
  size_t lane_ = 0;
  bool busy_[lanes] = {true};  // the main lane is never free
  Event fork_[lanes], join_[lanes], arrived_;
  std::unique_ptr<Waiting> waiting_[lanes];
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
    runtime_.Runtime::release(memory_);  // nobody keeps anything for its address
    memory_ = nullptr;
    bytes_ = 0;
  }
  Runtime& runtime_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace bm3::cuda
