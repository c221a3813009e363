// The table's entries for linear attention: float and bf16; double keeps its composition,
// which is what the kernels are compared with.
#include <concepts>

#include "linear_attention/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_linear_attention(const LinearAttentionParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, double>) {
    if (why) *why = "expected float or bf16";
    return false;
  } else {
    return linear_attention_fits(p, why);
  }
}

template <class T>
void linear_attention(const LinearAttentionParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[linear_attention] only float and bf16 have kernels");
  else
    linear_attention_passes(p);
}

template <class T>
void linear_attention_backward(const LinearAttentionBackwardParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[linear_attention] only float and bf16 have kernels");
  else
    linear_attention_backward_passes(p);
}

template bool supports_linear_attention(const LinearAttentionParams<float>&, std::string*);
template bool supports_linear_attention(const LinearAttentionParams<double>&, std::string*);
template bool supports_linear_attention(const LinearAttentionParams<bf16>&, std::string*);
template void linear_attention(const LinearAttentionParams<float>&);
template void linear_attention(const LinearAttentionParams<double>&);
template void linear_attention(const LinearAttentionParams<bf16>&);
template void linear_attention_backward(const LinearAttentionBackwardParams<float>&);
template void linear_attention_backward(const LinearAttentionBackwardParams<double>&);
template void linear_attention_backward(const LinearAttentionBackwardParams<bf16>&);

}  // namespace flr::cuda
