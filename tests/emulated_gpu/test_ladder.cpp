// The kernels of the teaching ladder, as they stand in kernels/ladder, on emulated warps:
// fragments, tails, splits and their merge, without a GPU.
#include <doctest/doctest.h>

#include "flr/core.hpp"
#include "ladder/reference.hpp"

namespace {

using namespace flr;
using namespace flr::cuda::ladder;

struct Sizes {
  index_t rows, columns;
};

std::vector<bf16> draw(index_t n, double scale) {
  std::vector<bf16> v;
  for (double x : randn<double>({n}).to_vector()) v.emplace_back(static_cast<float>(scale * x));
  return v;
}

/// Tokens lie as [n,H,D], latents as [H,n,D].
HeadStrides strides(bool tokens, index_t n, int H, int D) {
  return tokens ? HeadStrides{0, D, index_t{H} * D} : HeadStrides{0, n * D, D};
}

void check_step(void (*step)(const Hop&), Sizes size, int H, int D, double scale) {
  const bool encode = size.rows < size.columns;
  const HeadStrides rows = strides(!encode, size.rows, H, D);
  const HeadStrides columns = strides(encode, size.columns, H, D);
  const auto row = draw(size.rows * H * D, scale), column = draw(size.columns * H * D, scale);
  const auto value = draw(size.columns * H * D, 1);
  bf16 nan;
  nan.bits = 0x7fff;
  std::vector<bf16> out(row.size() + 8, nan);  // what is not written, or beyond, is seen
  Hop p;
  p.rows = size.rows, p.columns = size.columns, p.H = H, p.D = D;
  p.row = {row.data(), rows}, p.column = {column.data(), columns};
  p.value = {value.data(), columns}, p.out = {out.data(), rows};
  step(p);
  const Deviation off = deviation_of(p, INFINITY);
  CHECK(off.l2 < Deviation::most);
  for (std::size_t i = row.size(); i < out.size(); ++i) CHECK(out[i].bits == nan.bits);
}

void check_all(void (*step)(const Hop&)) {
  manual_seed(1);
  for (int D : {8, 16})
    // Whole tiles and tails of every kind; several splits at 3000 columns; scores up to some 30.
    for (const Sizes& size :
         {Sizes{1, 1}, {16, 16}, {33, 7}, {65, 130}, {200, 19}, {5, 3000}, {150, 700}})
      for (int H : {1, 3})
        for (double scale : {0.5, 1.5}) {
          CAPTURE(D);
          CAPTURE(size.rows);
          CAPTURE(size.columns);
          CAPTURE(H);
          CAPTURE(scale);
          check_step(step, size, H, D, scale);
        }
}

}  // namespace

TEST_CASE("ladder: one thread a row") {
  check_all(plain);
}
TEST_CASE("ladder: tiles in shared memory") {
  check_all(tiled);
}
TEST_CASE("ladder: tensor cores") {
  check_all(tensor_cores);
}

TEST_CASE("ladder: a head dimension that no step has") {
  Hop p;
  p.rows = p.columns = p.H = 1, p.D = 32;
  CHECK_THROWS_WITH_AS(plain(p), "[ladder] expected a head dimension of 8 or 16; got 32", Error);
}
