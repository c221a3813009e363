// Calls of FAVOR+ features as passes over the tokens.
#include <fmt/core.h>

#include "favor/entries.hpp"
#include "favor/problem.hpp"

namespace flr::cuda {
namespace {

using namespace favor;

/// Bytes that a block gives to rows: enough for 256 features of 64 channels.
constexpr int rows_bytes = 65 * 1024;

/// Blocks enough to fill the chip some times over; each loads its head's rows.
template <class T>
Problem<T> problem_of(const FavorParams<T>& f) {
  Problem<T> p;
  p.B = f.B, p.H = f.H, p.N = f.N, p.D = int(f.D), p.R = int(f.R);
  p.width = (p.D + 3) / 4 * 4;
  with_features(f.R, [&]<int F>() {
    const int most = rows_bytes / int(sizeof(float)) / pitch_of(F) / 4 * 4;
    p.depth = p.width < most ? p.width : most;
    p.groups = ceil_div(f.N, warps * tokens_of(F));
  });
  const index_t wanted = ceil_div(index_t{8} * multiprocessors(), f.B * f.H);
  p.split_groups = ceil_div(p.groups, wanted < p.groups ? wanted : p.groups);
  p.splits = ceil_div(p.groups, p.split_groups);
  p.factor = f.factor, p.scale = f.scale, p.offset = f.offset;
  p.x = {f.x, f.xs}, p.rows = f.rows;
  p.keep = f.keep, p.keep_batch = f.keep_batch;
  return p;
}

}  // namespace

template <class T>
bool favor_fits(const FavorParams<T>& f, std::string* why) {
  constexpr index_t most_heads = index_t{1} << 20;
  if (f.D < 1 || f.D > most_width || f.R < 1 || f.R > most_features || f.B * f.H > most_heads ||
      f.B * f.H * f.N <= 0) {
    if (why)
      *why =
          fmt::format("expected tokens, at most {} channels a head and {} features; got D={} R={}",
                      most_width, most_features, f.D, f.R);
    return false;
  }
  const Problem<T> p = problem_of(f);
  int bytes = 0;
  with_features(f.R, [&]<int F>() { bytes = shared_bytes(F, p.width, p.depth, true); });
  const bool fits = bytes <= max_shared_bytes();
  if (!fits && why)
    *why = fmt::format("{} bytes of shared memory are more than a block can have", bytes);
  return fits;
}

template <class T>
void favor_passes(const FavorParams<T>& f) {
  const Problem<T> p = problem_of(f);
  if (!f.shared_maximum) return forward(p, Features::queries, nullptr, f.y);
  const index_t heads = f.B * f.H;
  const Scratch<float> parts(heads * p.tiles());
  forward(p, Features::maxima, nullptr, parts.data());
  collect_maxima(parts, heads, p.tiles(), f.maximum);
  forward(p, Features::keys, f.maximum, f.y);
}

template <class T>
void favor_backward_passes(const FavorBackwardParams<T>& b) {
  if (b.dx_mode == GradMode::ignore) return;
  const Problem<T> p = problem_of(b.f);
  const GradOf<T> dx{{b.dx, b.dxs}, b.dx_mode};
  if (!b.f.shared_maximum) return backward(p, Slopes::queries, b.dy, nullptr, {}, nullptr, dx);
  const index_t heads = b.f.B * b.f.H, tiles = heads * p.tiles();
  const Scratch<float> memory(2 * tiles + heads);
  const Parts parts{memory.data(), memory.data() + tiles};
  float* share = memory.data() + 2 * tiles;
  backward(p, Slopes::keys, b.dy, b.f.maximum, parts, nullptr, dx);
  collect_shares(parts, heads, p.tiles(), share);
  backward(p, Slopes::attaining, b.dy, b.f.maximum, parts, share, dx);
}

template bool favor_fits(const FavorParams<float>&, std::string*);
template bool favor_fits(const FavorParams<bf16>&, std::string*);
template void favor_passes(const FavorParams<float>&);
template void favor_passes(const FavorParams<bf16>&);
template void favor_backward_passes(const FavorBackwardParams<float>&);
template void favor_backward_passes(const FavorBackwardParams<bf16>&);

}  // namespace flr::cuda
