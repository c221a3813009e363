// Calls of causal FLARE cut into segments, and gradients into groups of heads.
#include <fmt/core.h>

#include "causal_flare/entries.hpp"
#include "causal_flare/problem.hpp"

namespace flr::cuda {
namespace {

using namespace latents;

constexpr double log2_e = 1.4426950408889634;

template <class T>
Problem<T> problem_of(const CausalFlareParams<T>& f) {
  Problem<T> p;
  p.B = f.B, p.H = f.H, p.N = f.N, p.E = int(f.E), p.D = int(f.D), p.M = int(f.M);
  p.scale = f.scale, p.log2_scale = float(double(f.scale) * log2_e);
  p.q = {f.q, f.qs}, p.k = {f.k, f.ks}, p.v = {f.v, f.vs};
  p.q_packed = causal::packs(f.q, f.qs, f.E), p.k_packed = causal::packs(f.k, f.ks, f.E);
  p.v_packed = causal::packs(f.v, f.vs, f.D);
  p.keep = f.keep, p.keep_batch = f.keep_batch;
  causal::cut(p);
  return p;
}

/// Heads h … of batch b and further ones of the same layout.
template <class H>
H from_head(H x, index_t b, index_t h) {
  if (x.data) x.data += b * x.s.batch + h * x.s.head;
  return x;
}
template <class T>
Problem<T> from_head(Problem<T> p, index_t b, index_t h) {
  for (auto* x : {&p.q, &p.k, &p.v, &p.dy}) *x = from_head(*x, b, h);
  if (p.keep) p.keep += b * p.keep_batch;
  return p;
}

/// The gradients of p's heads; parts of dq [B,H,segments,M,E].
template <class T, int M, int W>
void backward(const Problem<T>& p, float* dq_parts, const GradOf<T>& dk, const GradOf<T>& dv) {
  const index_t heads = p.B * p.H, items = heads * p.segments;
  const bool several = p.segments > 1;
  const Scratch<float> lse(several ? heads * (p.segments + 1) * M : 0);
  const Scratch<float> z(several ? items * W * M : 0);
  const Scratch<float> delta(heads * p.N), tile_lse(heads * p.tiles() * M);
  const Scratch<float> beyond(several ? items * (W + 1) * M : 0);
  const Scratch<T> c(heads * p.N * M);
  const States states = several ? States{lse.data(), z.data()} : States{};
  const Walks<T> walks{c.data(), delta.data(), tile_lse.data(), several ? beyond.data() : nullptr};
  make_states<T, M, W>(p, states, {});
  backward_read<T, M, W>(p, states, walks);
  if (several) carry_back(walks.beyond, states.lse, heads, p.segments, M, W);
  backward_gather<T, M, W>(p, walks, dq_parts, dk, dv);
}

}  // namespace

index_t& causal_flare_scratch() {
  static index_t bytes = index_t{256} << 20;
  return bytes;
}

template <class T>
bool causal_flare_fits(const CausalFlareParams<T>& p, std::string* why) {
  constexpr index_t most_heads = index_t{1} << 20, most_width = causal::most_width;
  const bool fits = p.M >= 1 && p.M <= most_latents && p.E >= 1 && p.E <= most_width && p.D >= 1 &&
                    p.D <= most_width && p.B * p.H <= most_heads && p.B * p.H * p.N > 0;
  if (!fits) {
    if (why)
      *why = fmt::format(
          "expected tokens, at most {} latents and heads of at most {} channels; got "
          "M={} E={} D={}",
          most_latents, most_width, p.M, p.E, p.D);
    return false;
  }
  const int bytes = with_padded_sizes(p.M, p.E > p.D ? p.E : p.D,
                                      []<int M, int W>() { return shared_bytes<T, M, W>(); });
  if (bytes <= max_shared_bytes()) return true;
  if (why)
    *why = fmt::format("it takes {} bytes of shared memory, and a block has {}", bytes,
                       max_shared_bytes());
  return false;
}

template <class T>
void causal_flare_segments(const CausalFlareParams<T>& f) {
  const Problem<T> p = problem_of(f);
  const Carried carried{f.lse_in, f.z_in, f.lse_out, f.z_out};
  const bool states = p.segments > 1 || f.lse_in || f.lse_out;
  with_padded_sizes(f.M, f.E > f.D ? f.E : f.D, [&]<int M, int W>() {
    const Scratch<float> lse(states ? p.B * p.H * (p.segments + 1) * M : 0);
    const Scratch<float> z(states ? p.B * p.H * p.segments * W * M : 0);
    const States of = states ? States{lse.data(), z.data()} : States{};
    make_states<T, M, W>(p, of, carried);
    forward<T, M, W>(p, of, {f.y, f.ys});
  });
}

template <class T>
void causal_flare_backward_segments(const CausalFlareBackwardParams<T>& b) {
  const CausalFlareParams<T>& f = b.f;
  const GradOf<T> dq{{b.dq, b.dqs}, b.dq_mode}, dk{{b.dk, b.dks}, b.dk_mode},
      dv{{b.dv, b.dvs}, b.dv_mode};
  if (!dq.wanted() && !dk.wanted() && !dv.wanted()) return;
  Problem<T> p = problem_of(f);
  p.dy = {b.dy, b.dys}, p.dy_packed = causal::packs(b.dy, b.dys, f.D);
  with_padded_sizes(f.M, f.E > f.D ? f.E : f.D, [&]<int M, int W>() {
    // Whole batches at a time, or heads of one.
    const index_t of_head = p.N * M * index_t{sizeof(T)}, most = causal_flare_scratch() / of_head;
    Problem<T> group = p;
    group.B = p.B * p.H <= most ? p.B : most < p.H ? 1 : most / p.H;
    group.H = most >= p.H ? p.H : most > 1 ? most : 1;
    causal::cut(group);
    const Scratch<float> parts(dq.wanted() ? p.B * p.H * group.segments * p.M * p.E : 0);
    for (index_t b0 = 0; b0 < p.B; b0 += group.B)
      for (index_t h0 = 0; h0 < p.H; h0 += group.H) {
        Problem<T> some = from_head(group, b0, h0);
        some.B = group.B < p.B - b0 ? group.B : p.B - b0;
        some.H = group.H < p.H - h0 ? group.H : p.H - h0;
        float* to =
            dq.wanted() ? parts.data() + (b0 * p.H + h0) * group.segments * p.M * p.E : nullptr;
        backward<T, M, W>(some, to, from_head(dk, b0, h0), from_head(dv, b0, h0));
      }
    const flare::Sizes n{int(p.B), int(p.H), p.M, p.E, p.N, p.scale};
    flare::reduce_partials(n, parts.data(), int(group.segments), p.scale, dq);
  });
}

template bool causal_flare_fits(const CausalFlareParams<float>&, std::string*);
template bool causal_flare_fits(const CausalFlareParams<bf16>&, std::string*);
template void causal_flare_segments(const CausalFlareParams<float>&);
template void causal_flare_segments(const CausalFlareParams<bf16>&);
template void causal_flare_backward_segments(const CausalFlareBackwardParams<float>&);
template void causal_flare_backward_segments(const CausalFlareBackwardParams<bf16>&);

}  // namespace flr::cuda
