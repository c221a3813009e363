// Which calls the kernels take, and their passes in order.
#include <fmt/core.h>

#include <cstdint>

#include "performer/entries.hpp"
#include "performer/problem.hpp"

namespace flr::cuda {
namespace {

using namespace performer;

/// A lane moves two values at once.
bool aligned(const bf16* x, const HeadStrides& s) {
  return reinterpret_cast<std::uintptr_t>(x) % 4 == 0 && s.batch % 2 == 0 && s.head % 2 == 0 &&
         s.row % 2 == 0;
}

Problem problem_of(const PerformerParams<bf16>& f) {
  Problem p;
  p.B = f.B, p.H = f.H, p.Nq = f.Nq, p.Nk = f.Nk, p.D = int(f.D), p.R = int(f.R);
  p.factor = f.factor, p.scale = f.scale, p.offset = f.offset, p.epsilon = f.epsilon;
  p.q = {f.q, f.qs}, p.k = {f.k, f.ks}, p.v = {f.v, f.vs};
  p.rows = f.rows, p.keep = f.keep, p.keep_batch = f.keep_batch;
  return p;
}

}  // namespace

bool performer_fits(const PerformerParams<bf16>& f, std::string* why) {
  const auto refuse = [&](std::string reason) {
    if (why) *why = std::move(reason);
    return false;
  };
  constexpr index_t most_heads = index_t{1} << 16;
  if (f.D != 8 && f.D != 16 && f.D != 32 && f.D != 64)
    return refuse(fmt::format("expected heads of 8, 16, 32 or 64 channels; got {}", f.D));
  if (f.R < 16 || f.R % 16 != 0 || f.R > most_features)
    return refuse(fmt::format("expected 16, 32 … {} features; got {}", most_features, f.R));
  if (!(f.scale > 0)) return refuse("expected features with a positive scale");
  if (f.B < 1 || f.H < 1 || f.Nq < 1 || f.Nk < 1 || f.B * f.H > most_heads)
    return refuse(fmt::format("expected tokens, and at most {} heads in the batch", most_heads));
  if (!aligned(f.q, f.qs) || !aligned(f.k, f.ks) || !aligned(f.v, f.vs))
    return refuse("expected rows aligned to 4 bytes");
  const int bytes = shared_bytes(problem_of(f));
  if (bytes > max_shared_bytes())
    return refuse(fmt::format("{} bytes of shared memory are more than a block can have", bytes));
  return true;
}

void performer_passes(const PerformerParams<bf16>& f) {
  const Problem p = problem_of(f);
  key_maxima(p, f.norms, f.maximum, f.attained);
  sums(p, {.N = p.Nk, .x = p.k, .v = p.v, .c = f.norms, .maximum = f.maximum}, f.state);
  outputs(p, f.state, {f.y, f.ys});
}

void performer_backward_passes(const PerformerBackwardParams<bf16>& b) {
  const auto fits = [](const bf16* x, const HeadStrides& s, GradMode mode) {
    return mode == GradMode::ignore || aligned(x, s);
  };
  check(aligned(b.dy, b.dys) && fits(b.dq, b.dqs, b.dq_mode) && fits(b.dk, b.dks, b.dk_mode) &&
            fits(b.dv, b.dvs, b.dv_mode),
        "[performer] expected gradients with rows aligned to 4 bytes");
  const Problem p = problem_of(b.f);
  const GradOf<bf16> dq{{b.dq, b.dqs}, b.dq_mode}, dk{{b.dk, b.dks}, b.dk_mode},
      dv{{b.dv, b.dvs}, b.dv_mode};
  const Scratch<float> slope(p.heads() * p.state());
  {
    const index_t queries = p.heads() * p.Nq;
    const Scratch<float> c(queries), e(queries);
    const Scratch<bf16> over(queries * p.D);
    query_gradients(p, b.f.state, {b.dy, b.dys}, c.data(), over.data(), e.data(), dq);
    if (!dk.wanted() && !dv.wanted()) return;
    const HeadStrides strides{p.H * p.Nq * p.D, p.Nq * p.D, p.D};
    sums(p, {.N = p.Nq, .x = p.q, .v = {over.data(), strides}, .c = c.data(), .w = e.data()},
         slope.data());
  }
  const Scratch<float> totals(p.heads() * key_gradient_parts(p));
  key_gradients(p, b.f.norms, b.f.maximum, slope.data(), totals.data(), dk, dv);
  if (dk.wanted()) settle_maxima(p, b.f.attained, totals.data(), dk);
}

}  // namespace flr::cuda
