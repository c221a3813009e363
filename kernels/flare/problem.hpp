// A call as the FLARE kernels see it: N tokens against M latents, a head at a time.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda::flare {

/// A [B,H,rows,D] operand; the last axis is contiguous, a stride may be 0.
template <class T>
struct Heads {
  T* data = nullptr;
  HeadStrides s;
  constexpr T* head(int b, int h) const { return data + b * s.batch + h * s.head; }
};

/// A gradient and what to do with it.
template <class T>
struct GradOf : Heads<T> {
  GradMode mode = GradMode::ignore;
  constexpr bool wanted() const { return mode != GradMode::ignore; }
};

/// Head dimensions are powers of two from 2 on to this.
template <class T>
inline constexpr int most_width = sizeof(T) == 2 ? 128 : 64;

/// What launches may leave in memory for those with other latents: gradients of a range of tokens as
/// floats. Tests make it less.
inline index_t most_carried_bytes = index_t{256} << 20;

struct Sizes {
  int B = 0, H = 0, M = 0, D = 0;
  index_t N = 0;
  float scale = 1;
};

/// z = softmax(scale · q kᵀ) v over the tokens; q, z [M] latents, k, v [N] tokens.
template <class T>
struct EncodeOf {
  Sizes n;
  Heads<const T> q, k, v;
  Heads<T> z;
  float* lse = nullptr;  ///< [B,H,M], may be null
};
template <class T>
struct EncodeBackwardOf {
  Sizes n;
  Heads<const T> q, k, v, z, dz;
  const float* lse = nullptr;
  GradOf<T> dq, dk, dv;
};

/// y = softmax(scale · k qᵀ) z over the latents; k, y [N] tokens, q, z [M] latents.
template <class T>
struct DecodeOf {
  Sizes n;
  Heads<const T> k, q, z;
  Heads<T> y;
  float* lse = nullptr;  ///< [B,H,N], may be null
};
template <class T>
struct DecodeBackwardOf {
  Sizes n;
  Heads<const T> k, q, z, y, dy;
  const float* lse = nullptr;
  GradOf<T> dk, dq, dz;
};

using In = Heads<const bf16>;
using Out = Heads<bf16>;
using Grad = GradOf<bf16>;
using Encode = EncodeOf<bf16>;
using EncodeBackward = EncodeBackwardOf<bf16>;
using Decode = DecodeOf<bf16>;
using DecodeBackward = DecodeBackwardOf<bf16>;

/// Both hops: gradients of y = decode(q, k, encode(q, k, v)).
struct MixerBackward {
  Sizes n;
  In q, k, v, z, y, dy;
  const float *lse_z = nullptr, *lse_y = nullptr;  ///< [B,H,M] and [B,H,N]
  Grad dq, dk, dv;
};

void encode(const Encode&);
void encode_backward(const EncodeBackward&);
void decode(const Decode&);
void decode_backward(const DecodeBackward&);
void mixer_backward(const MixerBackward&);
/// The pass over the tokens of it for D up to 16; dz [B,H,M,D].
void mixer_backward_scaled(const MixerBackward&, const Heads<const float>& dz);

/// Floats, in products of matmul_precision().
void encode(const EncodeOf<float>&);
void encode_backward(const EncodeBackwardOf<float>&);
void decode(const DecodeOf<float>&);
void decode_backward(const DecodeBackwardOf<float>&);

/// Raises a flag where a sum of weights is beyond what float can tell; or runs only where it is up.
struct Guard {
  int* raise = nullptr;
  const int* only_if = nullptr;
};
/// z and lse from the parts of `splits` ranges of tokens: o [B,H,splits,M,D] not yet divided, and
/// (m, l) [B,H,splits,M,2], the maximum in base 2 and the sum.
template <class T>
void encode_merge(const EncodeOf<T>&, const float* o, const float* ml, int splits, Guard = {});
/// Encode with maxima from a sample of the tokens, which has to be done over where `overflow` is
/// set afterwards. At least 64 tokens, D at most 64.
void encode_sampled(const Encode&, Scratch<int>& overflow);

/// grad [H,M,D] or [B,H,M,D] from parts [B,H,splits,M,D], times `factor`; summed over the batch
/// where the gradient's batch stride is 0. Parts are added in order of batch and split.
template <class T>
void reduce_partials(const Sizes&, const float* parts, int splits, float factor, const GradOf<T>&);

/// Calls f.template operator()<D>(), which is wanted for D up to `Most`.
template <int Most = 128, class F>
void with_width(int D, F f) {
  switch (D) {
    case 2: return f.template operator()<2>();
    case 4: return f.template operator()<4>();
    case 8: return f.template operator()<8>();
    case 16: return f.template operator()<16>();
    case 32:
      if constexpr (Most >= 32) return f.template operator()<32>();
      break;
    case 64:
      if constexpr (Most >= 64) return f.template operator()<64>();
      break;
    default:
      if constexpr (Most >= 128) return f.template operator()<128>();
  }
}

}  // namespace flr::cuda::flare
