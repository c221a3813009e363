// How many blocks a persistent grid has.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

/// Blocks along x so that, with `others` along y, all are resident at once: one block too many would
/// be a second wave, and double the time. At least 1, at most `most`.
template <class Kernel>
unsigned resident_blocks(Kernel* kernel, int threads, int shared, index_t others, index_t most) {
  int per_processor = 0;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel, threads,
                                                           std::size_t(shared)),
             "a persistent grid");
  const index_t all = index_t{multiprocessors()} * (per_processor > 0 ? per_processor : 1);
  const index_t fits = all / (others > 0 ? others : 1), blocks = fits < most ? fits : most;
  return static_cast<unsigned>(blocks > 0 ? blocks : 1);
}

}  // namespace flr::cuda
