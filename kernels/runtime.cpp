// Registration with the core, device properties and copies.
#include "runtime.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "common/stream.hpp"
#include "flr/cuda/cuda.hpp"

namespace flr::cuda {

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]] return;
  if (status == cudaErrorNoKernelImageForDevice)
    fail("[cuda] {}: this GPU has compute capability {}.{}, for which the library holds no code; "
         "configure with -DCMAKE_CUDA_ARCHITECTURES=native",
         what, compute_capability() / 10, compute_capability() % 10);
  fail("[cuda] {}: {}", what, cudaGetErrorString(status));
}

void check_launch(const char* kernel) {
  check_cuda(cudaGetLastError(), kernel);
  static const bool wait = [] {
    const char* text = std::getenv("FLR_CUDA_SYNC");
    return text && std::strcmp(text, "1") == 0;
  }();
  if (wait && !capturing()) check_cuda(cudaStreamSynchronize(stream()), kernel);
}

namespace {

/// What is found out once, when CUDA is first used.
struct DeviceState {
  cudaDeviceProp properties{};
  cudaStream_t compute = nullptr, copy = nullptr;

  DeviceState() {
    int count = 0, driver = 0, runtime = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    check(status != cudaErrorInsufficientDriver || driver == 0,
          "[cuda] the driver supports CUDA {}, this program needs {}", version(driver),
          version(runtime));
    check(status == cudaSuccess && count > 0, "[cuda] there is no usable GPU: {}",
          driver == 0 ? "no driver is installed" : cudaGetErrorString(status));
    check_cuda(cudaSetDevice(0), "selecting GPU 0");
    check_cuda(cudaGetDeviceProperties(&properties, 0), "reading the GPU's properties");
    check(properties.major >= 8,
          "[cuda] expected a GPU of compute capability 8.0 or more; {} has {}.{}", properties.name,
          properties.major, properties.minor);
    check_cuda(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking), "creating a stream");
    check_cuda(cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking), "creating a stream");
  }
};

DeviceState& device() {
  static DeviceState* state = new DeviceState;  // outlives every static tensor
  return *state;
}

void copy_between(void* dst, Device to, const void* src, Device from, index_t bytes) {
  const auto kind = to.is_cpu()     ? cudaMemcpyDeviceToHost
                    : from.is_cpu() ? cudaMemcpyHostToDevice
                                    : cudaMemcpyDeviceToDevice;
  check_cuda(cudaMemcpyAsync(dst, src, static_cast<std::size_t>(bytes), kind, stream()), "copying");
  // Pageable memory may be read after the call returns, and what is read must be there.
  if (kind != cudaMemcpyDeviceToDevice)
    check_cuda(cudaStreamSynchronize(stream()), "waiting for a copy");
}

/// Pinned slots that small copies go through; a slot is used again once its copy has run.
class StagingRing {
 public:
  static constexpr index_t slot_bytes = 4096;
  static constexpr int slots = 64;

  void copy(void* dst, const void* src, index_t bytes) {
    check(bytes <= slot_bytes, "[cuda] at most {} bytes are staged, got {}", slot_bytes, bytes);
    std::lock_guard lock(mutex_);
    if (!memory_) start();
    const int slot = next_;
    next_ = (next_ + 1) % slots;
    check_cuda(cudaEventSynchronize(done_[slot]), "waiting for a staged copy");
    char* at = memory_ + slot * slot_bytes;
    std::memcpy(at, src, static_cast<std::size_t>(bytes));
    check_cuda(cudaMemcpyAsync(dst, at, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice,
                               stream()),
               "staging");
    check_cuda(cudaEventRecord(done_[slot], stream()), "recording an event");
  }

 private:
  void start() {
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, slots * slot_bytes, cudaHostAllocDefault),
               "allocating pinned memory");
    memory_ = static_cast<char*>(memory);
    for (cudaEvent_t& event : done_)
      check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  }
  std::mutex mutex_;
  char* memory_ = nullptr;
  cudaEvent_t done_[slots] = {};
  int next_ = 0;
};

void wait_for_all() { check_cuda(cudaStreamSynchronize(stream()), "waiting for the GPU"); }

std::string device_line() {
  const cudaDeviceProp& p = device().properties;
  return fmt::format("{} ({:.0f} GiB, compute capability {}.{})", p.name,
                     static_cast<double>(p.totalGlobalMem) / (1 << 30), p.major, p.minor);
}

/// Only pointers are set here: a program with CUDA starts on a machine without a driver.
struct Registration {
  Registration() { init(); }
} registration;

}  // namespace

void stage(void* dst, const void* src, index_t bytes) {
  check(!capturing(), "[cuda] values of a step are staged before its capture or replay, not within");
  static StagingRing* ring = new StagingRing;
  ring->copy(dst, src, bytes);
}

index_t free_memory() {
  stream();  // selects the device
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return static_cast<index_t>(free) + pool_of(0)->stats().cached;
}

cudaStream_t stream() { return device().compute; }
cudaStream_t copy_stream() { return device().copy; }
int multiprocessors() { return device().properties.multiProcessorCount; }
int compute_capability() { return device().properties.major * 10 + device().properties.minor; }
int max_shared_bytes() { return static_cast<int>(device().properties.sharedMemPerBlockOptin); }

void init() {
  static const DeviceRuntime runtime = [] {
    DeviceRuntime r;
    r.f32 = &table<float>();
    r.f64 = &table<double>();
    r.bf16_ = &table<bf16>();
    r.pool = pool_of;
    r.copy = copy_between;
    r.stage = stage;
    r.upload = upload;
    r.free_memory = free_memory;
    r.synchronize = wait_for_all;
    r.describe = device_line;
    r.new_pool = new_pool;
    r.use_pool = use_pool;
    r.capture_begin = capture_begin;
    r.capture_end = capture_end;
    r.capture_abort = capture_abort;
    r.graph_launch = graph_launch;
    r.graph_destroy = graph_destroy;
    r.set_random_step = set_random_step;
    return r;
  }();
  flr::detail::cuda_runtime() = &runtime;
}

}  // namespace flr::cuda

extern "C" void flr_cuda_register() { flr::cuda::init(); }
