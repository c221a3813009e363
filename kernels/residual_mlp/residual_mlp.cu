// FLARE's residual MLP, all layers in one launch: the entries of the table and what they take.
//
//   a₀ = act(W₀x + b₀) (+ x), aᵢ = aᵢ₋₁ + act(Wᵢaᵢ₋₁ + bᵢ), y = W_{L+1}a_L + b_{L+1} (+ a_L)
// Forward reads x and writes y, nothing else touches global memory; backward makes the activations
// again from x. The kernels: forward_bf16.cu, backward_bf16.cu; for floats on tensor cores
// forward_tf32.cu, chain_tf32.cu; for widths that these do not take forward_f32.cu, chain_f32.cu.
#include "residual_mlp/entries.hpp"
#include "residual_mlp/tile_tf32.cuh"

namespace flr::cuda {
namespace {

bool decline(std::string* why, std::string text) {
  if (why) *why = std::move(text);
  return false;
}

/// What both element types share.
template <class T>
bool supports_shape(const ResidualMlpParams<T>& p, std::string* why) {
  if (p.layers < 0 || p.layers > max_mlp_layers)
    return decline(why, fmt::format("{} layers, at most {}", p.layers, max_mlp_layers));
  if (p.in < 1 || p.in > p.hid || p.out < 1 || p.out > p.hid)
    return decline(why,
                   fmt::format("widths {} and {} around a hidden width of {}; the CUDA kernels "
                               "take 1 to the hidden width",
                               p.in, p.out, p.hid));
  return true;
}

}  // namespace

template <>
bool supports_residual_mlp(const ResidualMlpParams<double>&, std::string* why) {
  return decline(why, "no CUDA kernel for double");
}
template <>
bool supports_residual_mlp(const ResidualMlpParams<float>& p, std::string* why) {
  if (p.hid > 256 || p.hid % 4)
    return decline(why, fmt::format("hidden width {}, a multiple of 4 up to 256 in float", p.hid));
  const int hid = int(p.hid),
            bytes = mlp::tf32_width(hid) ? mlp::tf32::tile_bytes(1, hid) : mlp::tile_bytes(2, hid);
  if (bytes > max_shared_bytes())
    return decline(why, fmt::format("hidden width {} needs {} bytes of shared memory, this GPU has {}",
                                    hid, bytes, max_shared_bytes()));
  return supports_shape(p, why);
}
template <>
bool supports_residual_mlp(const ResidualMlpParams<bf16>& p, std::string* why) {
  if (!mlp::bf16_width(p.hid))
    return decline(why,
                   fmt::format("hidden width {}, one of 32, 64, 80, 96, 128, 256 in bf16", p.hid));
  // One layer's weights and all biases at least (tile_bf16.cuh).
  const index_t bytes = p.hid * (p.hid + 8) * 2 + (p.layers + 2) * p.hid * 4;
  if (bytes > max_shared_bytes())
    return decline(
        why, fmt::format("hidden width {} needs {} bytes of shared memory, this GPU has {}", p.hid,
                         bytes, max_shared_bytes()));
  return supports_shape(p, why);
}

template <class T>
void residual_mlp(const ResidualMlpParams<T>& p) {
  std::string why;
  check(supports_residual_mlp(p, &why), "[residual_mlp] {}", why);
  check(!p.pre, "[residual_mlp] the CUDA kernels store no pre-activations");
  if (p.rows == 0) return;
  if constexpr (std::is_same_v<T, float>)
    mlp::tf32_width(p.hid) ? mlp::forward_tf32(p) : mlp::forward_f32(p);
  if constexpr (std::is_same_v<T, bf16>) mlp::forward_bf16(p);
}

template <class T>
void residual_mlp_backward(const ResidualMlpBackwardParams<T>& p) {
  ResidualMlpParams<T> f;
  f.in = p.in, f.hid = p.hid, f.out = p.out, f.layers = p.layers;
  std::string why;
  check(supports_residual_mlp(f, &why), "[residual_mlp_backward] {}", why);
  if constexpr (std::is_same_v<T, float>) mlp::backward_f32(p);
  if constexpr (std::is_same_v<T, bf16>) mlp::backward_bf16(p);
}

template void residual_mlp(const ResidualMlpParams<float>&);
template void residual_mlp(const ResidualMlpParams<double>&);
template void residual_mlp(const ResidualMlpParams<bf16>&);
template void residual_mlp_backward(const ResidualMlpBackwardParams<float>&);
template void residual_mlp_backward(const ResidualMlpBackwardParams<double>&);
template void residual_mlp_backward(const ResidualMlpBackwardParams<bf16>&);

}  // namespace flr::cuda
