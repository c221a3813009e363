// The table's entries for causal linear attention: float and bf16; double keeps its composition,
// which is what the kernels are compared with.
#include <concepts>

#include "causal_linear/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_causal_linear(const CausalLinearParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, double>) {
    if (why) *why = "expected float or bf16";
    return false;
  } else {
    return causal_linear_fits(p, why);
  }
}

template <class T>
void causal_linear(const CausalLinearParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[causal_linear] only float and bf16 have kernels");
  else
    causal_linear_segments(p);
}

template <class T>
void causal_linear_backward(const CausalLinearBackwardParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[causal_linear] only float and bf16 have kernels");
  else
    causal_linear_backward_segments(p);
}

template bool supports_causal_linear(const CausalLinearParams<float>&, std::string*);
template bool supports_causal_linear(const CausalLinearParams<double>&, std::string*);
template bool supports_causal_linear(const CausalLinearParams<bf16>&, std::string*);
template void causal_linear(const CausalLinearParams<float>&);
template void causal_linear(const CausalLinearParams<double>&);
template void causal_linear(const CausalLinearParams<bf16>&);
template void causal_linear_backward(const CausalLinearBackwardParams<float>&);
template void causal_linear_backward(const CausalLinearBackwardParams<double>&);
template void causal_linear_backward(const CausalLinearBackwardParams<bf16>&);

}  // namespace flr::cuda
