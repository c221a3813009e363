// y[i] = x[i] in another storage type, rounded to nearest. Bound by reading x and writing y once.
#include "common/elementwise.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

template <class From, class To>
struct Convert {
  const From* x;
  To* y;

  template <int N>
  __device__ Pack<From, N> load(index_t i) const {
    return load_pack<N>(x + i);
  }
  template <int N>
  __device__ void store(index_t i, const Pack<From, N>& in) const {
    Pack<To, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j)
      out.v[j] = from_compute<To>(static_cast<compute_t<To>>(to_compute(in.v[j])));
    store_pack<N>(y + i, out);
  }
};

template <class From, class To>
void convert(const From* x, To* y, index_t n) {
  // The wider type moves 16 bytes at a time.
  constexpr int width = pack_width<From> < pack_width<To> ? pack_width<From> : pack_width<To>;
  launch_elementwise<width>(Convert<From, To>{x, y}, n, "convert", x, y);
}

}  // namespace

template <class T>
void to_f32(const T* x, float* y, index_t n) {
  convert(x, y, n);
}
template <class T>
void to_f64(const T* x, double* y, index_t n) {
  convert(x, y, n);
}
template <class T>
void to_bf16(const T* x, bf16* y, index_t n) {
  convert(x, y, n);
}

template void to_f32(const float*, float*, index_t);
template void to_f32(const double*, float*, index_t);
template void to_f32(const bf16*, float*, index_t);
template void to_f64(const float*, double*, index_t);
template void to_f64(const double*, double*, index_t);
template void to_f64(const bf16*, double*, index_t);
template void to_bf16(const float*, bf16*, index_t);
template void to_bf16(const double*, bf16*, index_t);
template void to_bf16(const bf16*, bf16*, index_t);

}  // namespace flr::cuda
