// The table's entries for FAVOR+ features: float and bf16; double keeps its composition,
// which is what the kernels are compared with.
#include <concepts>

#include "favor/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_favor(const FavorParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, double>) {
    if (why) *why = "expected float or bf16";
    return false;
  } else {
    return favor_fits(p, why);
  }
}

template <class T>
void favor(const FavorParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[favor] only float and bf16 have kernels");
  else
    favor_passes(p);
}

template <class T>
void favor_backward(const FavorBackwardParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[favor] only float and bf16 have kernels");
  else
    favor_backward_passes(p);
}

template bool supports_favor(const FavorParams<float>&, std::string*);
template bool supports_favor(const FavorParams<double>&, std::string*);
template bool supports_favor(const FavorParams<bf16>&, std::string*);
template void favor(const FavorParams<float>&);
template void favor(const FavorParams<double>&);
template void favor(const FavorParams<bf16>&);
template void favor_backward(const FavorBackwardParams<float>&);
template void favor_backward(const FavorBackwardParams<double>&);
template void favor_backward(const FavorBackwardParams<bf16>&);

}  // namespace flr::cuda
