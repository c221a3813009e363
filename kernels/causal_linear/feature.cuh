// Feature maps on the way into shared memory, and their slopes on the way out.
#pragma once

#include "causal_linear/problem.hpp"
#include "common/device.cuh"

namespace flr::cuda::causal {

/// exp(min(x, 0)), without a branch that would part the lanes, and not a number where x is not one.
__device__ inline float exp_below_zero(float x) { return expf(x > 0 ? 0.0f : x); }

template <Feature map>
__device__ float feature(float x) {
  if constexpr (map == Feature::relu) return x < 0 ? 0.0f : x;
  if constexpr (map == Feature::relu_squared) return x < 0 ? 0.0f : x * x;
  if constexpr (map == Feature::silu) return x / (1.0f + expf(-x)) + 0.5f;
  if constexpr (map == Feature::elu) return exp_below_zero(x) + (x > 0 ? x : 0.0f);
  if constexpr (map == Feature::sigmoid) return 1.0f / (1.0f + expf(-x));
  if constexpr (map == Feature::tanh) return tanhf(x);
  if constexpr (map == Feature::softplus) return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))) + 1e-6f;
  if constexpr (map == Feature::softsign) return x / (1.0f + fabsf(x));
  if constexpr (map == Feature::exp) return expf(fminf(fmaxf(x, -30.0f), 30.0f));
  if constexpr (map == Feature::gelu) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  return x;
}

template <Feature map>
__device__ float feature_slope(float x) {
  if constexpr (map == Feature::relu) return x > 0 ? 1.0f : 0.0f;
  if constexpr (map == Feature::relu_squared) return x > 0 ? 2.0f * x : 0.0f;
  if constexpr (map == Feature::silu) {
    const float s = 1.0f / (1.0f + expf(-x));
    return s + x * s * (1.0f - s);
  }
  if constexpr (map == Feature::elu) return exp_below_zero(x);
  if constexpr (map == Feature::sigmoid) {
    const float s = 1.0f / (1.0f + expf(-x));
    return s * (1.0f - s);
  }
  if constexpr (map == Feature::tanh) {
    const float y = tanhf(x);
    return 1.0f - y * y;
  }
  if constexpr (map == Feature::softplus) return 1.0f / (1.0f + expf(-x));
  if constexpr (map == Feature::softsign) {
    const float a = 1.0f / (1.0f + fabsf(x));
    return a * a;
  }
  if constexpr (map == Feature::exp) return fabsf(x) < 30.0f ? expf(x) : 0.0f;
  if constexpr (map == Feature::gelu)
    return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  return 1.0f;
}

/// Calls f.template operator()<map>(): one branch for all the values that f takes. A branch for each
/// of them makes loops longer than the cache for instructions.
template <class F>
__device__ void with_feature(Feature map, F f) {
  switch (map) {
    case Feature::identity: return f.template operator()<Feature::identity>();
    case Feature::relu: return f.template operator()<Feature::relu>();
    case Feature::relu_squared: return f.template operator()<Feature::relu_squared>();
    case Feature::silu: return f.template operator()<Feature::silu>();
    case Feature::elu: return f.template operator()<Feature::elu>();
    case Feature::sigmoid: return f.template operator()<Feature::sigmoid>();
    case Feature::tanh: return f.template operator()<Feature::tanh>();
    case Feature::softplus: return f.template operator()<Feature::softplus>();
    case Feature::softsign: return f.template operator()<Feature::softsign>();
    case Feature::exp: return f.template operator()<Feature::exp>();
    case Feature::gelu: return f.template operator()<Feature::gelu>();
  }
}

}  // namespace flr::cuda::causal
