// exp, expm1, log, log1p and tanh on vectors. Reductions to a small interval and polynomials fitted
// there by Remez exchange, so that the fit's error is far below a unit in the last place; what
// remains is rounding. Measured errors are in tests/test_cpu_vmath.cpp.
#pragma once

#include "flr/cpu/simd.hpp"

FLR_CPU_BEGIN
namespace simd {

/// The format of a scalar, and constants that reductions need. Adding `shifter` to a number rounds
/// it to an integer that stands in the low bits of the sum. ln2_hi · n is exact for exponents n.
template <class T>
struct FloatFormat;
template <>
struct FloatFormat<float> {
  static constexpr int mantissa_bits = 23, bias = 127;
  static constexpr float shifter = 0x1.8p23f;
  static constexpr float exp_low = -104, exp_high = 89;  // below: 0, above: infinity
  static constexpr float ln2_hi = 0.693145751953125f, ln2_lo = 1.42860682030941723212e-6f;
  static constexpr std::uint32_t half_root = 0x3f3504f3;  // √½
};
template <>
struct FloatFormat<double> {
  static constexpr int mantissa_bits = 52, bias = 1023;
  static constexpr double shifter = 0x1.8p52;
  static constexpr double exp_low = -746, exp_high = 710;
  static constexpr double ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
  static constexpr std::uint64_t half_root = 0x3fe6a09e667f3bcd;
};
template <class V>
using format_of = FloatFormat<scalar_of<V>>;

/// c₀ + c₁ x + c₂ x² + …
template <class V, int N>
FLR_ALWAYS_INLINE V polynomial(V x, const scalar_of<V> (&c)[N]) {
  V y = splat<V>(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, splat<V>(c[i]));
  return y;
}

/// The nearest integer, for |x| well below 2^mantissa_bits.
template <class V>
FLR_ALWAYS_INLINE V round(V x) {
  V shifted = x + format_of<V>::shifter;
#if defined(__FAST_MATH__) && defined(__x86_64__)
  asm("" : "+x"(shifted));  // such flags would cancel the sum and the difference
#endif
  return shifted - format_of<V>::shifter;
}

/// 2ⁿ for integers n that are exponents of normal numbers.
template <class V>
FLR_ALWAYS_INLINE V power_of_two(V n) {
  using F = format_of<V>;
  return (V)((bits_of<V>)(n + (F::shifter + F::bias)) << F::mantissa_bits);
}

/// x = n ln 2 + r with |r| ≤ ½ ln 2.
template <class V>
struct ExpReduction {
  V n, r;
  FLR_ALWAYS_INLINE explicit ExpReduction(V x) {
    n = round(x * scalar_of<V>(1.44269504088896340736));
    r = fma(n, splat<V>(-format_of<V>::ln2_hi), x);
    r = fma(n, splat<V>(-format_of<V>::ln2_lo), r);
  }
};

/// eʳ − 1 for |r| ≤ ½ ln 2.
template <class V>
FLR_ALWAYS_INLINE V expm1_reduced(V r) {
  V q;
  if constexpr (sizeof(scalar_of<V>) == 4) {
    q = polynomial(r, {0.499999934485f, 0.166665206385f, 0.0416683879608f, 0.00836871644016f,
                       0.00138146022181f});
  } else {
    q = polynomial(r,
                   {0.50000000000000106266, 0.16666666666666412527, 0.041666666666530163,
                    0.0083333333334944643549, 0.0013888888943628944678, 0.00019841269506565711109,
                    0.000024801493100070981401, 2.7557586388432950993e-6, 2.763024799015508457e-7,
                    2.5000056708160521483e-8});
  }
  return fma(q * r, r, r);
}

/// eˣ. Exact zero for −∞ and below the smallest subnormal, +∞ beyond the range, NaN for NaN.
template <class V>
FLR_ALWAYS_INLINE V exp(V x) {
  using F = format_of<V>;
  x = max(splat<V>(F::exp_low), min(splat<V>(F::exp_high), x));
  const ExpReduction<V> e(x);
  // In two factors: 2ⁿ itself may be out of range where the result is not.
  const V n1 = round(e.n * scalar_of<V>(0.5));
  return (1 + expm1_reduced(e.r)) * power_of_two<V>(n1) * power_of_two<V>(e.n - n1);
}

/// eˣ for results that are only added to something of the order of 1: the range of results is cut
/// to normal numbers, which halves the work of scaling. NaN for NaN.
template <class V>
FLR_ALWAYS_INLINE V exp_normal(V x) {
  constexpr scalar_of<V> limit = sizeof(scalar_of<V>) == 4 ? 87.3f : 708.3;
  x = max(splat<V>(-limit), min(splat<V>(limit), x));
  const ExpReduction<V> e(x);
  return (1 + expm1_reduced(e.r)) * power_of_two(e.n);
}

/// eˣ − 1 without cancellation.
template <class V>
FLR_ALWAYS_INLINE V expm1(V x) {
  using F = format_of<V>;
  x = max(splat<V>(F::exp_low), min(splat<V>(F::exp_high), x));
  const ExpReduction<V> e(x);
  const V n1 = round(e.n * scalar_of<V>(0.5));
  const V a = power_of_two<V>(n1), b = power_of_two<V>(e.n - n1);
  return expm1_reduced(e.r) * a * b + (a * b - 1);
}

/// The natural logarithm: −∞ at 0, NaN below.
template <class V>
FLR_ALWAYS_INLINE V log(V x) {
  using F = format_of<V>;
  using T = scalar_of<V>;
  using B = bits_of<V>;
  constexpr auto min_normal = std::numeric_limits<T>::min();
  constexpr T tiny_scale = sizeof(T) == 4 ? 0x1p25 : 0x1p54;
  const auto tiny = x < min_normal;
  V y = tiny ? x * tiny_scale : x;
  // y = m 2ᵉ with √½ ≤ m < √2. The exponent becomes a number by standing in the mantissa of 2^bits.
  constexpr auto one_exponent = decltype(F::half_root)(1) << F::mantissa_bits;
  const B above = (B)y - F::half_root;
  const B biased = (above + F::bias * one_exponent) >> F::mantissa_bits;
  constexpr T two_bits = T(one_exponent);
  V e = (V)(biased | (B)splat<V>(two_bits)) - (two_bits + F::bias);
  e = tiny ? e - (sizeof(T) == 4 ? T(25) : T(54)) : e;
  const V f = (V)((above & (one_exponent - 1)) + F::half_root) - 1;

  // log(1+f) = 2 artanh(s), s = f/(2+f), arranged so that the leading terms are f − f²/2.
  const V s = f / (f + 2), z = s * s;
  V r;
  if constexpr (sizeof(T) == 4) {
    r = polynomial(z, {0.666666656376f, 0.40000337165f, 0.285371723738f, 0.235849165803f});
  } else {
    r = polynomial(z, {0.66666666666667353019, 0.39999999999407915323, 0.28571428744059676674,
                       0.2222219838594914623, 0.18183574811539936849, 0.15313764139948331079,
                       0.1479898767119538956});
  }
  r *= z;
  const V half_square = f * f * T(0.5);
  V y_log = fma(e, splat<V>(F::ln2_hi), f - (half_square - fma(s, half_square + r, e * F::ln2_lo)));

  constexpr T infinity = std::numeric_limits<T>::infinity();
  y_log = x < infinity ? y_log : x;  // +∞ and NaN
  y_log = x == 0 ? splat<V>(-infinity) : y_log;
  return x < 0 ? splat<V>(std::numeric_limits<T>::quiet_NaN()) : y_log;
}

/// log(1 + u) for u ≥ 0, accurate for small u: what rounding 1 + u loses is put back to first
/// order.
template <class V>
FLR_ALWAYS_INLINE V log1p_positive(V u) {
  const V w = 1 + u;
  const V y = log(w) + (u - (w - 1)) / w;
  return w < std::numeric_limits<scalar_of<V>>::infinity() ? y : w;
}

/// tanh |x| = t / (t + 2) with t = e^{2|x|} − 1; beyond the cut it is 1.
template <class V>
FLR_ALWAYS_INLINE V tanh(V x) {
  constexpr scalar_of<V> cut = sizeof(scalar_of<V>) == 4 ? 10 : 20;
  const ExpReduction<V> e(min(splat<V>(cut), abs(x)) * 2);
  const V a = power_of_two(e.n);
  const V t = fma(expm1_reduced(e.r), a, a - 1);
  return with_sign(t / (t + 2), x);
}

}  // namespace simd
FLR_CPU_END
