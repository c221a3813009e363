// Launches the backward pass of tensor_backward_query.cuh.
#include "tensor_backward_query.cuh"

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {

index_t query_gradient(const SdpaBackwardParams<bf16>& p, const QueryStatistics<bf16>* statistics) {
  const SdpaParams<bf16>& f = p.f;
  index_t splits = 1;
  if (p.dq_mode == GradMode::ignore) return splits;
  with_depth(f.D > f.Dv ? f.D : f.Dv, [&]<int Depth>() {
    using F = QueryTiling<Depth>;
    const Plan plan = make_plan(f.B * f.H, f.Nq, f.Nk, 16 * F::groups, F::tile, F::resident, f.D,
                                any_number_of_terms);
    splits = plan.splits;
    const Gradient<bf16> dq(f, p.dq, p.dqs, p.dq_mode, f.Nq, f.D, splits);
    allow_shared(query_kernel<Depth>, F::shared_bytes, "sdpa_backward, queries, tensor cores");
    query_kernel<Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, statistics, dq.target(true));
    check_launch("sdpa_backward, queries, tensor cores");
    dq.collect();
  });
  return splits;
}

}  // namespace flr::cuda::attention::tensor
