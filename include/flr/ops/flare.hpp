// FLARE's two hops (arXiv 2508.12594): gather from N tokens into M latents, scatter back.
//
//   encode: z = softmax(scale · q kᵀ) v      [B,H,M,D], softmax over the N tokens
//   decode: y = softmax(scale · k qᵀ) z      [B,H,N,D], softmax over the M latents
// Two nodes that meet at z, so that what happens to the latents in between is up to the caller.
#pragma once

#include "flr/ops/sdpa.hpp"

namespace flr {

/// q [H,M,D] or [B,H,M,D] latents, k and v [B,H,N,D] → z [B,H,M,D].
template <Floating T>
Tensor<T> flare_encode(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                       double scale = 1) {
  check(q.rank() == 3 || q.rank() == 4,
        "[flare_encode] expected latents [H,M,D] or [B,H,M,D], got {}", q.shape());
  return sdpa(q.rank() == 3 ? unsqueeze(q, 0) : q, k, v, {.scale = scale});
}

/// q as above, k [B,H,N,D], z [B,H,M,D] → y [B,H,N,D].
template <Floating T>
Tensor<T> flare_decode(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& z,
                       double scale = 1) {
  check(q.rank() == 3 || q.rank() == 4,
        "[flare_decode] expected latents [H,M,D] or [B,H,M,D], got {}", q.shape());
  return sdpa(k, q.rank() == 3 ? unsqueeze(q, 0) : q, z, {.scale = scale});
}

/// Both hops: y = decode(q, k, encode(q, k, v)).
template <Floating T>
Tensor<T> flare_mixer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                      double scale = 1) {
  return flare_decode(q, k, flare_encode(q, k, v, scale), scale);
}

}  // namespace flr
