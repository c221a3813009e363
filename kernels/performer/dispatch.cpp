// The table's entries for the performer's attention: bf16; float and double keep its composition, whose
// features have kernels of their own (favor/).
#include <concepts>

#include "performer/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_performer(const PerformerParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, bf16>) return performer_fits(p, why);
  if (why) *why = "expected bf16";
  return false;
}

template <class T>
void performer(const PerformerParams<T>& p) {
  if constexpr (std::same_as<T, bf16>) performer_passes(p);
  else fail("[performer] only bf16 has kernels");
}

template <class T>
void performer_backward(const PerformerBackwardParams<T>& p) {
  if constexpr (std::same_as<T, bf16>) performer_backward_passes(p);
  else fail("[performer] only bf16 has kernels");
}

template bool supports_performer(const PerformerParams<float>&, std::string*);
template bool supports_performer(const PerformerParams<double>&, std::string*);
template bool supports_performer(const PerformerParams<bf16>&, std::string*);
template void performer(const PerformerParams<float>&);
template void performer(const PerformerParams<double>&);
template void performer(const PerformerParams<bf16>&);
template void performer_backward(const PerformerBackwardParams<float>&);
template void performer_backward(const PerformerBackwardParams<double>&);
template void performer_backward(const PerformerBackwardParams<bf16>&);

}  // namespace flr::cuda
