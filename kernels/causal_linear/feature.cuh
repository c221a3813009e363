// Feature maps on the way into shared memory, and their slopes on the way out.
#pragma once

#include "causal_linear/problem.hpp"
#include "common/device.cuh"

namespace flr::cuda::causal {

__device__ inline float feature(Feature map, float x) {
  switch (map) {
    case Feature::identity: return x;
    case Feature::relu: return x < 0 ? 0.0f : x;
    case Feature::relu_squared: return x < 0 ? 0.0f : x * x;
    case Feature::silu: return x / (1.0f + expf(-x)) + 0.5f;
    case Feature::elu: return x > 0 ? x + 1.0f : expf(x);
    case Feature::sigmoid: return 1.0f / (1.0f + expf(-x));
    case Feature::tanh: return tanhf(x);
    case Feature::softplus: return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))) + 1e-6f;
    case Feature::softsign: return x / (1.0f + fabsf(x));
    case Feature::exp: return expf(fminf(fmaxf(x, -30.0f), 30.0f));
    case Feature::gelu: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  }
  return x;
}

__device__ inline float feature_slope(Feature map, float x) {
  switch (map) {
    case Feature::identity: return 1.0f;
    case Feature::relu: return x > 0 ? 1.0f : 0.0f;
    case Feature::relu_squared: return x > 0 ? 2.0f * x : 0.0f;
    case Feature::silu: {
      const float s = 1.0f / (1.0f + expf(-x));
      return s + x * s * (1.0f - s);
    }
    case Feature::elu: return x > 0 ? 1.0f : expf(x);
    case Feature::sigmoid: {
      const float s = 1.0f / (1.0f + expf(-x));
      return s * (1.0f - s);
    }
    case Feature::tanh: {
      const float y = tanhf(x);
      return 1.0f - y * y;
    }
    case Feature::softplus: return 1.0f / (1.0f + expf(-x));
    case Feature::softsign: {
      const float a = 1.0f / (1.0f + fabsf(x));
      return a * a;
    }
    case Feature::exp: return fabsf(x) < 30.0f ? expf(x) : 0.0f;
    case Feature::gelu:
      return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  }
  return 1.0f;
}

}  // namespace flr::cuda::causal
