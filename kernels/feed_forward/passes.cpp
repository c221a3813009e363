// Calls of the feed-forward layer: its kernels, and the products of what they leave.
#include <fmt/core.h>

#include <algorithm>

#include "feed_forward/entries.hpp"
#include "feed_forward/problem.hpp"
#include "gemm.hpp"
#include "linear/parts.hpp"

namespace flr::cuda {
namespace {

constexpr index_t most_hidden = 4096;
/// Activations, and as many gradients, that the backward kernel leaves at a time: 128 MiB in all.
constexpr index_t most_left = index_t{1} << 25;

}  // namespace

bool feed_forward_fits(const FeedForwardParams<bf16>& p, std::string* why) {
  const auto decline = [&](std::string text) {
    if (why) *why = std::move(text);
    return false;
  };
  if (p.channels != 64 && p.channels != 128)
    return decline(fmt::format("{} channels, 64 or 128", p.channels));
  if (p.hidden < 64 || p.hidden % 64 || p.hidden > most_hidden)
    return decline(fmt::format("{} hidden units, a multiple of 64 up to {}", p.hidden, most_hidden));
  if (p.act != Activation::gelu && p.act != Activation::gelu_tanh && p.act != Activation::relu)
    return decline("the kernels have gelu, gelu_tanh and relu");
  const index_t bytes = 4 * 64 * p.channels * 2 + p.hidden * 4;
  if (bytes > max_shared_bytes())
    return decline(fmt::format("{} bytes of shared memory, this GPU has {}", bytes, max_shared_bytes()));
  // A block reads all weights: it must have many rows, and the chip many blocks.
  const index_t least = index_t{64} * multiprocessors();
  if (p.rows < least) return decline(fmt::format("{} rows, at least {}", p.rows, least));
  return true;
}

void feed_forward_passes(const FeedForwardParams<bf16>& p) {
  std::string why;
  check(feed_forward_fits(p, &why), "[feed_forward] {}", why);
  feed_forward::forward(p);
}

void feed_forward_backward_passes(const FeedForwardBackwardParams<bf16>& p) {
  const FeedForwardParams<bf16>& f = p.f;
  const index_t C = f.channels, hidden = f.hidden, most = most_left / hidden;
  const index_t range = ceil_div(ceil_div(f.rows, ceil_div(f.rows, most)), 64) * 64;
  const Scratch<bf16> activations(range * hidden), gradients(range * hidden);
  const feed_forward::Left left{activations.data(), gradients.data()};
  for (index_t first = 0; first < f.rows; first += range) {
    const index_t rows = std::min(range, f.rows - first);
    feed_forward::backward(p, first, rows, left);
    if (p.dx_mode != GradMode::ignore) {
      GemmParams<bf16> g;
      g.m = rows, g.n = C, g.k = hidden;
      g.a = left.gradients, g.lda = hidden, g.b = f.w1, g.ldb = C;
      g.ldc = C, g.beta = p.dx_mode == GradMode::accumulate ? 1.0f : 0.0f;
      gemm_into(g, p.dx + first * C);
    }
    const auto adds = [&](GradMode mode) { return first > 0 || mode == GradMode::accumulate; };
    // dw (+)= gᵀ input and db (+)= Σ g, of those that are wanted.
    const auto sum_rows = [&](index_t in, index_t out, const bf16* g, const bf16* input, float* dw, GradMode dw_mode,
                              float* db, GradMode db_mode) {
      if (db_mode == GradMode::ignore) db = nullptr;
      if (dw_mode != GradMode::ignore)
        dense::weight_gradient(rows, in, out, g, input, dw, adds(dw_mode), db, adds(db_mode));
      else if (db)
        dense::thin_sums<bf16>(rows, 0, out, nullptr, g, db, false, adds(db_mode));
    };
    sum_rows(C, hidden, left.gradients, f.x + first * C, p.dw1, p.dw1_mode, p.db1, p.db1_mode);
    sum_rows(hidden, C, p.dy + first * C, left.activations, p.dw2, p.dw2_mode, p.db2, p.db2_mode);
  }
}

}  // namespace flr::cuda
