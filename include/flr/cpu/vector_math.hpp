// Transcendental functions on vectors: exp, expm1, log, tanh, erf and the activations made of them.
//
// exp: x = n ln 2 + r, |r| ≤ ln 2 / 2, Taylor polynomial of r (the remainder is below half an ulp),
// scaled by 2ⁿ in two factors so that subnormal results are right. log: x = 2ᵉ m, m in
// [√½, √2), the series of 2 artanh((m − 1)/(m + 1)). Errors are at most 2 ulp (3 for tanh).
#pragma once

#include <cmath>
#include <limits>

#include "flr/cpu/vector.hpp"

FLR_CPU_BEGIN
namespace simd {

namespace detail {

template <class T>
inline constexpr int mantissa_bits = std::numeric_limits<T>::digits - 1;
template <class T>
inline constexpr typename IntegerOf<T>::type exponent_bias = std::numeric_limits<T>::max_exponent - 1;

/// 2ⁿ for integers n within the exponent's range.
template <class T>
FLR_ALWAYS_INLINE Vec<T> power_of_two(Mask<T> n) {
  return bits<Vec<T>>((n + exponent_bias<T>) << mantissa_bits<T>);
}

/// x = n ln 2 + r.
template <class T>
FLR_ALWAYS_INLINE Mask<T> reduce(Vec<T> x, Vec<T>& r) {
  // Adding 1.5 · 2^mantissa rounds to an integer, which is then in the low bits.
  constexpr bool f32 = std::is_same_v<T, float>;
  const Vec<T> magic = splat(f32 ? T(12582912) : T(6755399441055744.0));
  const Vec<T> shifted = fma(x, splat(T(1.44269504088896340736)), magic);
  const Vec<T> n = shifted - magic;
  constexpr T ln2_high = f32 ? T(0.693359375) : T(6.93147180369123816490e-01);
  constexpr T ln2_low = f32 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
  r = fma(n, splat(-ln2_high), x);
  r = fma(n, splat(-ln2_low), r);
  return bits<Mask<T>>(shifted) - bits<Mask<T>>(magic);
}

/// eʳ − 1 for |r| ≤ ln 2 / 2, by Horner.
template <class T>
FLR_ALWAYS_INLINE Vec<T> expm1_reduced(Vec<T> r) {
  constexpr T c[] = {T(1.0 / 2),         T(1.0 / 6),          T(1.0 / 24),
                     T(1.0 / 120),       T(1.0 / 720),        T(1.0 / 5040),
                     T(1.0 / 40320),     T(1.0 / 362880),     T(1.0 / 3628800),
                     T(1.0 / 39916800.), T(1.0 / 479001600.), T(1.0 / 6227020800.)};
  constexpr int terms = std::is_same_v<T, float> ? 6 : 12;
  Vec<T> p = splat(c[terms - 1]);
  for (int i = terms - 2; i >= 0; --i) p = fma(p, r, splat(c[i]));
  return fma(p * r, r, r);
}

}  // namespace detail

/// eˣ; −∞ gives 0, overflow ∞, NaN stays.
template <class T>
FLR_ALWAYS_INLINE Vec<T> exp(Vec<T> x) {
  constexpr bool f32 = std::is_same_v<T, float>;
  const Vec<T> high = splat(f32 ? T(88.722839) : T(709.782712893384));
  const Vec<T> low = splat(f32 ? T(-103.97208) : T(-745.1332191019412));
  const Vec<T> inside = vmin<T>(vmax<T>(x, low), high);
  Vec<T> r;
  const Mask<T> n = detail::reduce<T>(inside, r);
  const Mask<T> half = n >> 1;
  Vec<T> y = (detail::expm1_reduced<T>(r) + T(1)) * detail::power_of_two<T>(half) *
             detail::power_of_two<T>(n - half);
  y = select<T>(x > high, splat(std::numeric_limits<T>::infinity()), y);
  y = select<T>(x < low, Vec<T>{}, y);
  return select<T>(x == x, y, x);
}

/// eˣ for x ≤ 0, flushed to 0 below the smallest normal number: what a softmax needs, in fewer
/// operations. −∞ gives 0; NaN is not treated.
template <class T>
FLR_ALWAYS_INLINE Vec<T> exp_nonpositive(Vec<T> x) {
  const Vec<T> low = splat(std::is_same_v<T, float> ? T(-87.33654) : T(-708.3964185322641));
  Vec<T> r;
  const Mask<T> n = detail::reduce<T>(vmax<T>(x, low), r);
  const Vec<T> y = (detail::expm1_reduced<T>(r) + T(1)) * detail::power_of_two<T>(n);
  return bits<Vec<T>>(bits<Mask<T>>(y) & (x >= low));
}

/// eˣ − 1 without cancellation near 0, for |x| well below overflow.
template <class T>
FLR_ALWAYS_INLINE Vec<T> expm1_moderate(Vec<T> x) {
  Vec<T> r;
  const Vec<T> scale = detail::power_of_two<T>(detail::reduce<T>(x, r));
  return fma(detail::expm1_reduced<T>(r), scale, scale - T(1));
}

/// log x; 0 gives −∞, negative numbers NaN.
template <class T>
FLR_ALWAYS_INLINE Vec<T> log(Vec<T> x) {
  constexpr bool f32 = std::is_same_v<T, float>;
  constexpr int subnormal_shift = f32 ? 24 : 54;
  const Mask<T> tiny = x < std::numeric_limits<T>::min();
  const T lift = f32 ? T(16777216) : T(18014398509481984.0);
  // Without the sign, which only leads to NaN below, the difference of the bits cannot overflow.
  const Vec<T> scaled = vabs<T>(select<T>(tiny, x * lift, x));
  const Vec<T> root_half = splat(T(0.70710678118654752440));
  Mask<T> u = bits<Mask<T>>(scaled) - bits<Mask<T>>(root_half);
  const Mask<T> e = u >> detail::mantissa_bits<T>;
  u = bits<Mask<T>>(scaled) - (e << detail::mantissa_bits<T>);
  const Vec<T> m = bits<Vec<T>>(u);  // in [√½, √2)
  const Vec<T> f = m - T(1), s = f / (m + T(1)), z = s * s;
  constexpr int terms = f32 ? 5 : 11;
  Vec<T> p = splat(T(2.0 / (2 * terms + 1)));
  for (int k = terms - 1; k >= 1; --k) p = fma(p, z, splat(T(2.0 / (2 * k + 1))));
  // log m = 2s + s z p, and 2s = f − s f keeps the leading term exact.
  const Vec<T> tail = s * (z * p - f);
  const Mask<T> whole = e - (tiny & subnormal_shift);
  const Vec<T> n = __builtin_convertvector(whole, Vec<T>);
  constexpr T ln2_high = f32 ? T(0.693359375) : T(6.93147180369123816490e-01);
  constexpr T ln2_low = f32 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
  Vec<T> y = n * ln2_high + (f + (tail + n * ln2_low));
  const Vec<T> infinity = splat(std::numeric_limits<T>::infinity());
  y = select<T>(x == Vec<T>{}, -infinity, y);
  y = select<T>(x == infinity, infinity, y);
  return select<T>(x >= Vec<T>{}, y, splat(std::numeric_limits<T>::quiet_NaN()));
}

/// tanh x = (e²ˣ − 1)/(e²ˣ + 1) on |x|.
template <class T>
FLR_ALWAYS_INLINE Vec<T> tanh(Vec<T> x) {
  const Vec<T> limit = splat(std::is_same_v<T, float> ? T(10) : T(20));
  const Vec<T> t = expm1_moderate<T>(T(2) * vmin<T>(vabs<T>(x), limit));
  return select<T>(x == x, copy_sign<T>(t / (t + T(2)), x), x);
}

/// 1/(1 + e⁻ˣ).
template <class T>
FLR_ALWAYS_INLINE Vec<T> sigmoid(Vec<T> x) {
  return T(1) / (T(1) + exp<T>(-x));
}

/// erf x. In float a polynomial of x² below 1 and erfc(x) = e^(−x²) q(1/(1 + x/2)) above, both
/// Chebyshev fits made for this file (errors 4e-11 and 1e-12 before rounding); in double by lanes.
template <class T>
FLR_ALWAYS_INLINE Vec<T> erf(Vec<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    constexpr float p[] = {1.12837917f,     -0.376126385f,   0.112837826f,   -0.0268654383f,
                           0.00522105341f, -0.000848439655f, 0.000112682539f, -9.6735907e-06f};
    constexpr float q[] = {7.47212525e-06f, 0.281884412f, 0.284666299f, 0.228721073f, 0.257953318f,
                           -0.161829944f,   0.489330012f, -0.691217828f, 0.395463545f,
                           -0.0850068131f};
    const Vec<T> a = vmin<T>(vabs<T>(x), splat(4.0f)), z = a * a;
    Vec<T> small = splat(p[7]);
    for (int i = 6; i >= 0; --i) small = fma(small, z, splat(p[i]));
    const Vec<T> t = 1.0f / (1.0f + 0.5f * a);
    Vec<T> large = splat(q[9]);
    for (int i = 8; i >= 0; --i) large = fma(large, t, splat(q[i]));
    large = 1.0f - exp_nonpositive<T>(-z) * large;
    const Vec<T> y = copy_sign<T>(select<T>(a < splat(1.0f), small * a, large), x);
    return select<T>(x == x, y, x);
  } else {
    T v[lanes<T>];
    store(v, x);
    for (T& e : v) e = std::erf(e);
    return load(v);
  }
}

/// log(1 + eˣ) = max(x, 0) + log1p(e^−|x|).
template <class T>
FLR_ALWAYS_INLINE Vec<T> softplus(Vec<T> x) {
  const Vec<T> t = exp<T>(-vabs<T>(x)), u = T(1) + t;
  // log1p t = log u · t/(u − 1) loses nothing where u rounds (Higham 2002, §1.14.1).
  const Vec<T> d = u - T(1);
  const Vec<T> l = select<T>(d == Vec<T>{}, t, log<T>(u) * (t / select<T>(d == Vec<T>{}, splat(T(1)), d)));
  return select<T>(x == x, vmax<T>(x, Vec<T>{}) + l, x);
}

/// A function and its derivative at the same point.
template <class T>
struct ValueAndSlope {
  Vec<T> value, slope;
};

/// x Φ(x) and Φ(x) + x φ(x).
template <class T>
FLR_ALWAYS_INLINE ValueAndSlope<T> gelu(Vec<T> x) {
  const Vec<T> cdf = T(0.5) * (T(1) + erf<T>(x * T(0.70710678118654752440)));
  const Vec<T> density = T(0.39894228040143267794) * exp<T>(T(-0.5) * x * x);
  return {x * cdf, cdf + x * density};
}

/// ½x(1 + tanh u), u = √(2/π)(x + 0.044715x³), and its derivative from the same tanh.
template <class T>
FLR_ALWAYS_INLINE ValueAndSlope<T> gelu_tanh(Vec<T> x) {
  constexpr T k = T(0.79788456080286535588), k3 = T(0.044715);
  const Vec<T> z = x * x, t = tanh<T>(k * x * (T(1) + k3 * z)), h = T(0.5) * (T(1) + t);
  return {x * h, h + T(0.5) * x * (T(1) - t * t) * (k * (T(1) + T(3) * k3 * z))};
}

/// x σ(x) and σ(x)(1 + x(1 − σ(x))).
template <class T>
FLR_ALWAYS_INLINE ValueAndSlope<T> silu(Vec<T> x) {
  const Vec<T> s = sigmoid<T>(x);
  return {x * s, s * (T(1) + x * (T(1) - s))};
}

}  // namespace simd
FLR_CPU_END
