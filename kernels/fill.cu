// x[i] = value. Bound by writing x once.
#include "common/elementwise.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

struct Nothing {};

template <class T>
struct Fill {
  T* x;
  T value;

  template <int N>
  __device__ Nothing load(index_t) const {
    return {};
  }
  template <int N>
  __device__ void store(index_t i, Nothing) const {
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = value;
    store_pack<N>(x + i, pack);
  }
};

}  // namespace

template <class T>
void fill(T* x, index_t n, compute_t<T> value) {
  launch_elementwise<pack_width<T>>(Fill<T>{x, static_cast<T>(value)}, n, "fill", x);
}

template void fill(float*, index_t, float);
template void fill(double*, index_t, double);
template void fill(bf16*, index_t, float);

}  // namespace flr::cuda
