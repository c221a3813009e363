// Scaled dot-product attention of the CUDA table: checks a call, and picks who computes it.
//
// FLARE's shapes go to the tensor-core kernels of flare/; everything else, and everything with
// FLR_SDPA=general, to the general kernels of sdpa/, which differ in nothing but speed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "flare/flare.hpp"
#include "flr/core/explain.hpp"
#include "sdpa/general.hpp"
#include "table.hpp"

namespace flr::cuda {
namespace {

/// Whether the variable is set to `value`.
bool variable_is(const char* name, const char* value) {
  const char* text = std::getenv(name);
  return text && std::strcmp(text, value) == 0;
}

bool general_only() {
  static const bool chosen = variable_is("FLR_SDPA", "general");
  return chosen;
}

template <class T>
void explain_call(const char* operation, const SdpaParams<T>& p, const std::string& kernels) {
  explain([&] {
    const std::string dv = p.Dv == p.D ? "" : fmt::format(" Dv={}", p.Dv);
    return fmt::format("[{}] B={} H={} Nq={} Nk={} D={}{} {} on cuda: {}", operation, p.B, p.H,
                       p.Nq, p.Nk, p.D, dv, name_of(dtype_of<T>), kernels);
  });
}

/// Why the tensor-core kernels of flare/ refused a call that they were asked to take.
template <class T>
std::string refusal(const SdpaParams<T>& p) {
  if (general_only()) return "flare: FLR_SDPA=general";
  if (std::is_same_v<T, double>) return "flare: not for double";
  if (p.causal || p.keep || p.bias) return "flare: a mask or a bias";
  if (p.D != p.Dv) return fmt::format("flare: D={} and Dv={} differ", p.D, p.Dv);
  if (p.D > 64 || (p.D & (p.D - 1)) || p.D < 2)
    return fmt::format("flare: D={}, one of 2 to 64", p.D);
  return fmt::format("flare: {} in this precision, number of latents or layout",
                     name_of(dtype_of<T>));
}

template <class T>
void check_depths(const char* operation, const SdpaParams<T>& p) {
  check(p.D <= attention::max_depth && p.Dv <= attention::max_depth,
        "[{}] the CUDA kernels take head dimensions up to {}; got {} for q and k, {} for v",
        operation, attention::max_depth, p.D, p.Dv);
}

// There is no tensor-core kernel for double.
template <class T>
bool flare_takes(const SdpaParams<T>& p) {
  if constexpr (std::is_same_v<T, double>)
    return false;
  else
    return !general_only() && flare_sdpa(p);
}
template <class T>
bool flare_takes(const SdpaBackwardParams<T>& p) {
  if constexpr (std::is_same_v<T, double>)
    return false;
  else
    return !general_only() && flare_sdpa_backward(p);
}

}  // namespace

template <class T>
void sdpa(const SdpaParams<T>& p) {
  check_depths("sdpa", p);
  if (flare_takes(p)) return explain_call("sdpa", p, "flare tensor cores");
  const index_t splits = attention::general_forward(p);
  if (explaining())
    explain_call("sdpa", p, fmt::format("general, keys split in {}; {}", splits, refusal(p)));
}

template <class T>
void sdpa_backward(const SdpaBackwardParams<T>& p) {
  const SdpaParams<T>& f = p.f;
  check_depths("sdpa_backward", f);
  check(f.lse || f.B * f.H * f.Nq == 0,
        "[sdpa_backward] expected the log-sum-exp of the forward call; got null");
  if (flare_takes(p)) return explain_call("sdpa_backward", f, "flare tensor cores");
  const Scratch<attention::QueryStatistics<T>> statistics(f.B * f.H * f.Nq + 1);
  attention::query_statistics(p, statistics.data());
  attention::bias_gradient(p, statistics.data());
  const index_t keys = attention::query_gradient(p, statistics.data());
  const index_t queries = attention::key_gradients(p, statistics.data());
  if (explaining())
    explain_call("sdpa_backward", f,
                 fmt::format("general, keys split in {}, queries split in {}; {}", keys, queries,
                             refusal(f)));
}

template void sdpa<float>(const SdpaParams<float>&);
template void sdpa<double>(const SdpaParams<double>&);
template void sdpa<bf16>(const SdpaParams<bf16>&);
template void sdpa_backward<float>(const SdpaBackwardParams<float>&);
template void sdpa_backward<double>(const SdpaBackwardParams<double>&);
template void sdpa_backward<bf16>(const SdpaBackwardParams<bf16>&);

}  // namespace flr::cuda
