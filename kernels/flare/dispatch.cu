// Which attention calls are FLARE's, and as which hop: the longer side are the tokens.
#include "flare/flare.hpp"

#include <cmath>

#include "flare/problem.hpp"

namespace flr::cuda {
namespace {

using namespace flare;

constexpr index_t most_latents = 4096;

/// A lane moves up to 16 bytes at once.
template <class T>
bool aligned(const T* x, const HeadStrides& s, index_t D) {
  constexpr index_t most = 16 / sizeof(T);
  const index_t whole = D < most ? D : most;
  return reinterpret_cast<std::uintptr_t>(x) % (sizeof(T) * std::uintptr_t(whole)) == 0 &&
         s.batch % whole == 0 && s.head % whole == 0 && s.row % whole == 0;
}

template <class T>
bool fits(const SdpaParams<T>& p) {
  const bool plain = !p.causal && !p.keep && !p.bias && p.scale > 0 && std::isfinite(p.scale);
  const bool width = p.D == p.Dv && p.D >= 2 && p.D <= most_width<T> && (p.D & (p.D - 1)) == 0;
  const index_t least = p.Nq < p.Nk ? p.Nq : p.Nk;
  const bool sizes = p.B > 0 && p.H > 0 && least > 0 && least <= most_latents && p.B <= 65535 &&
                     p.H <= 65535 && p.B * p.H * ceil_div(least, 32) <= 65535;
  return plain && width && sizes && aligned(p.q, p.qs, p.D) && aligned(p.k, p.ks, p.D) &&
         aligned(p.v, p.vs, p.D) && aligned(p.o, p.os, p.D);
}

template <class T>
bool is_decode(const SdpaParams<T>& p) {
  return p.Nk <= p.Nq;
}

template <class T>
Sizes sizes_of(const SdpaParams<T>& p) {
  const bool decode = is_decode(p);
  return {int(p.B), int(p.H), int(decode ? p.Nk : p.Nq), int(p.D), decode ? p.Nq : p.Nk, p.scale};
}

/// Gradients are summed over the batch for latents only, and never over heads.
template <class T>
bool gradient_fits(const SdpaParams<T>& p, const T* x, const HeadStrides& s, GradMode mode,
                   bool latents) {
  return mode == GradMode::ignore ||
         (aligned(x, s, p.D) && (p.H == 1 || s.head != 0) && (p.B == 1 || s.batch != 0 || latents));
}

}  // namespace

template <class T>
bool flare_sdpa(const SdpaParams<T>& p) {
  if (!fits(p)) return false;
  const Sizes n = sizes_of(p);
  const Heads<const T> q{p.q, p.qs}, k{p.k, p.ks}, v{p.v, p.vs};
  const Heads<T> o{p.o, p.os};
  if (is_decode(p))
    decode(DecodeOf<T>{.n = n, .k = q, .q = k, .z = v, .y = o, .lse = p.lse});
  else
    encode(EncodeOf<T>{.n = n, .q = q, .k = k, .v = v, .z = o, .lse = p.lse});
  return true;
}

template <class T>
bool flare_sdpa_backward(const SdpaBackwardParams<T>& p) {
  const SdpaParams<T>& f = p.f;
  const bool decode = is_decode(f);
  if (!fits(f) || !f.lse || !aligned(p.dout, p.dos, f.D) ||
      (p.dbias && p.dbias_mode != GradMode::ignore) ||
      !gradient_fits(f, p.dq, p.dqs, p.dq_mode, !decode) ||
      !gradient_fits(f, p.dk, p.dks, p.dk_mode, decode) ||
      !gradient_fits(f, p.dv, p.dvs, p.dv_mode, decode))
    return false;
  const Sizes n = sizes_of(f);
  const Heads<const T> q{f.q, f.qs}, k{f.k, f.ks}, v{f.v, f.vs}, o{f.o, f.os}, dout{p.dout, p.dos};
  const GradOf<T> dq{{p.dq, p.dqs}, p.dq_mode}, dk{{p.dk, p.dks}, p.dk_mode},
      dv{{p.dv, p.dvs}, p.dv_mode};
  if (!dq.wanted() && !dk.wanted() && !dv.wanted()) return true;
  if (decode)
    decode_backward(DecodeBackwardOf<T>{.n = n,
                                        .k = q,
                                        .q = k,
                                        .z = v,
                                        .y = o,
                                        .dy = dout,
                                        .lse = f.lse,
                                        .dk = dq,
                                        .dq = dk,
                                        .dz = dv});
  else
    encode_backward(EncodeBackwardOf<T>{.n = n,
                                        .q = q,
                                        .k = k,
                                        .v = v,
                                        .z = o,
                                        .dz = dout,
                                        .lse = f.lse,
                                        .dq = dq,
                                        .dk = dk,
                                        .dv = dv});
  return true;
}

template bool flare_sdpa(const SdpaParams<float>&);
template bool flare_sdpa(const SdpaParams<bf16>&);
template bool flare_sdpa_backward(const SdpaBackwardParams<float>&);
template bool flare_sdpa_backward(const SdpaBackwardParams<bf16>&);

}  // namespace flr::cuda
