#pragma once
// The GPU's memory, its two streams of work, and the records of steps that are replayed: what of a
// Device does not depend on the type of the numbers.
#include <functional>
#include <memory>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "ops/cuda/check.h"
#include "ops/cuda/launch.h"
#include "ops/device.h"

namespace bm3::cuda {

/// Owns a handle that a C function destroys; a failure to destroy has nobody left to tell.
template <class Handle, auto destroy>
struct Destroy {
  void operator()(Handle handle) const noexcept { static_cast<void>(destroy(handle)); }
};
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, destroy>>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;

/// `cuda_works` of cuda.h, inside the module.
bool works(std::string& why);

class Runtime {
 public:
  /// Throws where no GPU works.
  Runtime();
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// The main stream, or the one of the first work of `both`.
  cudaStream_t stream(bool side) const { return (side ? side_ : main_).get(); }
  /// The stream of what is issued now.
  cudaStream_t stream() const { return stream(on_side_); }
  bool on_side() const { return on_side_; }
  const cudaDeviceProp& properties() const { return properties_; }
  /// Returns whether `at` lies in this block of allocated memory.
  bool holds(const void* memory, const void* at) const;

  // As in device.h.
  size_t allocated() const { return allocated_; }
  size_t most_allocated() const { return most_allocated_; }
  void* allocate(size_t bytes);
  void release(void* memory) noexcept;
  void zero(void* dst, size_t bytes);
  void upload(void* dst, const void* src, size_t bytes);
  void download(void* dst, const void* src, size_t bytes);
  void synchronize();
  double seconds_of(const std::function<void()>& work);
  /// Does f on the side stream and g on the main one; one after the other within f or g of another
  /// call. In a record they are branches of the graph.
  void both(const std::function<void()>& f, const std::function<void()>& g);
  /// A key's first call does the work, which lets working memory grow and libraries load what they
  /// need; its second records it as a CUDA graph; from then on the graph is launched. The release
  /// of memory that was there at the first call makes the next call the first again.
  void replay(uint64_t key, const std::function<void()>& work);
  /// Throws while a step is recorded: `what` cannot be part of a record.
  void refuse_in_record(const char* what) const;

 private:
  struct Block {
    size_t bytes;
    uint64_t born;  // when, by clock_
  };
  struct Record {
    uint64_t key, born;                                  // of the first call
    Owned<cudaGraphExec_t, cudaGraphExecDestroy> graph;  // null until the second
  };
  Owned<cudaGraphExec_t, cudaGraphExecDestroy> record(const std::function<void()>& work);

  cudaDeviceProp properties_{};
  Owned<cudaStream_t, cudaStreamDestroy> main_, side_;
  bool overlapping_ = false, on_side_ = false;  // within `both`; within its f
  Event fork_, join_;
  Owned<void*, cudaFreeHost> staging_;
  std::vector<Event> copied_;  // of each slot of `staging_`: its last copy is done
  size_t turn_ = 0;            // counts the slots' uses
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
  ~Workspace() { runtime_.release(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Returns room for n elements, not initialised, until the next call.
  template <class E>
  E* room(size_t n) {
    if (n * sizeof(E) > bytes_) grow(n * sizeof(E));
    return static_cast<E*>(memory_);
  }

 private:
  void grow(size_t bytes);
  Runtime& runtime_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace bm3::cuda
