// Memory of the device, and steps captured as CUDA graphs.
#include "common/stream.hpp"
#include "runtime.hpp"

namespace flr::cuda {

namespace {

/// cudaMalloc and cudaFree are refused while a capture is going on in the thread unless it says that
/// it knows what it does: the memory belongs to the pool, not to the graph.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

void* allocate(std::size_t bytes) {
  stream();  // selects the device, or says why there is none
  RelaxedCapture relaxed;
  void* block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is reported as what it is, not by the next launch
    return nullptr;
  }
  check_cuda(status, "allocating memory");
  return block;
}

void release(void* block) {
  RelaxedCapture relaxed;
  // Work that uses the block may still be in flight; cudaFree waits for it.
  check_cuda(cudaFree(block), "freeing memory");
}

Pool*& pool_in_force() {
  static Pool* pool = nullptr;
  return pool;
}

std::uint64_t* random_step() {
  static std::uint64_t* word = static_cast<std::uint64_t*>(allocate(sizeof(std::uint64_t)));
  return word;
}

}  // namespace

Pool* new_pool() { return new Pool({allocate, release}); }

Pool* pool_of(int index) {
  check(index == 0, "[cuda] expected device 0; got {}", index);
  static Pool* common = new_pool();
  return pool_in_force() ? pool_in_force() : common;
}

void use_pool(Pool* pool) { pool_in_force() = pool; }

void* scratch_take(index_t bytes) { return pool_of(0)->take(bytes, MemoryUse::other); }
void scratch_give(void* block, index_t bytes) { pool_of(0)->give(block, bytes, MemoryUse::other); }

bool capturing() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream(), &status), "asking for a capture");
  return status == cudaStreamCaptureStatusActive;
}

const std::uint64_t* captured_random_step() { return capturing() ? random_step() : nullptr; }

void set_random_step(std::uint64_t step) { stage(random_step(), &step, sizeof step); }

void capture_begin() {
  random_step();  // exists before the capture
  check_cuda(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal),
             "beginning a capture");
}

void* capture_end() {
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamEndCapture(stream(), &graph), "ending a capture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "making a graph of a captured step");
  return executable;
}

void capture_abort() {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream(), &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void graph_launch(void* graph) {
  check_cuda(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream()), "replaying a step");
}

void graph_destroy(void* graph) {
  cudaStreamSynchronize(stream());
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

}  // namespace flr::cuda
