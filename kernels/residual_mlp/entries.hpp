// What the files of this folder offer each other, and the layout of the parameter gradients.
#pragma once

#include <type_traits>

#include "table.hpp"

namespace flr::cuda::mlp {

constexpr index_t smaller(index_t a, index_t b) {
  return a < b ? a : b;
}
constexpr index_t larger(index_t a, index_t b) {
  return a > b ? a : b;
}

/// Extents of layer l, and where its dW and db (right after it) lie in one block's partial sums.
template <class P>
__host__ __device__ inline int layer_in(const P& p, int l) {
  return int(l == 0 ? p.in : p.hid);
}
template <class P>
__host__ __device__ inline int layer_out(const P& p, int l) {
  return int(l == p.layers + 1 ? p.out : p.hid);
}
template <class P>
__host__ __device__ inline int partial_offset(const P& p, int l) {
  return l == 0 ? 0 : int(p.hid * (p.in + 1) + (l - 1) * p.hid * (p.hid + 1));
}
template <class P>
__host__ __device__ inline int partial_size(const P& p) {
  return partial_offset(p, p.layers + 1) + int(p.out * (p.hid + 1));
}

/// Whether there are bf16 kernels of this width.
bool bf16_width(index_t hid);
void forward_bf16(const ResidualMlpParams<bf16>&);
void backward_bf16(const ResidualMlpBackwardParams<bf16>&);
/// Whether there are tensor-core kernels for floats of this width.
constexpr bool tf32_width(index_t hid) {
  return hid % 8 == 0;
}
void forward_tf32(const ResidualMlpParams<float>&);
void forward_f32(const ResidualMlpParams<float>&);
void backward_f32(const ResidualMlpBackwardParams<float>&);

/// dw, db (written or added to, as their modes say) from `splits` partial sums, added in order.
template <class T>
void merge_gradients(const ResidualMlpBackwardParams<T>&, const float* partials, int splits);

/// Calls f with the width as a constant.
template <class F>
void with_bf16_width(index_t hid, F&& f) {
  switch (hid) {
    case 32: return f(std::integral_constant<int, 32>{});
    case 64: return f(std::integral_constant<int, 64>{});
    case 80: return f(std::integral_constant<int, 80>{});
    case 96: return f(std::integral_constant<int, 96>{});
    case 128: return f(std::integral_constant<int, 128>{});
    case 256: return f(std::integral_constant<int, 256>{});
  }
}

}  // namespace flr::cuda::mlp
