// The activations of the residual MLP: value and slope of one element.
//
// `Fast` is for bf16 storage: tanh by the special-function unit (relative error 2⁻¹¹, below the
// rounding of the result). Otherwise every function is good to a few ulp of float.
#pragma once

#include "common/device.cuh"

namespace flr::cuda::mlp {

struct ValueSlope {
  float value, slope;
};

template <bool Fast>
__device__ inline float tanh_of(float x) {
  if constexpr (Fast) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  } else {
    return tanhf(x);
  }
}

/// ½x(1 + tanh u), u = √(2/π)(x + 0.044715x³).
template <bool Fast>
__device__ inline ValueSlope gelu_tanh(float x) {
  constexpr float c1 = 0.7978845608028654f, c3 = 0.7978845608028654f * 0.044715f;
  const float xx = x * x, u = x * fmaf(c3, xx, c1), slope_u = fmaf(3 * c3, xx, c1);
  if constexpr (Fast) {
    const float t = tanh_of<true>(u), half = 0.5f * x;
    const float rise = fmaf(-t, t, 1.f) * slope_u;
    return {fmaf(half, t, half), fmaf(half, rise, fmaf(0.5f, t, 0.5f))};
  } else {
    // ½(1 + tanh u) is the logistic function of 2u, which loses nothing to cancellation.
    const float s = 1.f / (1.f + expf(-2 * u));
    return {x * s, s + 2 * x * slope_u * s * (1.f - s)};
  }
}

/// Everything but gelu_tanh: a call, so that the unrolled kernels hold one copy.
template <bool Fast>
__device__ __noinline__ ValueSlope other_activation(Activation act, float x) {
  switch (act) {
    case Activation::relu: return {x <= 0 ? 0.f : x, x > 0 ? 1.f : 0.f};
    case Activation::gelu: {
      const float phi = 0.5f * erfcf(-0.7071067811865476f * x);
      return {x * phi, fmaf(x * 0.3989422804014327f, expf(-0.5f * x * x), phi)};
    }
    case Activation::gelu_tanh: return gelu_tanh<Fast>(x);
    case Activation::silu: {
      const float s = 1.f / (1.f + expf(-x));
      return {x * s, s * (1.f + x * (1.f - s))};
    }
    case Activation::tanh: {
      const float t = tanh_of<Fast>(x);
      return {t, (1.f - t) * (1.f + t)};
    }
    case Activation::sigmoid: {
      const float s = 1.f / (1.f + expf(-x));
      return {s, s * (1.f - s)};
    }
    default: return {x, 1.f};
  }
}

/// `Gelu`: the activation is known to be gelu_tanh, FLARE's choice.
template <bool Fast, bool Gelu>
__device__ inline ValueSlope activate(Activation act, float x) {
  if constexpr (Gelu)
    return gelu_tanh<Fast>(x);
  else
    return other_activation<Fast>(act, x);
}

}  // namespace flr::cuda::mlp
