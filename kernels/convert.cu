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

// Masks are small: a byte at a time.
template <class From, class To, class F>
__global__ void convert_bytes(const From* x, To* y, index_t n, F one) {
  const index_t step = index_t{gridDim.x} * blockDim.x;
  for (index_t i = index_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) y[i] = one(x[i]);
}

template <class From, class To, class F>
void launch_bytes(const From* x, To* y, index_t n, F one) {
  if (n <= 0) return;
  const index_t blocks = std::min<index_t>(ceil_div(n, index_t{256}), 65535);
  convert_bytes<<<static_cast<unsigned>(blocks), 256, 0, stream()>>>(x, y, n, one);
  check_launch("convert");
}

template <class T>
struct FromByte {
  __device__ T operator()(std::uint8_t v) const { return from_compute<T>(static_cast<compute_t<T>>(v)); }
};
template <class T>
struct ToByte {
  __device__ std::uint8_t operator()(T v) const { return static_cast<std::uint8_t>(to_compute(v)); }
};

}  // namespace

template <class T>
void from_u8(const std::uint8_t* x, T* y, index_t n) {
  launch_bytes(x, y, n, FromByte<T>{});
}
template <class T>
void to_u8(const T* x, std::uint8_t* y, index_t n) {
  launch_bytes(x, y, n, ToByte<T>{});
}
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
template void from_u8(const std::uint8_t*, float*, index_t);
template void from_u8(const std::uint8_t*, double*, index_t);
template void from_u8(const std::uint8_t*, bf16*, index_t);
template void to_u8(const float*, std::uint8_t*, index_t);
template void to_u8(const double*, std::uint8_t*, index_t);
template void to_u8(const bf16*, std::uint8_t*, index_t);

}  // namespace flr::cuda
