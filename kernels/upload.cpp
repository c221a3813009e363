// Batches on their way to the device: through pinned slots that grow, so that the host goes on while
// the copy is made. With pageable memory every training step would wait for its batch.
//
// The host asks for a step while the one before still runs. A large batch therefore crosses the bus
// on the copy stream, into device memory of its slot, during that step; only a copy within the
// device, at the memory's bandwidth, stands between two steps. The step finds its inputs at the
// addresses that its graph was captured with.
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "common/stream.hpp"
#include "runtime.hpp"

namespace flr::cuda {

namespace {

/// From here on the time on the bus (some 10 µs) exceeds what events and the second copy cost.
constexpr index_t prefetch_bytes = index_t{256} << 10;

/// FLR_PREFETCH=off: everything in the order of the compute stream. Asked at every call, once for a
/// batch, so that a test can compare.
bool prefetching() {
  const char* text = std::getenv("FLR_PREFETCH");
  return !text || std::strcmp(text, "off") != 0;
}

class UploadRing {
 public:
  void copy(void* dst, const void* src, index_t bytes) {
    std::lock_guard lock(mutex_);
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % count;
    if (!slot.done) start(slot);
    check_cuda(cudaEventSynchronize(slot.done), "waiting for an upload");
    if (slot.size < bytes) grow(slot, bytes);
    std::memcpy(slot.memory, src, static_cast<std::size_t>(bytes));
    if (bytes >= prefetch_bytes && prefetching() && has_staging(slot, bytes))
      prefetch(slot, dst, bytes);
    else
      straight(slot, dst, bytes);
  }

 private:
  static constexpr int count = 4;  // x and y of two batches
  struct Slot {
    void* memory = nullptr;  ///< pinned
    index_t size = 0;
    void* staging = nullptr;  ///< on the device
    index_t staging_size = 0;
    cudaEvent_t done = nullptr;      ///< `memory` has been read
    cudaEvent_t consumed = nullptr;  ///< `staging` has been read
  };

  static void start(Slot& slot) {
    check_cuda(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "creating an event");
    check_cuda(cudaEventCreateWithFlags(&slot.consumed, cudaEventDisableTiming),
               "creating an event");
  }

  static void straight(Slot& slot, void* dst, index_t bytes) {
    check_cuda(cudaMemcpyAsync(dst, slot.memory, static_cast<std::size_t>(bytes),
                               cudaMemcpyHostToDevice, stream()),
               "uploading");
    check_cuda(cudaEventRecord(slot.done, stream()), "recording an event");
  }

  static void prefetch(Slot& slot, void* dst, index_t bytes) {
    const auto size = static_cast<std::size_t>(bytes);
    check_cuda(cudaStreamWaitEvent(copy_stream(), slot.consumed, 0), "ordering an upload");
    check_cuda(cudaMemcpyAsync(slot.staging, slot.memory, size, cudaMemcpyHostToDevice,
                               copy_stream()),
               "uploading");
    check_cuda(cudaEventRecord(slot.done, copy_stream()), "recording an event");
    check_cuda(cudaStreamWaitEvent(stream(), slot.done, 0), "ordering an upload");
    check_cuda(cudaMemcpyAsync(dst, slot.staging, size, cudaMemcpyDeviceToDevice, stream()),
               "copying a batch");
    check_cuda(cudaEventRecord(slot.consumed, stream()), "recording an event");
  }

  static void grow(Slot& slot, index_t bytes) {
    if (slot.memory) check_cuda(cudaFreeHost(slot.memory), "freeing pinned memory");
    slot.memory = nullptr, slot.size = 0;
    check_cuda(cudaHostAlloc(&slot.memory, static_cast<std::size_t>(bytes), cudaHostAllocDefault),
               "allocating pinned memory");
    slot.size = bytes;
  }

  /// Device memory of its own: a block of the pool may still be read by kernels of the compute
  /// stream. Where there is none left the batch goes straight.
  static bool has_staging(Slot& slot, index_t bytes) {
    if (slot.staging_size >= bytes) return true;
    check_cuda(cudaEventSynchronize(slot.consumed), "waiting for a batch");
    if (slot.staging) check_cuda(cudaFree(slot.staging), "freeing memory of an upload");
    slot.staging = nullptr, slot.staging_size = 0;
    const cudaError_t status = cudaMalloc(&slot.staging, static_cast<std::size_t>(bytes));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // the answer, not an error that the next launch should report
      slot.staging = nullptr;
      return false;
    }
    check_cuda(status, "allocating memory for uploads");
    slot.staging_size = bytes;
    return true;
  }

  std::mutex mutex_;
  Slot slots_[count];
  int next_ = 0;
};

}  // namespace

void upload(void* dst, const void* src, index_t bytes) {
  check(!capturing(), "[cuda] a batch is uploaded before a step's capture or replay, not within");
  static UploadRing* ring = new UploadRing;  // outlives every static tensor
  if (bytes > 0) ring->copy(dst, src, bytes);
}

}  // namespace flr::cuda
