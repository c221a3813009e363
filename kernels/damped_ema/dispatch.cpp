// The table's entries for damped moving averages: float and bf16; double keeps its composition,
// which is what the kernels are compared with.
#include <concepts>

#include "damped_ema/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_damped_ema(const DampedEmaParams<T>& p, std::string* why) {
  const bool has = !std::same_as<T, double> && p.order >= 1 && p.order <= most_damped_ema_order;
  if (!has && why)
    *why = fmt::format("expected float or bf16 and from 1 to {} rates", most_damped_ema_order);
  return has;
}

template <class T>
void damped_ema(const DampedEmaParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[damped_ema] only float and bf16 have kernels");
  else
    damped_ema_chunks(p);
}

template <class T>
void damped_ema_backward(const DampedEmaBackwardParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[damped_ema] only float and bf16 have kernels");
  else
    damped_ema_backward_chunks(p);
}

template bool supports_damped_ema(const DampedEmaParams<float>&, std::string*);
template bool supports_damped_ema(const DampedEmaParams<double>&, std::string*);
template bool supports_damped_ema(const DampedEmaParams<bf16>&, std::string*);
template void damped_ema(const DampedEmaParams<float>&);
template void damped_ema(const DampedEmaParams<double>&);
template void damped_ema(const DampedEmaParams<bf16>&);
template void damped_ema_backward(const DampedEmaBackwardParams<float>&);
template void damped_ema_backward(const DampedEmaBackwardParams<double>&);
template void damped_ema_backward(const DampedEmaBackwardParams<bf16>&);

}  // namespace flr::cuda
