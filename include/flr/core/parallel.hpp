// Threads. Work is cut into chunks whose number never depends on the number of threads, so that
// results do not either; chunks are handed out to whoever is free.
#pragma once

#include <atomic>
#include <cstdlib>
#include <exception>

#include "flr/core/shape.hpp"

#if !defined(FLR_COMPILED) || defined(FLR_BUILDING)
#ifdef _OPENMP
#include <omp.h>
#endif
#endif

namespace flr {

namespace detail {
/// Calls run(context, i) for i in [0, chunks), on several threads; nested calls run serially. Where
/// `run` throws, as a kernel without working memory does, no further chunk is begun, and the first
/// exception caught leaves here when all threads are done.
void parallel_run(index_t chunks, void (*run)(void*, index_t), void* context);
int default_threads();
inline int requested_threads = 0;
}  // namespace detail

/// The number of threads that CPU operations use: what set_num_threads asked for, else
/// FLR_NUM_THREADS, else OpenMP's choice. Results do not depend on it.
inline int num_threads() {
  if (detail::requested_threads > 0) return detail::requested_threads;
  static const int from_environment = [] {
    const char* text = std::getenv("FLR_NUM_THREADS");
    const int n = text ? std::atoi(text) : 0;
    return n > 0 ? n : detail::default_threads();
  }();
  return from_environment;
}

/// Sets the number of threads for CPU operations; 0 returns to the default.
inline void set_num_threads(int threads) {
  check(threads >= 0, "[set_num_threads] expected 0 or more threads, got {}", threads);
  detail::requested_threads = threads;
}

/// Runs body(i) for i in [0, chunks), in any order and on several threads. An exception ends it.
template <class Body>
inline void parallel_for(index_t chunks, Body&& body) {
  if (chunks <= 1) {
    for (index_t i = 0; i < chunks; ++i) body(i);
    return;
  }
  using B = std::remove_reference_t<Body>;
  detail::parallel_run(
      chunks, [](void* context, index_t i) { (*static_cast<B*>(context))(i); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

/// Runs body(begin, end) over [0, n) in chunks of `grain` elements.
template <class Body>
inline void parallel_ranges(index_t n, index_t grain, Body&& body) {
  parallel_for((n + grain - 1) / grain, [&](index_t chunk) {
    const index_t begin = chunk * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace flr

#if !defined(FLR_COMPILED) || defined(FLR_BUILDING)
namespace flr::detail {
#ifdef FLR_BUILDING
#define FLR_INLINE
#else
#define FLR_INLINE inline
#endif

#ifdef _OPENMP
FLR_INLINE int default_threads() { return omp_get_max_threads(); }
FLR_INLINE void parallel_run(index_t chunks, void (*run)(void*, index_t), void* context) {
  const int threads = num_threads();
  if (threads <= 1 || chunks <= 1 || omp_in_parallel()) {
    for (index_t i = 0; i < chunks; ++i) run(context, i);
    return;
  }
  std::exception_ptr first;  // none may leave the parallel region
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (index_t i = 0; i < chunks; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      run(context, i);
    } catch (...) {
      if (!failed.exchange(true)) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
}
#else
FLR_INLINE int default_threads() { return 1; }
FLR_INLINE void parallel_run(index_t chunks, void (*run)(void*, index_t), void* context) {
  for (index_t i = 0; i < chunks; ++i) run(context, i);
}
#endif
#undef FLR_INLINE
}  // namespace flr::detail
#endif
