// Launches the backward pass of tensor_backward_query.cuh.
#include "tensor_backward_query.cuh"

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {

template <class T>
index_t query_gradient(const SdpaBackwardParams<T>& p, const QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  index_t splits = 1;
  if (p.dq_mode == GradMode::ignore) return splits;
  with_depth<T>(f.D > f.Dv ? f.D : f.Dv, [&]<int Depth>() {
    using F = QueryTiling<T, Depth>;
    const Plan plan =
        make_plan(f.B * f.H, f.Nq, f.Nk, 16 * F::groups, F::tile, F::resident, f.D, split_rule);
    splits = plan.splits;
    const Gradient<T> dq(f, p.dq, p.dqs, p.dq_mode, f.Nq, f.D, splits);
    allow_shared(query_kernel<T, Depth>, F::shared_bytes, "sdpa_backward, queries, tensor cores");
    query_kernel<T, Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, statistics, dq.target(true));
    check_launch("sdpa_backward, queries, tensor cores");
    dq.collect();
  });
  return splits;
}

template index_t query_gradient<float>(const SdpaBackwardParams<float>&,
                                       const QueryStatistics<float>*);
template index_t query_gradient<bf16>(const SdpaBackwardParams<bf16>&,
                                      const QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention::tensor
