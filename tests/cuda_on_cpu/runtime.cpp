// Memory, streams, events and graphs of CUDA on the CPU.
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"

using cuda_on_cpu::Work;

namespace {

constexpr size_t total_bytes = size_t{8} << 30;
size_t allocated = 0;
std::unordered_map<void*, size_t> blocks;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The place of an event on a stream.
struct Mark {
  cudaStream_t stream;
  size_t capture;  // number of the capture it is part of, or 0
  size_t after;    // how much of the stream's captured work it covers
  bool done = false;
  double time = 0;
};

/// What a stream does next: work, or, without, a wait for a mark.
struct Item {
  Work work;
  std::shared_ptr<Mark> awaited;
};
using Queue = std::deque<Item>;

}  // namespace

struct CUgraph_st {
  std::map<cudaStream_t, Queue> queues;
  std::vector<std::shared_ptr<Mark>> marks;
};
struct CUstream_st {
  Queue queue;
  CUgraph_st* graph = nullptr;  // that captures this stream now
  size_t captured = 0;          // work of this stream in it
  size_t joined = 0;            // how much of that the first stream has waited for
};
struct CUevent_st {
  std::shared_ptr<Mark> mark;
};

namespace {

std::vector<cudaStream_t> streams;
std::unique_ptr<CUgraph_st> capture;
size_t captures = 0;                         // so far
cudaError_t spoiled = cudaSuccess;           // what a call did to the capture
std::vector<cudaStream_t> captured_streams;  // the first is where it began

cudaError_t spoil(cudaError_t error) { return spoiled = error; }
/// Of calls that a thread which captures may not make.
cudaError_t refused_in_capture() {
  return capture ? spoil(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

/// Does what the queues hold, in a random one of the orders that their waits allow, until `done`.
template <class Done>
void run(const std::vector<Queue*>& queues, const Done& done) {
  static std::minstd_rand random;
  while (!done()) {
    std::vector<Queue*> ready;
    for (Queue* each : queues)
      if (!each->empty() && (!each->front().awaited || each->front().awaited->done))
        ready.push_back(each);
    if (ready.empty()) std::abort();  // they wait for each other
    Queue& next = *ready[random() % ready.size()];
    const Item item = std::move(next.front());
    next.pop_front();
    if (item.work) item.work();
  }
}
template <class Done>
void run_streams(const Done& done) {
  std::vector<Queue*> queues;
  for (const cudaStream_t stream : streams) queues.push_back(&stream->queue);
  run(queues, done);
}
void run_graph(const CUgraph_st& graph) {
  for (const auto& mark : graph.marks) mark->done = false;
  auto copies = graph.queues;
  std::vector<Queue*> queues;
  for (auto& [stream, queue] : copies) queues.push_back(&queue);
  run(queues, [&] {
    return std::all_of(queues.begin(), queues.end(), [](const Queue* q) { return q->empty(); });
  });
}

Queue& queue_of(cudaStream_t stream) {
  return stream->graph ? stream->graph->queues[stream] : stream->queue;
}

cudaError_t allocate(void** at, size_t bytes, bool counts) {
  if (const cudaError_t error = refused_in_capture()) return error;
  if (bytes > total_bytes - (counts ? allocated : 0)) return cudaErrorMemoryAllocation;
  if (posix_memalign(at, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*at, 0xff, bytes);
  if (counts) allocated += blocks[*at] = bytes;
  return cudaSuccess;
}

}  // namespace

void cuda_on_cpu::ask(cudaStream_t stream, Work work) {
  queue_of(stream).push_back({std::move(work), nullptr});
  if (stream->graph) ++stream->captured;
}

cudaError_t cuda_on_cpu::launch(const cudaLaunchConfig_t& grid, Work kernel) {
  const dim3 blocks = grid.gridDim, threads = grid.blockDim;
  if (blocks.x == 0 || blocks.x > 2147483647 || blocks.y == 0 || blocks.y > 65535 ||
      blocks.z == 0 || blocks.z > 65535 ||
      threads.x * threads.y == 0 || threads.x * threads.y > 1024)
    return cudaErrorInvalidConfiguration;
  ask(grid.stream, [=] { run_grid(blocks, threads, kernel); });
  return cudaSuccess;
}

long long clock64() { return static_cast<long long>(1e9 * seconds()); }

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorInvalidValue       ? "cudaErrorInvalidValue"
         : error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
                                              : "see cudaError_t";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue       ? "invalid argument"
         : error == cudaErrorMemoryAllocation ? "out of memory"
                                              : "on the CPU";
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int) {
  *out = {"CUDA on the CPU", total_bytes, 7};
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** at, size_t bytes) { return allocate(at, bytes, true); }
cudaError_t cudaMallocHost(void** at, size_t bytes) { return allocate(at, bytes, false); }
cudaError_t cudaFree(void* at) {
  if (const cudaError_t error = refused_in_capture()) return error;
  const auto block = blocks.find(at);
  if (block == blocks.end()) return at ? cudaErrorInvalidValue : cudaSuccess;
  allocated -= block->second;
  blocks.erase(block);
  std::free(at);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* at) {
  if (const cudaError_t error = refused_in_capture()) return error;
  return std::free(at), cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = total_bytes - allocated;
  *total = total_bytes;
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  cuda_on_cpu::ask(stream, [=] { std::memset(at, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, cudaStream_t stream) {
  cuda_on_cpu::ask(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  streams.push_back(*stream = new CUstream_st);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->graph) return spoil(cudaErrorStreamCaptureUnsupported);
  run_streams([&] { return stream->queue.empty(); });
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t status = cudaStreamSynchronize(stream);
  streams.erase(std::find(streams.begin(), streams.end(), stream));
  delete stream;
  return status;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const size_t of_capture = stream->graph ? captures : 0;
  const auto mark = std::make_shared<Mark>(Mark{stream, of_capture, stream->captured});
  event->mark = mark;
  if (mark->capture) capture->marks.push_back(mark);
  const auto pass = [mark] {
    mark->time = seconds();
    mark->done = true;
  };
  queue_of(stream).push_back({pass, nullptr});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (!event->mark) return cudaSuccess;
  if (event->mark->capture) return cudaErrorStreamCaptureIsolation;
  run_streams([&] { return event->mark->done; });
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = static_cast<float>(1e3 * (stop->mark->time - start->mark->time));
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const auto mark = event->mark;
  if (!mark) return cudaSuccess;
  if (!mark->capture && stream->graph)
    return spoil(cudaErrorStreamCaptureIsolation);  // for work outside its graph
  if (mark->capture) {
    if (!capture || mark->capture != captures) return cudaErrorStreamCaptureIsolation;  // ended
    if (!stream->graph) {
      stream->graph = capture.get();
      captured_streams.push_back(stream);
    }
    if (stream == captured_streams.front())
      mark->stream->joined = std::max(mark->stream->joined, mark->after);
  }
  queue_of(stream).push_back({nullptr, mark});
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int) {
  capture = std::make_unique<CUgraph_st>();
  ++captures;
  spoiled = cudaSuccess;
  captured_streams = {stream};
  stream->graph = capture.get();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t first, cudaGraph_t* graph) {
  for (const cudaStream_t stream : captured_streams) {
    if (stream != first && stream->joined != stream->captured)
      spoil(cudaErrorStreamCaptureUnjoined);
    stream->graph = nullptr;
    stream->captured = stream->joined = 0;
  }
  *graph = spoiled ? nullptr : capture.release();
  capture.reset();
  return spoiled;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned) {
  *out = new CUgraph_st(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  cuda_on_cpu::ask(stream, [graph] { run_graph(*graph); });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete graph, cudaSuccess; }
