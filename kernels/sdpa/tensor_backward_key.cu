// Launches the backward pass of tensor_backward_key.cuh.
#include "tensor_backward_key.cuh"

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {

index_t key_gradients(const SdpaBackwardParams<bf16>& p, const QueryStatistics<bf16>* statistics) {
  const SdpaParams<bf16>& f = p.f;
  index_t splits = 1;
  if (p.dk_mode == GradMode::ignore && p.dv_mode == GradMode::ignore) return splits;
  with_depth(f.D > f.Dv ? f.D : f.Dv, [&]<int Depth>() {
    using F = KeyTiling<Depth>;
    const Plan plan = make_plan(f.B * f.H, f.Nk, f.Nq, 16 * F::groups, F::tile, F::resident,
                                f.D + f.Dv, any_number_of_terms);
    splits = plan.splits;
    const Gradient<bf16> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, splits);
    const Gradient<bf16> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, splits);
    allow_shared(key_kernel<Depth>, F::shared_bytes, "sdpa_backward, keys, tensor cores");
    key_kernel<Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, statistics, dk.target(true), dv.target(true));
    check_launch("sdpa_backward, keys, tensor cores");
    dk.collect();
    dv.collect();
  });
  return splits;
}

}  // namespace flr::cuda::attention::tensor
