// The feed-forward layer's forward pass for 128 channels on Hopper: a warpgroup takes 64 rows through all
// hidden units, 64 at a time; what it computes of them is, as it stands, operand of the second product. While
// one of a block's two warpgroups is in its activations the tensor cores work for the other. Blocks stay for
// all their tiles of rows, so that the weights keep coming.
#pragma once

#include "feed_forward/layer.cuh"
#include "feed_forward/panels.cuh"

namespace flr::cuda::feed_forward {

constexpr int wide_rows = wide_threads / 2;  ///< of a block's tile
constexpr int wide_x_bytes = wide_rows * wide_channels * 2;
/// Of 64 hidden units W₁'s rows [64,C] and W₂'s columns [C,64] lie in one of three places.
constexpr int wide_units = 64, wide_places = 3;
constexpr int wide_w1_bytes = wide_units * wide_channels * 2, wide_place_bytes = 2 * wide_w1_bytes;
/// Two tiles of x, the places, two barriers, and b₁ and b₂ in float.
constexpr int wide_forward_bytes(index_t hidden) {
  return 2 * wide_x_bytes + wide_places * wide_place_bytes + 16 + int(hidden + wide_channels) * 4;
}

template <Activation A>
__device__ void forward_wide(const FeedForwardParams<bf16>& p, unsigned memory) {
  constexpr int C = wide_channels, warps = wide_threads / 32, tiles = wide_units / 16;
  const unsigned ring = memory + 2 * wide_x_bytes, arrived = ring + wide_places * wide_place_bytes, done = arrived + 8;
  const unsigned b1 = done + 8, b2 = b1 + unsigned(p.hidden) * 4;
  const int warp = int(threadIdx.x) / 32, t = int(threadIdx.x) % 4;
  const int hidden = int(p.hidden), chunks = hidden / wide_units;
  const int row_tiles = int((p.rows + wide_rows - 1) / wide_rows);
  const int own_tiles = (row_tiles - int(blockIdx.x) + int(gridDim.x) - 1) / int(gridDim.x);
  const int turns = own_tiles * chunks;  // of 64 units of a tile each
  const auto first_row = [&](int tile) { return (index_t{tile} * gridDim.x + blockIdx.x) * wide_rows; };

  int next = 0, next_chunk = 0, next_tile = 0;  // turn that is fetched next
  const auto fetch = [&] {
    if (next < turns) {
      const unsigned to = ring + unsigned(next % wide_places * wide_place_bytes);
      const int first = next_chunk * wide_units;
      copy_panels<wide_units, C>(to, p.w1 + first * C, C);
      copy_panels<C, wide_units>(to + wide_w1_bytes, p.w2 + first, hidden);
      if (next_chunk == 0) {
        const index_t row = first_row(next_tile), left = p.rows - row;
        copy_panels<wide_rows, C>(memory + unsigned(next_tile % 2 * wide_x_bytes), p.x + row * C, C,
                                  int(left < wide_rows ? left : wide_rows));
      }
      if (++next_chunk == chunks) next_chunk = 0, ++next_tile;
    }
    ++next;
    end_of_copies();  // one for each turn, so that they can be counted
  };
  fetch();
  fetch();
  for (int i = int(threadIdx.x); i < hidden + C; i += wide_threads)
    save1(b1 + unsigned(i) * 4, __float_as_uint(to_compute(i < hidden ? p.b1[i] : p.b2[i - hidden])));
  constexpr int arrivals = warps * arrivals_of_warp;
  if (threadIdx.x == 0) barrier_init(arrived, arrivals), barrier_init(done, arrivals);
  wait_for_copies_but<1>();
  fence_for_wgmma();
  __syncthreads();

  // Warpgroups wait for each other only where they must: before the second half of a turn for what the next
  // one needs to have arrived, which each thread sees of its own copies, and for the turn before to be done,
  // whose place the next but one takes.
  const auto place = [&](int turn) { return ring + unsigned(turn % wide_places * wide_place_bytes); };
  const auto start = [&](float (&of)[4], unsigned bias, int j) {
    const uint2 b = load2(bias + unsigned(8 * j + 2 * t) * 4);
    of[0] = of[2] = __uint_as_float(b.x), of[1] = of[3] = __uint_as_float(b.y);
  };
  NarrowSums h;
  WideSums y;
  const auto start_h = [&](int chunk) {
#pragma unroll
    for (int j = 0; j < wide_units / 8; ++j) start(h[j / 2][j % 2], b1 + unsigned(chunk * wide_units) * 4, j);
  };
  const auto start_y = [&] {
#pragma unroll
    for (int j = 0; j < C / 8; ++j) start(y[j / 2][j % 2], b2, j);
  };
  const auto begin_first = [&](int turn, int tile) {
    const unsigned x = memory + unsigned(tile % 2 * wide_x_bytes + warp / 4 * (64 * 128));
    Wgmma::begin(h);
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      Wgmma::add<false>(h, Wgmma::matrix<false, wide_rows>(x, k), Wgmma::matrix<false, wide_units>(place(turn), k),
                        false);
    Wgmma::commit();
  };
  start_h(0);
  start_y();
  begin_first(0, 0);
  Wgmma::wait<0>(h);
  __syncthreads();  // with one chunk a tile, turn 0 already brings rows to where these were
  int chunk = 0, tile = 0;
  for (int turn = 0; turn < turns; ++turn) {
    const bool last = chunk + 1 == chunks;
    wait_for_copies();
    fence_for_wgmma();
    warp_arrives(arrived);
    std::uint32_t a[tiles][4];
#pragma unroll
    for (int j = 0; j < tiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[j][i] = pack_bf16(activation<A, true>(h[j][i / 2][i % 2 * 2]).value,
                            activation<A, true>(h[j][i / 2][i % 2 * 2 + 1]).value);
    start_h(last ? 0 : chunk + 1);
    if (turn > 0) barrier_wait(done, unsigned(turn - 1) % 2);
    fetch();
    Wgmma::hold(a);
    Wgmma::begin(y);
#pragma unroll
    for (int j = 0; j < tiles; ++j)
      Wgmma::add<false>(y, a[j], Wgmma::matrix<false, C>(place(turn) + wide_w1_bytes, j));
    Wgmma::commit();
    barrier_wait(arrived, unsigned(turn) % 2);
    begin_first(turn + 1, tile + last);  // after the last turn nobody looks at it
    Wgmma::wait<0>(y);
    Wgmma::wait<0>(h);
    warp_arrives(done);
    ++chunk;
    if (last) {
      const index_t row = first_row(tile) + warp * 16, left = p.rows - row;
      store_rows(p.y + row * C, C, int(left < 16 ? left : 16), y);
      start_y();
      chunk = 0, ++tile;
    }
  }
}

}  // namespace flr::cuda::feed_forward
