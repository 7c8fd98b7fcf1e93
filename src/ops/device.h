#pragma once
// Memory of a device, and the order of work on it. Models never dereference such memory.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ops/matrix.h"

namespace bm3 {

/// Where the operations run. Work runs in the order in which it is issued. `download` and
/// `synchronize` block; `upload` blocks only while its staging memory is full.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// Names the device for a person.
  virtual std::string name() const = 0;
  /// Returns `bytes` bytes of device memory, not initialised. Throws when there is not enough.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  /// Returns the bytes of device memory in use, the operations' working memory included, and the
  /// most that were ever in use.
  virtual size_t allocated() const = 0;
  virtual size_t most_allocated() const = 0;
  /// dst[0..bytes) = 0.
  virtual void zero(void* dst, size_t bytes) = 0;
  /// x = 0.
  template <class E>
  void zero(Matrix<E> x) {
    zero(x.at, x.size() * sizeof(E));
  }
  /// Copies host memory to the device, not within `replay`; `src` may change as soon as the call
  /// returns.
  virtual void upload(void* dst, const void* src, size_t bytes) = 0;
  /// Copies device memory to the host; blocks until it is there.
  virtual void download(void* dst, const void* src, size_t bytes) = 0;
  /// Blocks until all issued work is done.
  virtual void synchronize() = 0;
  /// Returns the seconds that the idle device takes for `work`, by its own clock.
  virtual double seconds_of(const std::function<void()>& work) = 0;
  /// Does `work`, a fixed sequence of operations. Calls with one key must issue the same operations
  /// on the same memory and sizes: a device may record them once and replay the record.
  virtual void replay(uint64_t key, const std::function<void()>& work) = 0;
  /// Returns the number to a multiple of which a batch's rows are padded, so that few distinct
  /// sizes (keys of `replay`) occur. 1: no padding.
  virtual size_t row_padding() const = 0;
};

/// A zero-initialised array of n elements in a device's memory, released with it.
template <class E>
class Array {
 public:
  Array() = default;
  Array(Device& device, size_t n) : device_(&device), size_(n) {
    data_ = static_cast<E*>(device.allocate(n * sizeof(E)));
    device.zero(data_, n * sizeof(E));
  }
  Array(Device& device, const std::vector<E>& host) : device_(&device), size_(host.size()) {
    data_ = static_cast<E*>(device.allocate(size_ * sizeof(E)));
    device.upload(data_, host.data(), size_ * sizeof(E));
  }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Array() {
    if (device_) device_->release(data_);
  }

  E* data() { return data_; }
  const E* data() const { return data_; }
  size_t size() const { return size_; }
  /// The first rows * cols elements as a matrix.
  Matrix<E> matrix(size_t rows, size_t cols) { return {data_, rows, cols}; }
  Matrix<const E> matrix(size_t rows, size_t cols) const { return {data_, rows, cols}; }
  /// All elements as row numbers.
  Rows rows() const { return {data_, size_}; }
  /// Returns the host's copy of all elements; blocks.
  std::vector<E> host() const {
    std::vector<E> out(size_);
    if (size_) device_->download(out.data(), data_, size_ * sizeof(E));
    return out;
  }
  void upload(const std::vector<E>& host) {
    device_->upload(data_, host.data(), host.size() * sizeof(E));
  }
  /// Takes these elements: in the memory there is, if they are as many.
  void assign(Device& device, const std::vector<E>& host) {
    if (size_ == host.size() && device_)
      upload(host);
    else
      *this = Array(device, host);
  }

 private:
  void swap(Array& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  Device* device_ = nullptr;
  E* data_ = nullptr;
  size_t size_ = 0;
};

/// A matrix [rows, cols] of zeros in a device's memory, released with it.
template <class E>
struct Table : Matrix<E> {
  Table() = default;
  Table(Device& device, size_t height, size_t width)
      : Matrix<E>{nullptr, height, width}, memory(device, height * width) {
    this->at = memory.data();
  }
  Array<E> memory;
};

/// Returns the host's copy of a matrix; blocks.
template <class T>
std::vector<T> host(Device& device, Matrix<const T> matrix) {
  std::vector<T> out(matrix.size());
  if (!out.empty()) device.download(out.data(), matrix.at, out.size() * sizeof(T));
  return out;
}

}  // namespace bm3
