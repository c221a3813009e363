// Which attention calls are FLARE's, and as which hop: the longer side are the tokens.
#include "flare/flare.hpp"

#include <cmath>

#include "flare/problem.hpp"
#include "table.hpp"

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
bool sizes_fit(index_t B, index_t H, index_t latents, index_t D, compute_t<T> scale) {
  const bool width = D >= 2 && D <= most_width<T> && (D & (D - 1)) == 0;
  return scale > 0 && std::isfinite(scale) && width && B > 0 && H > 0 && latents > 0 &&
         latents <= most_latents && B <= 65535 && H <= 65535 &&
         B * H * ceil_div(latents, 32) <= 65535;
}

template <class T>
bool fits(const SdpaParams<T>& p) {
  const bool plain = !p.causal && !p.keep && !p.bias && p.D == p.Dv;
  return plain && sizes_fit<T>(p.B, p.H, p.Nq < p.Nk ? p.Nq : p.Nk, p.D, p.scale) &&
         aligned(p.q, p.qs, p.D) && aligned(p.k, p.ks, p.D) && aligned(p.v, p.vs, p.D) &&
         aligned(p.o, p.os, p.D);
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

template <>
bool supports_flare<bf16>(const FlareParams<bf16>& p, std::string* why) {
  const bool fits = p.M <= p.N && p.D <= 64 && sizes_fit<bf16>(p.B, p.H, p.M, p.D, p.scale) &&
                    aligned(p.q, p.qs, p.D) && aligned(p.k, p.ks, p.D) && aligned(p.v, p.vs, p.D);
  if (!fits && why) *why = "expected M ≤ N, M ≤ 4096, D of 2, 4 … 64, and rows aligned to 16 bytes";
  return fits;
}
template <class T>
bool supports_flare(const FlareParams<T>&, std::string* why) {
  if (why) *why = "only bf16 has one backward pass for both hops";
  return false;
}

template <>
void flare_backward<bf16>(const FlareBackwardParams<bf16>& p) {
  const FlareParams<bf16>& f = p.f;
  const auto fits = [&](const bf16* x, const HeadStrides& s, GradMode mode, bool latents) {
    return mode == GradMode::ignore || (aligned(x, s, f.D) && (f.H == 1 || s.head != 0) &&
                                        (f.B == 1 || s.batch != 0 || latents));
  };
  check(
      aligned(p.dy, p.dys, f.D) && fits(p.dq, p.dqs, p.dq_mode, true) &&
          fits(p.dk, p.dks, p.dk_mode, false) && fits(p.dv, p.dvs, p.dv_mode, false),
      "[flare_mixer] expected gradients with rows aligned to 16 bytes and laid out as q, k and v");
  mixer_backward({.n = {int(f.B), int(f.H), int(f.M), int(f.D), f.N, f.scale},
                  .q = {f.q, f.qs},
                  .k = {f.k, f.ks},
                  .v = {f.v, f.vs},
                  .z = {f.z, f.zs},
                  .y = {f.y, f.ys},
                  .dy = {p.dy, p.dys},
                  .lse_z = f.lse_z,
                  .lse_y = f.lse_y,
                  .dq = {{p.dq, p.dqs}, p.dq_mode},
                  .dk = {{p.dk, p.dks}, p.dk_mode},
                  .dv = {{p.dv, p.dvs}, p.dv_mode}});
}
template <class T>
void flare_backward(const FlareBackwardParams<T>&) {
  fail("[flare_mixer] only bf16 has one backward pass for both hops");
}
template bool supports_flare<float>(const FlareParams<float>&, std::string*);
template bool supports_flare<double>(const FlareParams<double>&, std::string*);
template void flare_backward<float>(const FlareBackwardParams<float>&);
template void flare_backward<double>(const FlareBackwardParams<double>&);

}  // namespace flr::cuda
