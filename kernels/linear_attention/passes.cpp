// Which calls the kernels take, and their passes in order.
#include "linear_attention/entries.hpp"
#include "linear_attention/problem.hpp"

namespace flr::cuda {
namespace {

using namespace linear_attention;

/// A lane moves 16 bytes at once.
template <class T>
bool aligned(const T* x, const HeadStrides& s) {
  constexpr index_t width = 16 / sizeof(T);
  return reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && s.batch % width == 0 &&
         s.head % width == 0 && s.row % width == 0;
}

template <class T>
Sizes sizes_of(const LinearAttentionParams<T>& p) {
  Sizes n{.B = p.B, .H = p.H, .Nq = p.Nq, .Nk = p.Nk, .D = int(p.D)};
  n.feature = p.feature, n.epsilon = p.epsilon;
  n.unit_q = p.unit_q, n.unit_k = p.unit_k;
  if (n.D == 8 || n.D == 16) n.together = 32 / n.D, n.shift = n.D == 8 ? 3 : 4;
  n.groups = int(ceil_div(n.H, n.together));
  while (n.beside < 4 && n.beside < n.groups) n.beside *= 2;
  return n;
}

template <class T>
Keys<T> keys_of(const LinearAttentionParams<T>& p) {
  return {sizes_of(p), {p.k, p.ks}, {p.v, p.vs}, p.keep, p.keep_batch};
}

}  // namespace

template <class T>
bool linear_attention_fits(const LinearAttentionParams<T>& p, std::string* why) {
  const auto refuse = [&](std::string reason) {
    if (why) *why = std::move(reason);
    return false;
  };
  if (p.D % 8 != 0 || p.D < 8 || p.D > most_width)
    return refuse(fmt::format("expected heads of 8, 16 … {} channels; got {}", most_width, p.D));
  if ((p.unit_q || p.unit_k) && p.D > most_unit_width)
    return refuse(fmt::format("expected heads of at most {} channels for features of length 1; got {}",
                              most_unit_width, p.D));
  if (p.B < 1 || p.H < 1 || p.Nq < 1 || p.Nk < 1 || p.H > 65535 || sizes_of(p).others() > 65535)
    return refuse("expected tokens, and no more heads in the batch than a grid has places");
  if (!aligned(p.q, p.qs) || !aligned(p.k, p.ks) || !aligned(p.v, p.vs))
    return refuse("expected rows aligned to 16 bytes");
  return true;
}

template <class T>
void linear_attention_passes(const LinearAttentionParams<T>& p) {
  key_states(keys_of(p), p.state);
  query_outputs<T>(sizes_of(p), {p.q, p.qs}, p.state, {p.y, p.ys});
}

template <class T>
void linear_attention_backward_passes(const LinearAttentionBackwardParams<T>& p) {
  const auto fits = [](const T* x, const HeadStrides& s, GradMode mode) {
    return mode == GradMode::ignore || aligned(x, s);
  };
  check(aligned(p.dy, p.dys) && fits(p.dq, p.dqs, p.dq_mode) && fits(p.dk, p.dks, p.dk_mode) &&
            fits(p.dv, p.dvs, p.dv_mode),
        "[linear_attention] expected gradients with rows aligned to 16 bytes");
  const Keys<T> keys = keys_of(p.f);
  const Scratch<float> slope(p.f.B * p.f.H * keys.n.state());
  query_gradients<T>(keys.n, {p.f.q, p.f.qs}, {p.dy, p.dys}, p.f.state, slope,
                     {{p.dq, p.dqs}, p.dq_mode});
  key_gradients<T>(keys, slope, {{p.dk, p.dks}, p.dk_mode}, {{p.dv, p.dvs}, p.dv_mode});
}

template bool linear_attention_fits(const LinearAttentionParams<float>&, std::string*);
template bool linear_attention_fits(const LinearAttentionParams<bf16>&, std::string*);
template void linear_attention_passes(const LinearAttentionParams<float>&);
template void linear_attention_passes(const LinearAttentionParams<bf16>&);
template void linear_attention_backward_passes(const LinearAttentionBackwardParams<float>&);
template void linear_attention_backward_passes(const LinearAttentionBackwardParams<bf16>&);

}  // namespace flr::cuda
