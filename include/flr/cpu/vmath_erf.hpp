// erf on vectors, and the pair that GELU and its derivative share.
#pragma once

#include "flr/cpu/vmath_exp.hpp"

FLR_CPU_BEGIN
namespace simd {

/// erf(x) and e^{−x²}, which its evaluation needs anyway.
template <class V>
struct ErfPair {
  V erf, gauss;
};

/// |x| ≤ 1: x P(x²). Beyond: 1 − e^{−x²} Q(t), t = (|x| − 2)/(|x| + 2), where Q is erfc(x) e^{x²}.
template <class V>
FLR_ALWAYS_INLINE ErfPair<V> erf_and_gauss(V x) {
  using T = scalar_of<V>;
  constexpr T cut = sizeof(T) == 4 ? 4 : 6;  // erf is 1 from here on
  const V a = abs(x), squared = x * x;
  const V gauss = exp_normal(-squared);
  const V inside = min(splat<V>(cut), a), t = (inside - 2) / (inside + 2),
          z = min(splat<V>(T(1)), squared);
  V small, large;
  if constexpr (sizeof(T) == 4) {
    small = polynomial(z, {1.12837916573f, -0.37612625825f, 0.11283585153f, -0.0268538120419f,
                           0.00518832780054f, -0.000801019411941f, 7.85386174385e-5f});
    large = polynomial(t, {0.255395678032f, -0.42718585418f, 0.241657213277f, -0.0789874352157f,
                           0.00372793915895f, 0.00721045885469f});
  } else {
    small = polynomial(
        z, {1.1283791670955125657, -0.37612638903183519536, 0.1128379167094418461,
            -0.026866170643111453708, 0.0052239776061184050261, -0.00085483259293132809966,
            0.00012055293576922488899, -0.000014924712303422938011, 1.6447131599322165156e-6,
            -1.620631404245746112e-7, 1.3710981878830126405e-8, -7.7794716484665332074e-10});
    large = polynomial(
        t, {0.25539567631050575041, -0.42718584741395829637, 0.24165819424245770993,
            -0.078978581015872925981, 0.0037328924052844812655, 0.006997461763893545458,
            -0.00084714320279203126646, -0.00098197816943116194607, 0.000043549437658622887743,
            0.00017437057372750853372, 0.000027668161544096782842, -0.000027319793084275157065,
            -0.000014626470065009133418, -1.646596999667911285e-6});
  }
  const V near = x * small, far = with_sign(1 - gauss * large, x);
  return {a > 1 ? far : near, gauss};
}

template <class V>
FLR_ALWAYS_INLINE V erf(V x) {
  return erf_and_gauss(x).erf;
}

}  // namespace simd
FLR_CPU_END
