// The threads of a block, as fibers of one thread of the CPU: one runs until it waits for others.
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {
namespace {

constexpr size_t stack_bytes = 1049 * 64;  // no power of two, for the cache
constexpr unsigned warp = 32;

/// Runs threads of the block one after another; where one waits, others run on other fibers.
struct Fiber {
  ucontext_t first;
  void* here[5];  // where to go on, for __builtin_longjmp
  bool started = false;
  unsigned thread = 0;
  uint3 index{};  // threadIdx
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
};

/// Threads that wait for each other: a block, or a warp.
struct Group {
  unsigned size = 0, ended = 0;
  uint64_t meetings = 0;
  std::vector<Fiber*> waiting;
  uint64_t bits[2][warp];  // a warp's, of this meeting and the last
};

Group block;
std::vector<Group> warps;
unsigned next_thread;
const Work* kernel;
// Random in each grid, so that a kernel which relies on an order shows.
bool backwards;     // from the last block and thread on
bool newest_first;  // of threads that may go on
Fiber* now;
std::deque<Fiber*> ready;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle;
void* scheduler[5];

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "CUDA on the CPU: %s: thread (%u, %u) of block (%u, %u)\n", what,
               threadIdx.x, threadIdx.y, blockIdx.x, blockIdx.y);
  std::abort();
}

unsigned in_turn(unsigned k, unsigned n) { return backwards ? n - 1 - k : k; }

[[gnu::noinline]] void go(void** there) { __builtin_longjmp(there, 1); }
/// To the scheduler, until it comes back to this fiber.
[[gnu::noinline]] void leave(Fiber& fiber) {
  if (!__builtin_setjmp(fiber.here)) go(scheduler);
}
/// The fiber goes on, until it leaves.
[[gnu::noinline]] void resume(Fiber& fiber) {
  now = &fiber;
  if (__builtin_setjmp(scheduler)) return;
  if (fiber.started) go(fiber.here);
  fiber.started = true;
  setcontext(&fiber.first);
}

void wake(Group& group) {
  ++group.meetings;
  for (Fiber* fiber : group.waiting) ready.push_back(fiber);
  group.waiting.clear();
}

void end_thread(unsigned thread) {
  ++warps[thread / warp].ended;
  ++block.ended;
  if (!block.waiting.empty() && block.waiting.size() + block.ended == block.size) wake(block);
}

void fiber_main() {
  Fiber& own = *now;
  for (;;) {
    while (next_thread < block.size) {
      own.thread = in_turn(next_thread++, block.size);
      own.index = threadIdx = {own.thread % blockDim.x, own.thread / blockDim.x, 0};
      (*kernel)();
      end_thread(own.thread);
    }
    idle.push_back(&own);
    leave(own);
  }
}

Fiber& an_idle_fiber() {
  if (idle.empty()) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers.back();
    getcontext(&fiber.first);
    fiber.first.uc_stack.ss_sp = fiber.stack.get();
    fiber.first.uc_stack.ss_size = stack_bytes;
    makecontext(&fiber.first, fiber_main, 0);
    idle.push_back(&fiber);
  }
  Fiber& fiber = *idle.back();
  idle.pop_back();
  return fiber;
}

void run_block() {
  const unsigned threads = blockDim.x * blockDim.y;
  block = Group{threads, 0, 0, {}, {}};
  warps.assign((threads + warp - 1) / warp, Group{warp, 0, 0, {}, {}});
  next_thread = 0;
  while (block.ended < threads) {
    if (!ready.empty()) {
      Fiber& fiber = newest_first ? *ready.back() : *ready.front();
      newest_first ? ready.pop_back() : ready.pop_front();
      threadIdx = fiber.index;
      resume(fiber);
    } else if (next_thread < threads) {
      resume(an_idle_fiber());
    } else {
      fail("threads wait for each other in different places, the last of them");
    }
  }
}

/// Waits until all of the group that have not ended have come.
void meet(Group& group) {
  if (group.waiting.size() + group.ended + 1 == group.size) return wake(group);
  Fiber& own = *now;
  group.waiting.push_back(&own);
  leave(own);
}

}  // namespace

const uint64_t* exchange(unsigned mask, uint64_t bits) {
  const unsigned thread = now->thread;
  Group& group = warps[thread / warp];
  if (mask != 0xffffffffu) fail("only whole warps are known here");
  if (group.ended > 0) fail("a warp's lanes are asked for, and one of them has ended");
  uint64_t* const all = group.bits[group.meetings % 2];
  all[thread % warp] = bits;
  meet(group);
  return all;
}

void run_grid(dim3 blocks, dim3 threads, const Work& of_kernel) {
  kernel = &of_kernel;
  blockDim = threads;
  gridDim = blocks;
  static std::minstd_rand random;
  backwards = random() % 2 == 0;
  newest_first = random() % 2 == 0;
  for (unsigned z = 0; z < blocks.z; ++z)
    for (unsigned y = 0; y < blocks.y; ++y)
      for (unsigned x = 0; x < blocks.x; ++x) {
        blockIdx = {in_turn(x, blocks.x), in_turn(y, blocks.y), in_turn(z, blocks.z)};
        run_block();
      }
}

}  // namespace cuda_on_cpu

void __syncthreads() { cuda_on_cpu::meet(cuda_on_cpu::block); }

unsigned __ballot_sync(unsigned mask, bool vote) {
  const uint64_t* const votes = cuda_on_cpu::exchange(mask, vote);
  unsigned out = 0;
  for (unsigned lane = 0; lane < 32; ++lane) out |= static_cast<unsigned>(votes[lane]) << lane;
  return out;
}
