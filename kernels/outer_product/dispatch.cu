// Which outer products have kernels of their own.
#include "outer_product/outer_product.hpp"
#include "table.hpp"

namespace flr::cuda {
namespace {

/// Kernels move 16 bytes of a row at a time.
template <class T>
bool aligned(const T* x, const HeadStrides& s, index_t D) {
  return reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && s.batch % D == 0 && s.head % D == 0 &&
         s.row % D == 0;
}

}  // namespace

template <class T>
bool supports_outer(const OuterOperands<T>& p, std::string* why) {
  if constexpr (std::same_as<T, double>) {
    if (why) *why = "double has no kernel";
    return false;
  } else {
    const int factors = p.operands - 1;
    const bool width =
        (p.D == 8 || p.D == 16 || p.D == 32 || p.D == 64) && p.D <= outer_product::widest(factors);
    bool fits = width && p.B > 0 && p.H > 0 && p.N > 0 && p.B * p.H <= 65535;
    for (int a = 0; a < p.operands; ++a) fits = fits && aligned(p.x[a], p.xs[a], p.D);
    if (std::same_as<T, bf16> && fits &&
        2 * outer_product::power(p.D, p.operands) > max_shared_bytes()) {
      if (why) *why = "the state of a head is larger than the shared memory of a block";
      return false;
    }
    if (!fits && why)
      *why = fmt::format(
          "expected tokens, D of 8, 16 … {} for {} factors, at most 65535 heads, and rows aligned "
          "to 16 bytes",
          outer_product::widest(factors), factors);
    return fits;
  }
}

template <class T>
void outer_state(const OuterStateParams<T>& p) {
  if constexpr (std::same_as<T, double>)
    fail("[outer_state] double has no kernel");
  else if (p.mode != GradMode::ignore)
    outer_product::state(p);
}

template <class T>
void outer_read(const OuterReadParams<T>& p) {
  if constexpr (std::same_as<T, double>) {
    fail("[outer_read] double has no kernel");
  } else {
    for (int a = 0; a < p.operands; ++a)
      check(p.mode[a] == GradMode::ignore || aligned(p.y[a], p.ys[a], p.D),
            "[outer_read] expected results and gradients with rows aligned to 16 bytes");
    outer_product::read(p);
  }
}

template bool supports_outer(const OuterOperands<float>&, std::string*);
template bool supports_outer(const OuterOperands<double>&, std::string*);
template bool supports_outer(const OuterOperands<bf16>&, std::string*);
template void outer_state(const OuterStateParams<float>&);
template void outer_state(const OuterStateParams<double>&);
template void outer_state(const OuterStateParams<bf16>&);
template void outer_read(const OuterReadParams<float>&);
template void outer_read(const OuterReadParams<double>&);
template void outer_read(const OuterReadParams<bf16>&);

}  // namespace flr::cuda
