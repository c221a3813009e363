// Which attention calls are FLARE's, and as which hop: the longer side are the tokens.
#include "flare/flare.hpp"

#include <cmath>

#include "flare/problem.hpp"
#include "table.hpp"

namespace flr::cuda {
namespace {

using namespace flare;

constexpr index_t most_latents = 4096;

/// A lane moves up to 8 channels at once.
bool aligned(const void* x, const HeadStrides& s, index_t D) {
  const index_t whole = D < 8 ? D : 8;
  return reinterpret_cast<std::uintptr_t>(x) % (2 * std::uintptr_t(whole)) == 0 &&
         s.batch % whole == 0 && s.head % whole == 0 && s.row % whole == 0;
}

bool sizes_fit(index_t B, index_t H, index_t latents, index_t D, float scale) {
  const bool width = D == 2 || D == 4 || D == 8 || D == 16 || D == 32 || D == 64;
  return scale > 0 && std::isfinite(scale) && width && B > 0 && H > 0 && latents > 0 &&
         latents <= most_latents && B <= 65535 && H <= 65535 &&
         B * H * ceil_div(latents, 32) <= 65535;
}

bool fits(const SdpaParams<bf16>& p) {
  const bool plain = !p.causal && !p.keep && !p.bias && p.D == p.Dv;
  return plain && sizes_fit(p.B, p.H, p.Nq < p.Nk ? p.Nq : p.Nk, p.D, p.scale) && aligned(p.q, p.qs, p.D) && aligned(p.k, p.ks, p.D) &&
         aligned(p.v, p.vs, p.D) && aligned(p.o, p.os, p.D);
}

bool is_decode(const SdpaParams<bf16>& p) {
  return p.Nk <= p.Nq;
}

Sizes sizes_of(const SdpaParams<bf16>& p) {
  const bool decode = is_decode(p);
  return {int(p.B), int(p.H), int(decode ? p.Nk : p.Nq), int(p.D), decode ? p.Nq : p.Nk, p.scale};
}

/// Gradients are summed over the batch for latents only, and never over heads.
bool gradient_fits(const SdpaParams<bf16>& p, const bf16* x, const HeadStrides& s, GradMode mode,
                   bool latents) {
  return mode == GradMode::ignore ||
         (aligned(x, s, p.D) && (p.H == 1 || s.head != 0) && (p.B == 1 || s.batch != 0 || latents));
}

}  // namespace

template <>
bool flare_sdpa<bf16>(const SdpaParams<bf16>& p) {
  if (!fits(p)) return false;
  const Sizes n = sizes_of(p);
  const In q{p.q, p.qs}, k{p.k, p.ks}, v{p.v, p.vs};
  const Out o{p.o, p.os};
  if (is_decode(p))
    decode({.n = n, .k = q, .q = k, .z = v, .y = o, .lse = p.lse});
  else
    encode({.n = n, .q = q, .k = k, .v = v, .z = o, .lse = p.lse});
  return true;
}

template <>
bool flare_sdpa_backward<bf16>(const SdpaBackwardParams<bf16>& p) {
  const SdpaParams<bf16>& f = p.f;
  const bool decode = is_decode(f);
  if (!fits(f) || !f.lse || !aligned(p.dout, p.dos, f.D) ||
      (p.dbias && p.dbias_mode != GradMode::ignore) ||
      !gradient_fits(f, p.dq, p.dqs, p.dq_mode, !decode) ||
      !gradient_fits(f, p.dk, p.dks, p.dk_mode, decode) ||
      !gradient_fits(f, p.dv, p.dvs, p.dv_mode, decode))
    return false;
  const Sizes n = sizes_of(f);
  const In q{f.q, f.qs}, k{f.k, f.ks}, v{f.v, f.vs}, o{f.o, f.os}, dout{p.dout, p.dos};
  const Grad dq{{p.dq, p.dqs}, p.dq_mode}, dk{{p.dk, p.dks}, p.dk_mode},
      dv{{p.dv, p.dvs}, p.dv_mode};
  if (!dq.wanted() && !dk.wanted() && !dv.wanted()) return true;
  if (decode)
    decode_backward({.n = n,
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
    encode_backward({.n = n,
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

template <>
bool supports_flare<bf16>(const FlareParams<bf16>& p, std::string* why) {
  const bool fits = p.M <= p.N && sizes_fit(p.B, p.H, p.M, p.D, p.scale) &&
                    aligned(p.q, p.qs, p.D) && aligned(p.k, p.ks, p.D) && aligned(p.v, p.vs, p.D);
  if (!fits && why)
    *why = "expected M ≤ N, M ≤ 4096, D of 2, 4 … 64, and rows aligned to 16 bytes";
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
  check(aligned(p.dy, p.dys, f.D) && fits(p.dq, p.dqs, p.dq_mode, true) &&
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

// Float goes to the general kernels: true float products have no tensor-core instruction.
template <>
bool flare_sdpa<float>(const SdpaParams<float>&) {
  return false;
}
template <>
bool flare_sdpa_backward<float>(const SdpaBackwardParams<float>&) {
  return false;
}

}  // namespace flr::cuda
