// The table's entries for causal FLARE: float and bf16; double keeps its composition,
// which is what the kernels are compared with.
#include <concepts>

#include "causal_flare/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_causal_flare(const CausalFlareParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, double>) {
    if (why) *why = "expected float or bf16";
    return false;
  } else {
    return causal_flare_fits(p, why);
  }
}

template <class T>
void causal_flare(const CausalFlareParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[causal_flare] only float and bf16 have kernels");
  else
    causal_flare_segments(p);
}

template <class T>
void causal_flare_backward(const CausalFlareBackwardParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[causal_flare] only float and bf16 have kernels");
  else
    causal_flare_backward_segments(p);
}

template bool supports_causal_flare(const CausalFlareParams<float>&, std::string*);
template bool supports_causal_flare(const CausalFlareParams<double>&, std::string*);
template bool supports_causal_flare(const CausalFlareParams<bf16>&, std::string*);
template void causal_flare(const CausalFlareParams<float>&);
template void causal_flare(const CausalFlareParams<double>&);
template void causal_flare(const CausalFlareParams<bf16>&);
template void causal_flare_backward(const CausalFlareBackwardParams<float>&);
template void causal_flare_backward(const CausalFlareBackwardParams<double>&);
template void causal_flare_backward(const CausalFlareBackwardParams<bf16>&);

}  // namespace flr::cuda
