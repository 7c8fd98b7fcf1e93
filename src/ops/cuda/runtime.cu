#include "ops/cuda/runtime.h"

#include <cstddef>
#include <cstring>

#include "ops/cuda/cuda.h"
#include "ops/cuda/kernel.h"

namespace bm3::cuda {
namespace {

constexpr size_t most_records = 64;  // each holds a few hundred KiB

/// What an upload brings, and where it belongs.
struct Slot {
  char* to;
  size_t n;
  char bytes[(size_t{1} << 20) - 2 * sizeof(size_t)];  // a batch's row lists are far fewer
};
/// Slots take turns: `taken` counts the arrivals that were copied.
constexpr size_t n_slots = 8;
struct Slots {
  Slot at[n_slots];
  unsigned taken, blocks_done;
};

__global__ void nothing() {}

/// Keeps a stream busy for this many of the GPU's cycles.
__global__ void linger(long long cycles) {
  const long long start = clock64();
  while (clock64() - start < cycles) continue;
}
/// Copies what the next slot has to where it belongs. As a kernel that finds the slot itself it can
/// be a part of a record.
__global__ void arrive_kernel(Slots* slots) {
  const Slot& slot = slots->at[slots->taken % n_slots];
  const bool wide = reinterpret_cast<uintptr_t>(slot.to) % 16 == 0;
  const size_t vectors = wide ? slot.n / 16 : 0, threads = size_t{gridDim.x} * block_threads;
  for (size_t i = grid_thread(); i < vectors; i += threads)
    vector_at<16>(slot.to + 16 * i) = vector_at<16>(slot.bytes + 16 * i);
  for (size_t i = 16 * vectors + grid_thread(); i < slot.n; i += threads)
    slot.to[i] = slot.bytes[i];
  __syncthreads();  // the block has read `taken`
  if (threadIdx.x == 0 && atomicInc(&slots->blocks_done, gridDim.x - 1) == gridDim.x - 1)
    ++slots->taken;
}

constexpr long long launching = 170000;  // cycles, about 0.1 ms

}  // namespace

bool works(std::string& why) {
  int devices = 0;
  cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices == 0) status = cudaErrorNoDevice;
  cudaFuncAttributes attributes{};
  // A build for other architectures fails here and not in the first step.
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, nothing);
  if (status == cudaSuccess) return true;
  why = "no GPU works: " + failure(status).message;
  static_cast<void>(cudaGetLastError());  // later calls would report it again
  return false;
}

Runtime::Runtime() {
  std::string why;
  if (!works(why)) throw Error(why);
  BM3_CHECK(cudaSetDevice(0));
  BM3_CHECK(cudaGetDeviceProperties(&properties_, 0));
  lanes_.create();
  BM3_CHECK(cudaStreamCreateWithFlags(Into(uploading_), cudaStreamNonBlocking));
  arrived_ = new_event();
  BM3_CHECK(cudaMallocHost(Into(staging_), sizeof(Slots)));
  for (size_t k = 0; k < n_slots; ++k) copied_.push_back(new_event());
  landing_ = allocate(sizeof(Slots));
  BM3_CHECK(cudaMemsetAsync(landing_, 0, sizeof(Slots), uploading_.get()));
}

Runtime::~Runtime() {
  static_cast<void>(cudaStreamSynchronize(uploading_.get()));
  Runtime::release(landing_);  // which waits for the others
}

void Runtime::turn_to(const Spans& spans) {
  arrive();
  launch_waiting([&](const Waiting& w) { return conflict(w.spans, spans); });
  if (lanes_.side_by_side()) lanes_.turn_to(spans);
}

void Runtime::do_side_by_side(const std::function<void()>& work) {
  std::exception_ptr failure;
  const auto attempt = [&](const auto& step) {
    try {
      step();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  };
  attempt([&] {
    lanes_.begin();
    work();
  });
  // Even then: what was issued may still run, and a record must end in one stream.
  attempt([&] { launch_waiting(); });
  attempt([&] { lanes_.end(); });
  if (failure) std::rethrow_exception(failure);
}

void* Runtime::allocate(size_t bytes) {
  refuse_in_record("an allocation");
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
  static_cast<void>(cudaGetLastError());  // later calls would report a failure again
  check(status, ("cudaMalloc of " + mebibytes(bytes)).c_str(), __FILE__, __LINE__);
  blocks_[memory] = {bytes, ++clock_};
  allocated_ += bytes;
  most_allocated_ = std::max(most_allocated_, allocated_);
  return memory;
}

bool Runtime::holds(const void* memory, const void* at) const {
  const auto block = blocks_.find(memory);
  const auto first = reinterpret_cast<uintptr_t>(memory), there = reinterpret_cast<uintptr_t>(at);
  return block != blocks_.end() && there >= first && there - first < block->second.bytes;
}

void Runtime::release(void* memory) noexcept {
  const auto attempt = [](const auto& step) {
    try {
      step();
    } catch (...) {  // the next call that is checked tells
    }
  };
  attempt([&] { arrive(); });  // both may use the memory
  attempt([&] { launch_waiting(); });
  free(memory);
}

void Runtime::free(void* memory) noexcept {
  const auto block = blocks_.find(memory);
  if (block == blocks_.end()) return;
  for (size_t k = 0; k < Lanes::count; ++k)
    static_cast<void>(cudaStreamSynchronize(lanes_.stream(k)));
  // A record that was made while this memory was there may use it.
  const auto [bytes, born] = block->second;
  records_.erase(std::remove_if(records_.begin(), records_.end(),
                                [born = born](const Record& r) { return r.born > born; }),
                 records_.end());
  allocated_ -= bytes;
  blocks_.erase(block);
  static_cast<void>(cudaFree(memory));
}

void Runtime::zero(void* dst, size_t bytes) {
  const Matrix<char> all{static_cast<char*>(dst), 1, bytes};
  if (bytes) BM3_CHECK(cudaMemsetAsync(dst, 0, bytes, stream_for(all)));
}

void Runtime::upload(void* dst, const void* src, size_t bytes) {
  if (lanes_.side_by_side()) throw Error("an upload cannot be part of a replay");
  launch_waiting();  // no call names the row lists that it reads
  for (size_t done = 0; done < bytes;) {
    arrive();
    const size_t turn = turn_ % n_slots;
    Slot& staged = static_cast<Slots*>(staging_.get())->at[turn];
    const size_t piece = std::min(bytes - done, sizeof staged.bytes);
    BM3_CHECK(cudaEventSynchronize(copied_[turn].get()));
    staged.to = static_cast<char*>(dst) + done;
    staged.n = piece;
    std::memcpy(staged.bytes, static_cast<const char*>(src) + done, piece);
    // This copy does not wait for earlier work, which may still use `dst`: the slot is free.
    BM3_CHECK(cudaMemcpyAsync(&static_cast<Slots*>(landing_)->at[turn], &staged,
                              offsetof(Slot, bytes) + piece, cudaMemcpyDefault, uploading_.get()));
    BM3_CHECK(cudaEventRecord(arrived_.get(), uploading_.get()));
    BM3_CHECK(cudaStreamWaitEvent(main_stream(), arrived_.get(), 0));
    ++turn_;
    arriving_ = piece;
    done += piece;
  }
}

void Runtime::arrive() {
  if (arriving_ == 0) return;
  copy_arrival(arriving_);
  free_slot();
}

void Runtime::copy_arrival(size_t bytes) {
  launch(main_stream(), std::clamp(blocks_of(bytes, 16 * block_threads), 1u, 32u), block_threads,
         arrive_kernel, static_cast<Slots*>(landing_));
}

void Runtime::free_slot() {
  arriving_ = 0;
  BM3_CHECK(cudaEventRecord(copied_[(turn_ - 1) % n_slots].get(), main_stream()));
}

void Runtime::download(void* dst, const void* src, size_t bytes) {
  refuse_in_record("a download");
  synchronize();
  BM3_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, main_stream()));
  synchronize();
}

void Runtime::synchronize() {
  arrive();
  launch_waiting();
  lanes_.synchronize();
}

double Runtime::seconds_of(const std::function<void()>& work) {
  refuse_in_record("a measurement");
  const Event begin = new_event(0), end = new_event(0);
  synchronize();
  // Meanwhile the host issues all of `work`, so that the time is the device's alone.
  launch(main_stream(), 1, 1, linger, launching);
  BM3_CHECK(cudaEventRecord(begin.get(), main_stream()));
  work();
  arrive();
  launch_waiting();
  BM3_CHECK(cudaEventRecord(end.get(), main_stream()));
  BM3_CHECK(cudaEventSynchronize(end.get()));
  float milliseconds = 0;
  BM3_CHECK(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return 1e-3 * static_cast<double>(milliseconds);
}

void Runtime::refuse_in_record(const char* what) const {
  if (recording_) throw Error(what, " cannot be part of a recorded step");
}

void Runtime::replay(uint64_t key, const std::function<void()>& work) {
  if (lanes_.side_by_side()) return work();  // a part of something larger
  launch_waiting();
  const bool arrives = arriving_ > 0;
  const auto found = std::find_if(records_.begin(), records_.end(), [&](const Record& r) {
    return r.key == key && r.arrives == arrives;
  });
  if (found == records_.end()) {
    arrive();
    do_side_by_side(work);
    if (records_.size() == most_records) {
      synchronize();
      records_.erase(records_.begin());
    }
    records_.push_back({key, arrives, ++clock_, nullptr});
    return;
  }
  std::rotate(found, found + 1, records_.end());
  Record& used = records_.back();
  if (!used.graph) record(used, work);
  BM3_CHECK(cudaGraphLaunch(used.graph.get(), main_stream()));
  if (arrives) free_slot();
}

void Runtime::record(Record& out, const std::function<void()>& work) {
  BM3_CHECK(cudaStreamBeginCapture(main_stream(), cudaStreamCaptureModeThreadLocal));
  recording_ = true;
  std::exception_ptr failure;
  const size_t arriving = std::exchange(arriving_, 0);
  try {
    if (arriving > 0) copy_arrival(arriving);
    do_side_by_side(work);
  } catch (...) {
    failure = std::current_exception();
  }
  recording_ = false;
  arriving_ = arriving;
  Owned<cudaGraph_t, cudaGraphDestroy> graph;
  const cudaError_t status = cudaStreamEndCapture(main_stream(), Into(graph));
  if (failure) {
    static_cast<void>(cudaGetLastError());
    std::rethrow_exception(failure);
  }
  BM3_CHECK(status);
  BM3_CHECK(cudaGraphInstantiate(Into(out.graph), graph.get(),
                                 cudaGraphInstantiateFlagUseNodePriority));
}

}  // namespace bm3::cuda
