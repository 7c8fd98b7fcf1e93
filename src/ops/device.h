#pragma once
// Memory of a device, and the order of work on it. The model never dereferences such memory.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bm3 {

/// Slots of work beside (Device::beside): the next batch's, in its place 0 or 1, and a part of a
/// step or of a ranking.
constexpr size_t part_of_step = 2, n_slots = 3;

/// Where the operations run. Work is done in the order in which it is asked for, but for `beside`;
/// `download` and `synchronize` wait for it, and `upload` while earlier ones crowd the way.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// The device in words, for a person.
  virtual std::string name() const = 0;
  /// `bytes` bytes of device memory, not initialised. Error when there is not enough.
  virtual void* allocate(size_t bytes) = 0;
  /// The same for a large table whose rows are read and written by row lists. A device that is
  /// short of memory may leave it in the host's: slower, with the same results.
  virtual void* allocate_table(size_t bytes) { return allocate(bytes); }
  virtual void release(void* memory) noexcept = 0;
  /// Bytes of device memory that are taken now, working memory of the operations included.
  virtual size_t allocated() const = 0;
  /// dst[0..bytes) = 0.
  virtual void zero(void* dst, size_t bytes) = 0;
  /// Copies host memory to the device; `src` may be changed when the call is back.
  virtual void upload(void* dst, const void* src, size_t bytes) = 0;
  /// Copies device memory to the host and waits until it is there.
  virtual void download(void* dst, const void* src, size_t bytes) = 0;
  /// Waits until all work asked for is done.
  virtual void synchronize() = 0;
  /// Seconds that the device takes for `work`, by its own clock and with nothing else to do; waits
  /// for it.
  virtual double seconds_of(const std::function<void()>& work) = 0;
  /// Does `work`, a fixed sequence of operations. Calls of one key always ask for the same
  /// operations on the same memory and sizes, so that a device may record them once and replay the
  /// record.
  virtual void replay(uint64_t key, const std::function<void()>& work) = 0;
  /// Rows of a batch are padded to a multiple of this, so that few distinct sizes (keys of
  /// `replay`) occur. 1: no padding.
  virtual size_t row_padding() const = 0;
  /// Whether a linear layer is better given a copy of a batch's rows than the table and the rows'
  /// numbers: a product that wants its operand in one piece would gather it forward and backward.
  virtual bool copies_rows() const = 0;

  /// Whether tables lie in the host's memory, so that a batch's tuned rows, too, are better fetched
  /// ahead (frozen ones are wherever `copies_rows` holds).
  virtual bool fetches_ahead() const { return false; }
  /// Does `work` after all that has been asked for and beside what is asked for next, at the latest
  /// at `join` of the same slot. The batches' slots share one order of work; what is beside in a
  /// `replay` is joined in it. A device with one order of work does everything at once.
  virtual void beside(size_t slot, const std::function<void()>& work) {
    static_cast<void>(slot);
    work();
  }
  /// What is asked for next comes after the last work beside of this slot.
  virtual void join(size_t slot) { static_cast<void>(slot); }
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
  /// The same as Array(device, n) in the memory of a table.
  static Array table(Device& device, size_t n) {
    Array out;
    out.data_ = static_cast<E*>(device.allocate_table(n * sizeof(E)));
    out.device_ = &device;
    out.size_ = n;
    device.zero(out.data_, n * sizeof(E));
    return out;
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
  /// The host's copy of all elements; waits for the device.
  std::vector<E> host() const {
    std::vector<E> out(size_);
    if (size_) device_->download(out.data(), data_, size_ * sizeof(E));
    return out;
  }
  void upload(const std::vector<E>& host) {
    device_->upload(data_, host.data(), host.size() * sizeof(E));
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

}  // namespace bm3
