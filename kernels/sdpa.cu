// Scaled dot-product attention of the CUDA table: checks a call, and picks who computes it.
//
// There are three sets of kernels, which differ in nothing but speed: FLARE's (few latents and many
// tokens, flare/), those for any numbers of queries and keys on tensor cores (sdpa/tensor.hpp), and
// the general ones (sdpa/general.hpp), which take every call. FLR_SDPA = flare or tensor asks that
// set first whatever the shape, FLR_SDPA = general asks neither.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "flare/flare.hpp"
#include "flr/core/explain.hpp"
#include "flr/core/precision.hpp"
#include "sdpa/general.hpp"
#include "sdpa/tensor.hpp"
#include "table.hpp"

namespace flr::cuda {
namespace {

/// Whether the variable is set to `value`.
bool variable_is(const char* name, const char* value) {
  const char* text = std::getenv(name);
  return text && std::strcmp(text, value) == 0;
}

/// Which of the faster sets is asked first, by FLR_SDPA.
enum class First { by_shape, flare, tensor, neither };
First first_asked() {
  static const First chosen = variable_is("FLR_SDPA", "general")  ? First::neither
                              : variable_is("FLR_SDPA", "flare")  ? First::flare
                              : variable_is("FLR_SDPA", "tensor") ? First::tensor
                                                                  : First::by_shape;
  return chosen;
}

/// FLARE's kernels cut the longer side and keep the shorter one on chip: for sides of similar
/// length there is nothing to keep.
template <class T>
bool flare_first(const SdpaParams<T>& p) {
  if (first_asked() != First::by_shape) return first_asked() == First::flare;
  const index_t shorter = p.Nq < p.Nk ? p.Nq : p.Nk, longer = p.Nq < p.Nk ? p.Nk : p.Nq;
  return longer >= 4 * shorter;
}

/// `kernels` returns what to say of them.
template <class T, class F>
void explain_call(const char* operation, const SdpaParams<T>& p, F&& kernels) {
  explain([&] {
    const std::string dv = p.Dv == p.D ? "" : fmt::format(" Dv={}", p.Dv);
    return fmt::format("[{}] B={} H={} Nq={} Nk={} D={}{} {} on cuda: {}", operation, p.B, p.H,
                       p.Nq, p.Nk, p.D, dv, name_of(dtype_of<T>), kernels());
  });
}

/// FLARE's kernels and what they multiply.
template <class T>
const char* flare_kernels() {
  if (!std::is_same_v<T, float>) return "flare tensor cores";
  return matmul_precision() == MatmulPrecision::tf32 ? "flare tensor cores, tf32"
                                                     : "flare tensor cores, 3 products of tf32";
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
    return flare_sdpa(p);
}
template <class T>
bool flare_takes(const SdpaBackwardParams<T>& p) {
  if constexpr (std::is_same_v<T, double>)
    return false;
  else
    return flare_sdpa_backward(p);
}

/// Why the tensor-core kernels decline a call; empty if they do not.
template <class P>
std::string tensor_declines(const P& p) {
  if constexpr (std::is_same_v<P, SdpaParams<double>> ||
                std::is_same_v<P, SdpaBackwardParams<double>>)
    return "double";
  else
    return attention::tensor::declines(p);
}

template <class T>
constexpr const char* tensor_kernels =
    std::is_same_v<T, float> ? "tensor cores, tf32" : "tensor cores";

std::string reason(const std::string& declined) {
  return declined.empty() ? "" : "; not on tensor cores: " + declined;
}

/// The sets in the order in which they are asked: calls flare() and tensor(), which say whether
/// they took the call, until one did.
template <class Flare, class Tensor>
bool taken(bool flare_first, Flare&& flare, Tensor&& tensor) {
  if (first_asked() == First::neither) return false;
  return flare_first ? flare() || tensor() : tensor() || flare();
}

}  // namespace

template <class T>
void sdpa(const SdpaParams<T>& p) {
  check_depths("sdpa", p);
  const std::string why = tensor_declines(p);
  const auto flare = [&] {
    if (!flare_takes(p)) return false;
    explain_call("sdpa", p, flare_kernels<T>);
    return true;
  };
  const auto tensor = [&] {
    if constexpr (!std::is_same_v<T, double>) {
      if (!why.empty()) return false;
      const index_t splits = attention::tensor::forward(p);
      explain_call("sdpa", p, [&] {
        return fmt::format("{}, keys split in {}", tensor_kernels<T>, splits);
      });
      return true;
    }
    return false;
  };
  if (taken(flare_first(p), flare, tensor)) return;
  const index_t splits = attention::general_forward(p);
  explain_call("sdpa", p, [&] {
    return fmt::format("general, keys split in {}{}", splits, reason(why));
  });
}

template <class T>
void sdpa_backward(const SdpaBackwardParams<T>& p) {
  const SdpaParams<T>& f = p.f;
  check_depths("sdpa_backward", f);
  check(f.lse || f.B * f.H * f.Nq == 0,
        "[sdpa_backward] expected the log-sum-exp of the forward call; got null");
  const std::string why = tensor_declines(p);
  const auto flare = [&] {
    if (!flare_takes(p)) return false;
    explain_call("sdpa_backward", f, flare_kernels<T>);
    return true;
  };
  const auto said = [&](const char* kernels, index_t keys, index_t queries) {
    explain_call("sdpa_backward", f, [&] {
      return fmt::format("{}, keys split in {}, queries split in {}{}", kernels, keys, queries,
                         reason(why));
    });
  };
  const auto tensor = [&] {
    if constexpr (!std::is_same_v<T, double>) {
      if (!why.empty()) return false;
      const Scratch<attention::QueryStatistics<T>> statistics(f.B * f.H * f.Nq);
      attention::query_statistics(p, statistics.data());
      if constexpr (std::is_same_v<T, bf16>) {
        if (attention::tensor::fused_backward_takes(p)) {
          attention::tensor::fused_backward(p, statistics.data());
          explain_call("sdpa_backward", f, [] { return "tensor cores, one pass"; });
          return true;
        }
      }
      const index_t keys = attention::tensor::query_gradient(p, statistics.data());
      said(tensor_kernels<T>, keys, attention::tensor::key_gradients(p, statistics.data()));
      return true;
    }
    return false;
  };
  if (taken(flare_first(f), flare, tensor)) return;
  const Scratch<attention::QueryStatistics<T>> statistics(f.B * f.H * f.Nq + 1);
  attention::query_statistics(p, statistics.data());
  attention::bias_gradient(p, statistics.data());
  const index_t keys = attention::query_gradient(p, statistics.data());
  said("general", keys, attention::key_gradients(p, statistics.data()));
}

template void sdpa<float>(const SdpaParams<float>&);
template void sdpa<double>(const SdpaParams<double>&);
template void sdpa<bf16>(const SdpaParams<bf16>&);
template void sdpa_backward<float>(const SdpaBackwardParams<float>&);
template void sdpa_backward<double>(const SdpaBackwardParams<double>&);
template void sdpa_backward<bf16>(const SdpaBackwardParams<bf16>&);

}  // namespace flr::cuda
