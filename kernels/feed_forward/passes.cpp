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
/// Gradients in front of activations that the backward kernel leaves at a time: 128 MiB.
constexpr index_t most_left = index_t{1} << 26;

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
  const int bytes = std::max(feed_forward::forward_bytes(p), feed_forward::backward_bytes(p));
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
  const Scratch<bf16> gradients(range * hidden);
  const index_t last = f.rows - (ceil_div(f.rows, range) - 1) * range, size = hidden * C;
  const index_t parts = std::max(feed_forward::backward_parts(f, range), feed_forward::backward_parts(f, last));
  const Scratch<float> dw1(parts * size), dw2(parts * size), db1(parts * hidden), db2(parts * C);
  const feed_forward::Parts left{gradients.data(), dw1.data(), dw2.data(), db1.data(), db2.data()};
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
    const index_t stretches = feed_forward::backward_parts(f, rows);
    const auto sum = [&](index_t n, const float* partials, float* to, GradMode mode, index_t across = 0) {
      const bool accumulate = first > 0 || mode == GradMode::accumulate;
      return dense::PartSum<float>{n, partials, mode == GradMode::ignore ? nullptr : to, accumulate, across};
    };
    dense::sum_parts<float>(stretches, {sum(size, left.dw1, p.dw1, p.dw1_mode),
                                        sum(size, left.dw2, p.dw2, p.dw2_mode, C),
                                        sum(hidden, left.db1, p.db1, p.db1_mode),
                                        sum(C, left.db2, p.db2, p.db2_mode)});
  }
}

}  // namespace flr::cuda
