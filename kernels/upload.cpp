// Batches on their way to the device: through pinned slots that grow, so that the host goes on while
// the copy is made. With pageable memory every training step would wait for its batch.
#include <cstring>
#include <mutex>

#include "common/stream.hpp"
#include "runtime.hpp"

namespace flr::cuda {

namespace {

class UploadRing {
 public:
  void copy(void* dst, const void* src, index_t bytes) {
    std::lock_guard lock(mutex_);
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % count;
    if (!slot.done)
      check_cuda(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "creating an event");
    check_cuda(cudaEventSynchronize(slot.done), "waiting for an upload");
    if (slot.size < bytes) grow(slot, bytes);
    std::memcpy(slot.memory, src, static_cast<std::size_t>(bytes));
    check_cuda(cudaMemcpyAsync(dst, slot.memory, static_cast<std::size_t>(bytes),
                               cudaMemcpyHostToDevice, stream()),
               "uploading");
    check_cuda(cudaEventRecord(slot.done, stream()), "recording an event");
  }

 private:
  static constexpr int count = 4;  // x and y of two batches
  struct Slot {
    void* memory = nullptr;
    index_t size = 0;
    cudaEvent_t done = nullptr;
  };

  static void grow(Slot& slot, index_t bytes) {
    if (slot.memory) check_cuda(cudaFreeHost(slot.memory), "freeing pinned memory");
    slot.memory = nullptr, slot.size = 0;
    check_cuda(cudaHostAlloc(&slot.memory, static_cast<std::size_t>(bytes), cudaHostAllocDefault),
               "allocating pinned memory");
    slot.size = bytes;
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
