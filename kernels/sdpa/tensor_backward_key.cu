// Launches the backward pass of tensor_backward_key.cuh.
#include "tensor_backward_key.cuh"

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {

template <class T>
index_t key_gradients(const SdpaBackwardParams<T>& p, const QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  index_t splits = 1;
  if (p.dk_mode == GradMode::ignore && p.dv_mode == GradMode::ignore) return splits;
  with_depth<T>(f.D > f.Dv ? f.D : f.Dv, [&]<int Depth>() {
    using F = KeyTiling<T, Depth>;
    const Plan plan = make_plan(f.B * f.H, f.Nk, f.Nq, 16 * F::groups, F::tile, F::resident,
                                f.D + f.Dv, split_rule);
    splits = plan.splits;
    const Gradient<T> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, splits);
    const Gradient<T> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, splits);
    allow_shared(key_kernel<T, Depth>, F::shared_bytes, "sdpa_backward, keys, tensor cores");
    key_kernel<T, Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, statistics, dk.target(true), dv.target(true));
    check_launch("sdpa_backward, keys, tensor cores");
    dk.collect();
    dv.collect();
  });
  return splits;
}

template index_t key_gradients<float>(const SdpaBackwardParams<float>&,
                                      const QueryStatistics<float>*);
template index_t key_gradients<bf16>(const SdpaBackwardParams<bf16>&, const QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention::tensor
