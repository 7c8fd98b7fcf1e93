#include "ops/cpu/cpu_ops.h"

#include <chrono>
#include <new>

#include "error.h"

namespace bm3 {

template <class T>
CpuOps<T>::CpuOps(int threads)
    : shares_(static_cast<size_t>(threads > 0 ? threads : omp_get_max_threads())),
      scratch_(shares_.size()) {}

template <class T>
std::string CpuOps<T>::name() const {
  const size_t threads = shares_.size();
  return "CPU, " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

template <class T>
void* CpuOps<T>::allocate(size_t bytes) {
  void* memory = ::operator new(bytes, std::align_val_t{64}, std::nothrow);
  if (!memory)
    throw Error("out of memory: ", bytes >> 20,
                " MiB asked for; a smaller data set, --batch or --dim needs less");
  blocks_[memory] = bytes;
  most_ = std::max(most_, allocated());
  return memory;
}

template <class T>
void CpuOps<T>::release(void* memory) noexcept {
  blocks_.erase(memory);
  ::operator delete(memory, std::align_val_t{64});
}

template <class T>
size_t CpuOps<T>::allocated() const {
  size_t bytes = shared_.bytes() + partial_.capacity() * sizeof(double);
  for (const auto& [memory, size] : blocks_) bytes += size;
  size_t largest = 0;  // of the threads' scratch: which of them has grown so far is chance
  for (const auto& own : scratch_) largest = std::max(largest, own.bytes());
  return bytes + largest;
}

template <class T>
double CpuOps<T>::seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class T>
std::unique_ptr<Ops<T>> make_cpu_ops(int threads) {
  return std::make_unique<CpuOps<T>>(threads);
}

template class CpuOps<float>;
template class CpuOps<double>;
template std::unique_ptr<Ops<float>> make_cpu_ops<float>(int);
template std::unique_ptr<Ops<double>> make_cpu_ops<double>(int);

}  // namespace bm3
