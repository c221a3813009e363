// FAVOR+ features: one pass where every token has a maximum of its own; where a head has one, a
// pass that leaves the greatest exponents and writes no features, and one that writes them.
#include "favor/exponents.cuh"

namespace flr::cuda::favor {
namespace {

template <class T, int F>
__global__ void __launch_bounds__(threads, 2)
    forward_kernel(Problem<T> p, Features what, const float* maximum, float* y) {
  extern __shared__ uint4 memory[];
  Walk<T, F> at(p, memory);
  for (index_t g = at.first_group; g < at.end_group; ++g) {
    float e[Walk<T, F>::tokens][F];
    at.products(g, e);
    if (what != Features::queries) at.less_norms(g, e);  // a query's own is in its maximum too
    float most = what == Features::keys ? maximum[at.head] : -INFINITY;
#pragma unroll
    for (int t = 0; t < Walk<T, F>::tokens; ++t) {
      const index_t n = at.token(g, t);
      if (n >= p.N) continue;
      if (what == Features::maxima) {
        most = greater(most, at.greatest(e[t]));
        continue;
      }
      if (what == Features::queries) most = at.greatest(e[t]);
      float* to = y + (at.head * p.N + n) * p.R;
#pragma unroll
      for (int j = 0; j < F; ++j) {
        const int r = at.lane + 32 * j;
        if (r < p.R) to[r] = fmaf(expf(e[t][j] - most), p.scale, p.offset);
      }
    }
    if (what == Features::maxima && at.lane == 0) y[at.head * p.tiles() + at.tile(g)] = most;
    __syncwarp();  // the tokens are used up
  }
}

}  // namespace

template <class T>
void forward(const Problem<T>& p, Features what, const float* maximum, float* y) {
  with_features(p.R, [&]<int F>() {
    const int bytes = shared_bytes(F, p.width, p.depth, false);
    allow_shared(forward_kernel<T, F>, bytes, "favor");
    forward_kernel<T, F><<<p.blocks(), threads, bytes, stream()>>>(p, what, maximum, y);
    check_launch("favor");
  });
}

template void forward(const Problem<float>&, Features, const float*, float*);
template void forward(const Problem<bf16>&, Features, const float*, float*);

}  // namespace flr::cuda::favor
