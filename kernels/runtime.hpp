// The CUDA device as the library's core sees it: memory, streams, copies, captured steps.
#pragma once

#include "flr/core/runtime.hpp"

namespace flr::cuda {

/// The tables (table.cpp).
template <class T>
const Backend<T>& table();

/// Where a captured step finds the number that its random draws are made for; null outside a capture
/// (then the number in the call's parameters counts).
const std::uint64_t* captured_random_step();

/// A small copy from the host through pinned memory, in stream order (DeviceRuntime::stage).
void stage(void* dst, const void* src, index_t bytes);

/// A batch from the host through pinned memory, in stream order; the caller's memory is free when it
/// returns, and the device is not waited for (upload.cpp).
void upload(void* dst, const void* src, index_t bytes);
/// Bytes that can still be allocated: free on the device, and kept by the pool.
index_t free_memory();

// Captured steps (capture.cpp), as DeviceRuntime has them.
Pool* new_pool();
void use_pool(Pool* pool);
Pool* pool_of(int index);
void capture_begin();
void* capture_end();
void capture_abort();
void graph_launch(void* graph);
void graph_destroy(void* graph);
void set_random_step(std::uint64_t step);

}  // namespace flr::cuda
