#pragma once
// CUDA on the CPU: as much of the toolkit's interface as src/ops/cuda uses, under the toolkit's own
// names, so that its kernels run thread by thread where there is no GPU and no nvcc, under
// AddressSanitizer. It shows that they compute what they should, in bounds and in a lawful order;
// not how fast, and nothing of nvcc's code. See NVIDIA's documentation for what each call does; a
// comment here says only where this one is stricter or less.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

// ------------------------------------------------------------------------------------- kernels
#define __global__
#define __device__
#define __host__
#define __shared__ static  // blocks run one after another
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx;  // of the thread that runs now
extern dim3 blockDim, gridDim;

namespace cuda_on_cpu {
/// Puts `bits` where the other lanes of the warp see it and waits for all of them: each lane's, in
/// memory that is good until the second next call. Ends the program where a lane has ended, or
/// waits for its block: on a GPU that is undefined.
const uint64_t* exchange(unsigned mask, uint64_t bits);

template <class T>
T of_lane(unsigned mask, T mine, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &mine, sizeof(T));
  std::memcpy(&mine, exchange(mask, bits) + lane, sizeof(T));
  return mine;
}
}  // namespace cuda_on_cpu

void __syncthreads();
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda_on_cpu::exchange(mask, 0); }
unsigned __ballot_sync(unsigned mask, bool vote);
template <class T>
T __shfl_xor_sync(unsigned mask, T mine, unsigned other) {
  return cuda_on_cpu::of_lane(mask, mine, (threadIdx.x % 32) ^ other);
}
template <class T>
T __shfl_sync(unsigned mask, T mine, int lane, unsigned width = 32) {
  return cuda_on_cpu::of_lane(mask, mine, threadIdx.x % 32 / width * width + lane % width);
}
inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline void __threadfence() {}
inline unsigned atomicInc(unsigned* at, unsigned last) {
  const unsigned old = *at;
  *at = old >= last ? 0 : old + 1;
  return old;
}
inline unsigned atomicAdd(unsigned* at, unsigned more) {
  const unsigned old = *at;
  *at += more;
  return old;
}
inline unsigned atomicMax(unsigned* at, unsigned other) {
  const unsigned old = *at;
  *at = std::max(old, other);
  return old;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
inline void __stwb(float4* at, const float4& from) { std::memcpy(at, &from, sizeof from); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
long long clock64();
using std::max;
using std::min;

// ------------------------------------------------------------------------------------- runtime
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
};
const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = CUgraph_st*;
enum cudaDataType { CUDA_R_32F, CUDA_R_64F };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
enum { cudaMemcpyDefault = 4, cudaStreamCaptureModeThreadLocal = 1 };

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major;
};
struct cudaFuncAttributes {};
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel) {
  return cudaSuccess;
}

// Memory is filled with 0xff, NaN to both types of numbers, before it is handed out.
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, int, cudaStream_t);

// Streams do nothing until somebody waits for one of them, and then work in a random order among
// those that the events allow: work that is done in time by luck, such as a copy of memory that
// changes after the call, or a stream that does not wait for another, shows.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop);

// A captured graph's branches are likewise done in a random order.
cudaError_t cudaStreamBeginCapture(cudaStream_t, int);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

enum cudaLaunchAttributeID { cudaLaunchAttributePriority = 8 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int priority;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
constexpr unsigned cudaGraphInstantiateFlagUseNodePriority = 8;

namespace cuda_on_cpu {
using Work = std::function<void()>;
/// Puts work at a stream's end, or into the graph that captures it.
void ask(cudaStream_t, Work);
/// Asks for `kernel`, a call for one thread, over a grid.
cudaError_t launch(const cudaLaunchConfig_t& grid, Work kernel);
/// Runs it over the grid now.
void run_grid(dim3 blocks, dim3 threads, const Work& kernel);
/// Calls f with a number of this type.
template <class F>
void with_type(cudaDataType type, const F& f) {
  type == CUDA_R_32F ? f(0.0f) : f(0.0);
}
}  // namespace cuda_on_cpu

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* grid, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  return cuda_on_cpu::launch(*grid, [kernel, all = std::tuple<Parameters...>(arguments...)] {
    std::apply(kernel, all);
  });
}
