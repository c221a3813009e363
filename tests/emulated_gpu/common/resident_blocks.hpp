// In place of kernels/common/resident_blocks.hpp: a chip of few multiprocessors, one block on each.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

template <class Kernel>
unsigned resident_blocks(Kernel*, int, int, index_t others, index_t most) {
  const index_t fits = multiprocessors() / (others > 0 ? others : 1);
  const index_t blocks = fits < most ? fits : most;
  return static_cast<unsigned>(blocks > 0 ? blocks : 1);
}

}  // namespace flr::cuda
