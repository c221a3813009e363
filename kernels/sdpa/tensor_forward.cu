// Launches the forward pass of tensor_forward.cuh.
#include "tensor_forward.cuh"

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {

template <class T>
index_t forward(const SdpaParams<T>& p) {
  index_t splits = 1;
  with_depth<T>(p.D > p.Dv ? p.D : p.Dv, [&]<int Depth>() {
    using F = ForwardTiling<T, Depth>;
    const Plan plan = make_plan(p.B * p.H, p.Nq, p.Nk, 16 * F::groups, F::tile, F::resident,
                                p.Dv + 2, split_rule);
    splits = plan.splits;
    const index_t parts = splits > 1 ? splits * plan.heads * p.Nq : 0;
    const Scratch<float> sums(parts * p.Dv + 1);
    const Scratch<Pack<float, 2>> states(parts + 1);
    allow_shared(forward_kernel<T, Depth>, F::shared_bytes, "sdpa, tensor cores");
    forward_kernel<T, Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, sums.data(), states.data());
    check_launch("sdpa, tensor cores");
    if (splits > 1) merge_states(p, splits, sums.data(), states.data());
  });
  return splits;
}

template index_t forward<float>(const SdpaParams<float>&);
template index_t forward<bf16>(const SdpaParams<bf16>&);

}  // namespace flr::cuda::attention::tensor
