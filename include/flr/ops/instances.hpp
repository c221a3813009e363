// The compiled form holds the operations that most programs use, for float and double, and elementwise
// ones for bf16 too, so that no program that links it compiles them again (for models see models/*.cpp).
// In the header-only form this file says nothing.
#pragma once

#include "flr/ops/elementwise.hpp"
#include "flr/ops/flare.hpp"
#include "flr/ops/linear.hpp"
#include "flr/ops/norm.hpp"
#include "flr/ops/residual_mlp.hpp"

#ifdef FLR_COMPILED
#ifdef FLR_INSTANTIATE_OPS
#define FLR_EXTERN
#else
#define FLR_EXTERN extern
#endif

namespace flr {

#define FLR_OPS(T)                                                                              \
  FLR_EXTERN template Tensor<T> reshape<T>(const Tensor<T>&, Shape);                            \
  FLR_EXTERN template Tensor<T> permute<T>(const Tensor<T>&, const Shape&);                     \
  FLR_EXTERN template Tensor<T> slice<T>(const Tensor<T>&, int, index_t, index_t, index_t);     \
  FLR_EXTERN template Tensor<T> matmul<T>(const Tensor<T>&, const Tensor<T>&);                  \
  FLR_EXTERN template Tensor<T> detail::scaled_sum<T>(const char*, const Tensor<T>&,            \
                                                      const Shape&, bool, bool);                \
  FLR_EXTERN template Tensor<T> linear<T>(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, \
                                          Activation);                                          \
  FLR_EXTERN template Tensor<T> residual_mlp<T>(const Tensor<T>&, const std::vector<Tensor<T>>&, \
                                                const std::vector<Tensor<T>>&,                  \
                                                const ResidualMlpOptions&);                     \
  FLR_EXTERN template SumAndNorm<T> detail::sum_and_norm<T>(                                    \
      const detail::NormCall<T>&, const Tensor<T>&, const Tensor<T>&, const Tensor<T>&);        \
  FLR_EXTERN template Tensor<T> sdpa<T>(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&,   \
                                        const SdpaOptions<T>&, Tensor<T>*);                     \
  FLR_EXTERN template void detail::contribute_as<T>(Node&, int, const Tensor<T>&);              \
  FLR_EXTERN template void backward<T>(const Tensor<T>&, const Tensor<T>&, BackwardOptions);
FLR_OPS(float)
FLR_OPS(double)
#undef FLR_OPS

#define FLR_UNARY(T, word) FLR_EXTERN template Tensor<T> word<T>(const Tensor<T>&);
#define FLR_BINARY(T, op)                                                              \
  FLR_EXTERN template Tensor<T> op<T>(const Tensor<T>&, const Tensor<T>&);             \
  FLR_EXTERN template Tensor<T> op<T>(const Tensor<T>&, std::type_identity_t<compute_t<T>>); \
  FLR_EXTERN template Tensor<T> op<T>(std::type_identity_t<compute_t<T>>, const Tensor<T>&);
#define FLR_ELEMENTWISE(T)                                                                     \
  FLR_BINARY(T, operator+) FLR_BINARY(T, operator-) FLR_BINARY(T, operator*)                   \
  FLR_BINARY(T, operator/) FLR_UNARY(T, operator-)                                             \
  FLR_UNARY(T, abs) FLR_UNARY(T, exp) FLR_UNARY(T, log) FLR_UNARY(T, sqrt)                     \
  FLR_UNARY(T, square) FLR_UNARY(T, sin) FLR_UNARY(T, cos) FLR_UNARY(T, tanh)                  \
  FLR_UNARY(T, sigmoid) FLR_UNARY(T, relu) FLR_UNARY(T, softplus) FLR_UNARY(T, silu)           \
  FLR_UNARY(T, gelu) FLR_UNARY(T, gelu_tanh)
FLR_ELEMENTWISE(float)
FLR_ELEMENTWISE(double)
FLR_ELEMENTWISE(bf16)
#undef FLR_ELEMENTWISE
#undef FLR_BINARY
#undef FLR_UNARY

}  // namespace flr

#undef FLR_EXTERN
#endif
