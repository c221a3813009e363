// What the two kernels of the float backward pass (backward_f32.cu) share.
#pragma once

#include "residual_mlp/entries.hpp"

namespace flr::cuda::mlp {

/// A range of rows, and what the chain leaves of it for the weight gradients.
struct ChunkRows {
  index_t first = 0, rows = 0;
  index_t capacity = 0;  ///< rows of a layer's part below, a multiple of the longest tile
  float *activations = nullptr,
        *gradients = nullptr;  ///< [L+1, capacity, hid]: a₀ … a_L, dP₀ … dP_L
};

void chain_f32(const ResidualMlpBackwardParams<float>&, const ChunkRows&);
/// The same on tensor cores, for tf32_width()s.
void chain_tf32(const ResidualMlpBackwardParams<float>&, const ChunkRows&);

}  // namespace flr::cuda::mlp
