// Which attention calls the tensor-core kernels take.
#include <cmath>

#include "tensor.hpp"

namespace flr::cuda::attention::tensor {
namespace {

bool aligned(const void* x, const HeadStrides& s) {
  return reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && s.batch % 8 == 0 && s.head % 8 == 0 &&
         s.row % 8 == 0;
}
bool gradient_aligned(const void* x, const HeadStrides& s, GradMode mode) {
  return mode == GradMode::ignore || aligned(x, s);
}

}  // namespace

std::string declines(const SdpaParams<bf16>& p) {
  if (p.B * p.H * p.Nq * p.Nk == 0) return "no scores";
  if (p.bias) return "a bias";
  if (p.D % 8 != 0 || p.Dv % 8 != 0 || p.D == 0 || p.Dv == 0)
    return "head dimensions that are no multiples of 8";
  if (p.D > max_depth || p.Dv > max_depth) return "head dimensions beyond 128";
  if (!(p.scale > 0) || !std::isfinite(p.scale)) return "a scale that is not positive";
  if (!aligned(p.q, p.qs) || !aligned(p.k, p.ks) || !aligned(p.v, p.vs) || !aligned(p.o, p.os))
    return "rows that do not begin at multiples of 16 bytes";
  return {};
}

std::string declines(const SdpaBackwardParams<bf16>& p) {
  if (std::string why = declines(p.f); !why.empty()) return why;
  if (!aligned(p.dout, p.dos) || !gradient_aligned(p.dq, p.dqs, p.dq_mode) ||
      !gradient_aligned(p.dk, p.dks, p.dk_mode) || !gradient_aligned(p.dv, p.dvs, p.dv_mode))
    return "gradients whose rows do not begin at multiples of 16 bytes";
  return {};
}

}  // namespace flr::cuda::attention::tensor
