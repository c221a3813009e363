// What the products of float tensors are computed in.
#pragma once

namespace flr {

/// fp32: true float products. tf32: operands rounded to 10 bits of mantissa, sums in float; on GPUs
/// with tensor cores only, the CPU always computes in float.
enum class MatmulPrecision : unsigned char { fp32, tf32 };

namespace detail {
inline MatmulPrecision& matmul_precision_setting() {
  static MatmulPrecision precision = MatmulPrecision::fp32;
  return precision;
}
}  // namespace detail

/// The precision of products from now on, in every thread. Never changed by the library itself.
inline MatmulPrecision matmul_precision() { return detail::matmul_precision_setting(); }
inline void set_matmul_precision(MatmulPrecision precision) {
  detail::matmul_precision_setting() = precision;
}

}  // namespace flr
