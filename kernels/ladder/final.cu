// Step 4: what the library runs, kernels/flare. The call says attention; dispatch.cu sees that one
// side is long and the other short, and takes the shorter one for the latents.
//
// What it adds to tensor_cores.cu, file by file:
//   flare/fragments.cuh       loads of 16 bytes a lane by letting channels lie in any order that
//   both
//                             operands share, and transposes of values by movmatrix, in registers
//   flare/encode_forward.cu   up to 64 latents a warp for one read of a token, neighbouring heads side
//                             by side so that lines are used whole, and a maximum that is raised only
//                             when a score passes it by 2⁸
//   flare/encode_sampled.cu   for large calls: tokens in registers, latents in shared memory, and no
//                             look at a maximum at all
//   flare/decode_forward.cu   latents as fragments in shared memory, loaded once for many tokens
//   all of them               sums of the rounded weights, by one more product with a matrix of ones
#include "flare/flare.hpp"
#include "ladder/ladder.hpp"

namespace flr::cuda::ladder {

void final(const Hop& p) {
  SdpaParams<bf16> call;
  call.B = 1, call.H = p.H, call.Nq = p.rows, call.Nk = p.columns, call.D = call.Dv = p.D;
  call.q = p.row.data, call.k = p.column.data, call.v = p.value.data, call.o = p.out.data;
  call.qs = p.row.s, call.ks = p.column.s, call.vs = p.value.s, call.os = p.out.s;
  check(flare_sdpa(call), "[ladder] the FLARE kernels do not take {} rows and {} columns of {}",
        p.rows, p.columns, p.D);
}

}  // namespace flr::cuda::ladder
