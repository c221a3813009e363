// The residual MLP's backward pass in bf16: which of its two forms runs, and the merge.
//
// Recomputing costs a third of the products and no memory; PyTorch stores 2(L+1) activations a row.
#include "residual_mlp/backward_bf16.cuh"

namespace flr::cuda::mlp {

void backward_bf16(const ResidualMlpBackwardParams<bf16>& p) {
  const bool fused = fused_backward_fits(p);
  const int splits = p.rows == 0 ? 0
                     : fused     ? fused_backward_splits(p)
                                 : split_backward_splits(p);
  Scratch<float> partials(larger(1, index_t{splits} * partial_size(p)));
  if (p.rows > 0) {
    if (fused)
      fused_backward(p, partials);
    else
      split_backward(p, partials, splits);
  }
  merge_gradients(p, partials, splits);
}

}  // namespace flr::cuda::mlp
