// The CPU backend's table for one scalar type, from the kernels of this folder.
#pragma once

#include "flr/core/backend.hpp"
#include "flr/cpu/arena.hpp"
#include "flr/cpu/bf16_attention.hpp"
#include "flr/cpu/bf16_dense.hpp"
#include "flr/cpu/copy.hpp"
#include "flr/cpu/cross_entropy.hpp"
#include "flr/cpu/damped_ema.hpp"
#include "flr/cpu/dropout.hpp"
#include "flr/cpu/embedding.hpp"
#include "flr/cpu/gather.hpp"
#include "flr/cpu/map.hpp"
#include "flr/cpu/random.hpp"
#include "flr/cpu/reduce.hpp"
#include "flr/cpu/relative_loss.hpp"
#include "flr/cpu/softmax.hpp"
#include "flr/cpu/update.hpp"

FLR_CPU_BEGIN

/// Filled when the program is compiled: nothing runs before main.
template <class T>
inline constexpr Backend<T> table{
    .fill = fill<T>,
    .copy = copy<T>,
    .map = map<T>,
    .reduce = reduce<T>,
    .gemm = gemm,
    .linear = linear,
    .linear_backward = linear_backward,
    .residual_mlp = residual_mlp,
    .residual_mlp_backward = residual_mlp_backward,
    .supports_residual_mlp = supports_residual_mlp,
    .mlp_saves_pre = true,
    .norm = norm,
    .norm_backward = norm_backward,
    .softmax = softmax<T>,
    .softmax_backward = softmax_backward<T>,
    .sdpa = sdpa,
    .sdpa_backward = sdpa_backward,
    .damped_ema = damped_ema<T>,
    .damped_ema_backward = damped_ema_backward<T>,
    .embedding = embedding<T>,
    .embedding_backward = embedding_backward<T>,
    .gather = gather<T>,
    .gather_backward = gather_backward,
    .cross_entropy = cross_entropy<T>,
    .cross_entropy_backward = cross_entropy_backward<T>,
    .relative_loss = relative_loss<T>,
    .relative_loss_backward = relative_loss_backward<T>,
    .random = random<T>,
    .dropout = dropout<T>,
    .update = update<T>,
    .sum_squares = sum_squares<T>,
    .ema = ema<T>,
    .to_f32 = to_f32<T>,
    .to_f64 = to_f64<T>,
    .to_bf16 = to_bf16<T>,
    .from_u8 = from_u8<T>,
    .to_u8 = to_u8<T>,
};

FLR_CPU_END

#ifndef FLR_COMPILED
namespace flr {
/// The header-only form: the table of the user's own flags.
template <Floating T>
inline const Backend<T>& cpu_backend() {
  return cpu::table<T>;
}
}  // namespace flr
#endif
