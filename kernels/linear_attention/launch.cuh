// Which kernel of a template a call takes, and how many blocks.
#pragma once

#include "common/stream.hpp"
#include "common/resident_blocks.hpp"
#include "flr/core/precision.hpp"
#include "linear_attention/products.cuh"

namespace flr::cuda::linear_attention {

/// Calls f.template operator()<W, Planes>().
template <class T, class F>
void with_width(int D, F f) {
  const auto with_planes = [&]<int W>() {
    if constexpr (sizeof(T) == 2) f.template operator()<W, 1>();
    else if (matmul_precision() == MatmulPrecision::tf32) f.template operator()<W, 2>();
    else f.template operator()<W, 3>();
  };
  if (D <= 32) with_planes.template operator()<32>();
  else with_planes.template operator()<64>();
}

struct Grid {
  dim3 blocks;
  int splits;  ///< warps that share the tokens of a head
};

/// All blocks resident at once, and no more than there are tiles of tokens.
template <class Kernel>
Grid grid_of(Kernel* kernel, const Sizes& n, index_t tokens, int parts, int shared) {
  const int at_once = warps / (parts * n.beside);
  const index_t most = ceil_div(ceil_div(tokens, tile), at_once);
  const unsigned x = resident_blocks(kernel, threads, shared, n.others(), most > 0 ? most : 1);
  return {dim3(x, unsigned(n.others())), int(x) * at_once};
}

}  // namespace flr::cuda::linear_attention
