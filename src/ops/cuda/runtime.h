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

/// `cuda_works` of cuda.h, inside the module.
bool works(std::string& why);

class Runtime {
 public:
  /// Tables leave `reserve` bytes of the GPU's memory for everything else. Error where there is no
  /// GPU that works.
  explicit Runtime(size_t reserve);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// The stream of what is asked for in order, and of what is done beside.
  cudaStream_t stream(bool beside) const { return (beside ? side_ : stream_).get(); }
  /// Of what is asked for now.
  cudaStream_t stream() const { return stream(is_beside_); }
  bool is_beside() const { return is_beside_; }
  const cudaDeviceProp& properties() const { return properties_; }
  /// Bytes of the GPU's memory that are allocated now; and of the host's, by tables.
  size_t allocated() const { return allocated_; }
  size_t on_host() const { return on_host_; }

  // As in device.h.
  void* allocate(size_t bytes);
  void* allocate_table(size_t bytes);
  void release(void* memory) noexcept;
  void zero(void* dst, size_t bytes);
  void upload(void* dst, const void* src, size_t bytes);
  void download(void* dst, const void* src, size_t bytes);
  void synchronize();
  double seconds_of(const std::function<void()>& work);
  void beside(size_t slot, const std::function<void()>& work);
  void join(size_t slot);
  /// A key's first call does the work, which lets working memory grow and libraries load what they
  /// need; its second records it as a CUDA graph; from then on the graph is launched. The release
  /// of memory that was there at the first call makes the next call the first again.
  void replay(uint64_t key, const std::function<void()>& work);
  /// Error while a step is recorded: `what` cannot be part of a record.
  void refuse_in_record(const char* what) const;

 private:
  enum class Kind { plain, table, table_on_host };
  struct Block {
    size_t bytes;
    uint64_t born;  // when, by clock_
    Kind kind;
  };
  struct Record {
    uint64_t key, born;                                  // of the first call
    Owned<cudaGraphExec_t, cudaGraphExecDestroy> graph;  // null until the second
  };
  struct Slot {
    Owned<cudaEvent_t, cudaEventDestroy> free;  // the slot's last copy is done
  };
  /// Whether this is in a table that lies in the host's memory.
  bool is_on_host(const void* memory) const;
  /// Memory of this kind; or cudaErrorMemoryAllocation when there is not enough.
  cudaError_t try_allocate(void** memory, size_t bytes, Kind kind);
  Owned<cudaGraphExec_t, cudaGraphExecDestroy> record(const std::function<void()>& work);

  cudaDeviceProp properties_{};
  Owned<cudaStream_t, cudaStreamDestroy> stream_, side_;
  bool is_beside_ = false;
  Owned<cudaEvent_t, cudaEventDestroy> asked_;            // all before the last work beside
  Owned<cudaEvent_t, cudaEventDestroy> beside_[n_slots];  // the end of each slot's work beside
  Owned<void*, cudaFreeHost> staging_;
  Ring ring_;
  std::vector<Slot> slots_;
  std::unordered_map<void*, Block> blocks_;
  size_t reserve_, allocated_ = 0, tables_ = 0, on_host_ = 0;  // bytes; tables_: on the GPU
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

  /// Room for n elements, not initialised, until the next call.
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
