#include "ops/cuda/runtime.h"

#include <cstring>

#include "ops/cuda/cuda.h"
#include "ops/cuda/kernel.h"

namespace bm3 {
namespace {

constexpr size_t staging_slots = 8;
constexpr size_t staging_bytes = size_t{1} << 20;  // of a slot; a batch's row lists are far smaller
constexpr size_t most_records = 64;                // each holds a few hundred KiB
constexpr size_t spare = size_t{256} << 20;        // of the GPU's memory, for records and libraries

__global__ void nothing() {}

/// Keeps a stream busy for this many of the GPU's cycles.
__global__ void linger(long long cycles) {
  const long long start = clock64();
  while (clock64() - start < cycles) continue;
}
constexpr long long launching = 170000;  // cycles, about 0.1 ms

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  BM3_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}
cudaEvent_t new_event() {
  cudaEvent_t event = nullptr;
  BM3_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

}  // namespace

bool cuda::works(std::string& why) {
  int devices = 0;
  cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices == 0) status = cudaErrorNoDevice;
  cudaFuncAttributes attributes{};
  // A build for other architectures fails here and not in the first step.
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, nothing);
  if (status == cudaSuccess) return true;
  why = "no GPU works: " + cuda::message(status);
  static_cast<void>(cudaGetLastError());  // so that later calls do not report it again
  return false;
}

namespace cuda {

Runtime::Runtime(size_t reserve) : ring_{staging_slots, staging_bytes}, reserve_(reserve) {
  std::string why;
  if (!works(why)) throw Error(why);
  BM3_CHECK(cudaSetDevice(0));
  BM3_CHECK(cudaGetDeviceProperties(&properties_, 0));
  stream_.reset(new_stream());
  side_.reset(new_stream());
  asked_.reset(new_event());
  for (auto& event : beside_) event.reset(new_event());
  void* staging = nullptr;
  BM3_CHECK(cudaMallocHost(&staging, staging_slots * staging_bytes));
  staging_.reset(staging);
  for (size_t k = 0; k < staging_slots; ++k)
    slots_.push_back({Owned<cudaEvent_t, cudaEventDestroy>(new_event())});
}

Runtime::~Runtime() {
  for (auto* stream : {&stream_, &side_})
    static_cast<void>(cudaStreamSynchronize(stream->get()));
}

cudaError_t Runtime::try_allocate(void** memory, size_t bytes, Kind kind) {
  refuse_in_record("an allocation");
  const bool on_host = kind == Kind::table_on_host;
  const size_t some = std::max<size_t>(bytes, 1);
  const cudaError_t status = on_host ? cudaHostAlloc(memory, some, cudaHostAllocMapped)
                                     : cudaMalloc(memory, some);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // so that later calls do not report it again
    return status;
  }
  BM3_CHECK(status);
  blocks_[*memory] = {bytes, ++clock_, kind};
  (on_host ? on_host_ : allocated_) += bytes;
  return status;
}

void* Runtime::allocate(size_t bytes) {
  void* memory = nullptr;
  check(try_allocate(&memory, bytes, Kind::plain), ("cudaMalloc of " + mebibytes(bytes)).c_str(),
        __FILE__, __LINE__);
  return memory;
}

void* Runtime::allocate_table(size_t bytes) {
  size_t free = 0, total = 0;
  BM3_CHECK(cudaMemGetInfo(&free, &total));
  const size_t others = allocated_ - tables_, to_come = reserve_ - std::min(reserve_, others);
  void* memory = nullptr;
  if (bytes <= free && spare <= free - bytes && to_come <= free - bytes - spare &&
      !failed(try_allocate(&memory, bytes, Kind::table))) {
    tables_ += bytes;
    return memory;
  }
  // Kernels read and write it where it is; with unified addressing the pointer is the host's own.
  const auto call = "cudaHostAlloc of " + mebibytes(bytes) + " for features too large for the GPU";
  check(try_allocate(&memory, bytes, Kind::table_on_host), call.c_str(), __FILE__, __LINE__);
  return memory;
}

void Runtime::release(void* memory) noexcept {
  const auto block = blocks_.find(memory);
  if (block == blocks_.end()) return;
  for (auto* stream : {&stream_, &side_})
    static_cast<void>(cudaStreamSynchronize(stream->get()));
  // A record that was made while this memory was there may use it.
  const auto [bytes, born, kind] = block->second;
  records_.erase(std::remove_if(records_.begin(), records_.end(),
                                [born = born](const Record& r) { return r.born > born; }),
                 records_.end());
  (kind == Kind::table_on_host ? on_host_ : allocated_) -= bytes;
  if (kind == Kind::table) tables_ -= bytes;
  blocks_.erase(block);
  static_cast<void>(kind == Kind::table_on_host ? cudaFreeHost(memory) : cudaFree(memory));
}

void Runtime::zero(void* dst, size_t bytes) {
  if (bytes) BM3_CHECK(cudaMemsetAsync(dst, 0, bytes, stream()));
}

void Runtime::upload(void* dst, const void* src, size_t bytes) {
  refuse_in_record("an upload");
  if (is_on_host(dst)) synchronize();  // a copy within the host's memory need not wait for a stream
  for (size_t done = 0; done < bytes;) {
    const size_t piece = ring_.piece(bytes - done), slot = ring_.next();
    const cudaEvent_t free = slots_[slot].free.get();
    char* staged = static_cast<char*>(staging_.get()) + slot * staging_bytes;
    BM3_CHECK(cudaEventSynchronize(free));
    std::memcpy(staged, static_cast<const char*>(src) + done, piece);
    BM3_CHECK(cudaMemcpyAsync(static_cast<char*>(dst) + done, staged, piece,
                              cudaMemcpyDefault, stream()));
    BM3_CHECK(cudaEventRecord(free, stream()));
    done += piece;
  }
}

void Runtime::download(void* dst, const void* src, size_t bytes) {
  refuse_in_record("a download");
  synchronize();
  for (size_t done = 0; done < bytes;) {  // every slot of the ring is free now
    const size_t piece = std::min(bytes - done, staging_slots * staging_bytes);
    BM3_CHECK(cudaMemcpyAsync(staging_.get(), static_cast<const char*>(src) + done, piece,
                              cudaMemcpyDefault, stream()));
    synchronize();
    std::memcpy(static_cast<char*>(dst) + done, staging_.get(), piece);
    done += piece;
  }
}

bool Runtime::is_on_host(const void* memory) const {
  if (on_host_ == 0) return false;
  const auto* at = static_cast<const char*>(memory);
  return std::any_of(blocks_.begin(), blocks_.end(), [&](const auto& block) {
    const auto* first = static_cast<const char*>(block.first);
    return block.second.kind == Kind::table_on_host && at >= first &&
           at < first + block.second.bytes;
  });
}

void Runtime::synchronize() {
  for (auto* each : {&stream_, &side_}) BM3_CHECK(cudaStreamSynchronize(each->get()));
}

// The side stream starts after all that the main one has been asked for, among it the last step
// that read the slot's memory; the main stream goes on at once, and waits at `join`. In a recorded
// step the two waits make a branch of the graph.
void Runtime::beside(size_t slot, const std::function<void()>& work) {
  BM3_CHECK(cudaEventRecord(asked_.get(), stream_.get()));
  BM3_CHECK(cudaStreamWaitEvent(side_.get(), asked_.get(), 0));
  is_beside_ = true;
  try {
    work();
  } catch (...) {
    is_beside_ = false;
    throw;
  }
  is_beside_ = false;
  BM3_CHECK(cudaEventRecord(beside_[slot].get(), side_.get()));
}

void Runtime::join(size_t slot) {
  BM3_CHECK(cudaStreamWaitEvent(stream_.get(), beside_[slot].get(), 0));
}

double Runtime::seconds_of(const std::function<void()>& work) {
  refuse_in_record("a measurement");
  cudaEvent_t event = nullptr;
  BM3_CHECK(cudaEventCreate(&event));
  const Owned<cudaEvent_t, cudaEventDestroy> start(event);
  BM3_CHECK(cudaEventCreate(&event));
  const Owned<cudaEvent_t, cudaEventDestroy> stop(event);
  synchronize();
  // Meanwhile the host asks for all of `work`, so that the time is the device's alone.
  cuda::start(stream(), 1, 1, linger, launching);
  BM3_CHECK(cudaEventRecord(start.get(), stream()));
  work();
  BM3_CHECK(cudaEventRecord(stop.get(), stream()));
  BM3_CHECK(cudaEventSynchronize(stop.get()));
  float milliseconds = 0;
  BM3_CHECK(cudaEventElapsedTime(&milliseconds, start.get(), stop.get()));
  return 1e-3 * static_cast<double>(milliseconds);
}

void Runtime::refuse_in_record(const char* what) const {
  if (recording_) throw Error(std::string(what) + " cannot be part of a recorded step");
}

void Runtime::replay(uint64_t key, const std::function<void()>& work) {
  const auto found = std::find_if(records_.begin(), records_.end(),
                                  [&](const Record& r) { return r.key == key; });
  if (found == records_.end()) {
    work();
    if (records_.size() == most_records) {
      synchronize();
      records_.erase(records_.begin());
    }
    records_.push_back({key, ++clock_, nullptr});
    return;
  }
  std::rotate(found, found + 1, records_.end());
  Record& used = records_.back();
  if (!used.graph) used.graph = record(work);
  BM3_CHECK(cudaGraphLaunch(used.graph.get(), stream()));
}

Owned<cudaGraphExec_t, cudaGraphExecDestroy> Runtime::record(const std::function<void()>& work) {
  BM3_CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal));
  recording_ = true;
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  recording_ = false;
  cudaGraph_t captured = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream(), &captured);
  const Owned<cudaGraph_t, cudaGraphDestroy> graph(captured);
  if (failure) {
    static_cast<void>(cudaGetLastError());
    std::rethrow_exception(failure);
  }
  BM3_CHECK(status);
  cudaGraphExec_t executable = nullptr;
  BM3_CHECK(cudaGraphInstantiate(&executable, graph.get(), 0));
  return Owned<cudaGraphExec_t, cudaGraphExecDestroy>(executable);
}

void Workspace::grow(size_t bytes) {
  runtime_.refuse_in_record("the growth of working memory");
  runtime_.release(memory_);  // and with it the graphs that use it
  memory_ = nullptr;
  bytes_ = 0;
  memory_ = runtime_.allocate(bytes);
  bytes_ = bytes;
}

}  // namespace cuda
}  // namespace bm3
