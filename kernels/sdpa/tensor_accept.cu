// Which attention calls the tensor-core kernels take.
#include <cmath>

#include "flr/core/precision.hpp"
#include "tensor.hpp"

namespace flr::cuda::attention::tensor {
namespace {

/// Channels in 16 bytes, what one copy to shared memory moves.
template <class T>
constexpr index_t piece = 16 / sizeof(T);

template <class T>
bool aligned(const T* x, const HeadStrides& s) {
  return reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && s.batch % piece<T> == 0 &&
         s.head % piece<T> == 0 && s.row % piece<T> == 0;
}
template <class T>
bool gradient_aligned(const T* x, const HeadStrides& s, GradMode mode) {
  return mode == GradMode::ignore || aligned(x, s);
}

}  // namespace

template <class T>
std::string declines(const SdpaParams<T>& p) {
  if (std::is_same_v<T, float> && matmul_precision() != MatmulPrecision::tf32)
    return "true float products";
  if (p.B * p.H * p.Nq * p.Nk == 0) return "no scores";
  if (p.bias) return "a bias";
  if (p.D == 0 || p.Dv == 0 || p.D % piece<T> != 0 || p.Dv % piece<T> != 0)
    return fmt::format("head dimensions that are no multiples of {}", piece<T>);
  if (p.D > deepest<T> || p.Dv > deepest<T>)
    return fmt::format("head dimensions beyond {}", deepest<T>);
  if (!(p.scale > 0) || !std::isfinite(p.scale)) return "a scale that is not positive";
  if (!aligned(p.q, p.qs) || !aligned(p.k, p.ks) || !aligned(p.v, p.vs) || !aligned(p.o, p.os))
    return "rows that do not begin at multiples of 16 bytes";
  return {};
}

template <class T>
std::string declines(const SdpaBackwardParams<T>& p) {
  if (std::string why = declines(p.f); !why.empty()) return why;
  if (!aligned(p.dout, p.dos) || !gradient_aligned(p.dq, p.dqs, p.dq_mode) ||
      !gradient_aligned(p.dk, p.dks, p.dk_mode) || !gradient_aligned(p.dv, p.dvs, p.dv_mode))
    return "gradients whose rows do not begin at multiples of 16 bytes";
  return {};
}

template std::string declines<float>(const SdpaParams<float>&);
template std::string declines<bf16>(const SdpaParams<bf16>&);
template std::string declines<float>(const SdpaBackwardParams<float>&);
template std::string declines<bf16>(const SdpaBackwardParams<bf16>&);

}  // namespace flr::cuda::attention::tensor
