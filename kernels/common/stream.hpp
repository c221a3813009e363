// The streams and the device that the kernels use; host code, no kernel.
#pragma once

#include <cuda_runtime_api.h>

#include "flr/core/backend.hpp"

namespace flr::cuda {

/// Throws flr::Error unless `status` is success: "[cuda] <what>: <CUDA's sentence>".
void check_cuda(cudaError_t status, const char* what);

/// Called after every launch: a bad configuration is reported at once, under the kernel's name.
/// With FLR_CUDA_SYNC=1 it also waits, so that a fault is reported by the kernel that made it.
void check_launch(const char* kernel);

/// The stream that everything computes on, and the one that brings batches in.
cudaStream_t stream();
cudaStream_t copy_stream();

/// Whether a training step is being captured on stream() now.
bool capturing();

/// Multiprocessors of the current device, and 10 · major + minor of its compute capability.
int multiprocessors();
int compute_capability();
/// Bytes of shared memory that a block can have at most.
int max_shared_bytes();

void* scratch_take(index_t bytes);
void scratch_give(void* block, index_t bytes);

/// Uninitialised memory of the pool for the length of a scope. Freeing is safe at once: whoever gets
/// the block next works on the same stream, later.
template <class T>
class Scratch {
 public:
  explicit Scratch(index_t n) : bytes_(n * index_t{sizeof(T)}), data_(scratch_take(bytes_)) {}
  ~Scratch() { scratch_give(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return static_cast<T*>(data_); }
  operator T*() const { return data(); }

 private:
  index_t bytes_;
  void* data_;
};

/// Lets a kernel use more than 48 KB of dynamic shared memory. Cheap when called again.
template <class Kernel>
void allow_shared(Kernel* kernel, int bytes, const char* name) {
  // 48 KiB need no leave; a kernel's own arrays, which are not in `bytes`, count too.
  if (bytes > 32 * 1024)
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
               name);
}

/// ⌈a / b⌉.
constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

}  // namespace flr::cuda
