// What the attention kernels need of vectors beyond cpu/vector.hpp.
#pragma once

#include "flr/cpu/vector_math.hpp"

FLR_CPU_BEGIN
namespace attention {

using simd::fma;
using simd::lanes;
using simd::load;
using simd::Mask;
using simd::select;
using simd::splat;
using simd::store;
using simd::Vec;
using simd::vmax;

template <class T>
inline constexpr T log2_e = T(1.44269504088896340736);
template <class T>
inline constexpr T ln_2 = T(0.693147180559945309417);
template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

/// 0, 1, 2, …
template <class T>
FLR_ALWAYS_INLINE Vec<T> iota() {
  Vec<T> v{};
  for (int i = 0; i < lanes<T>; ++i) v[i] = static_cast<T>(i);
  return v;
}

/// Whether a mask holds in some lane.
template <class T>
FLR_ALWAYS_INLINE bool any(Mask<T> mask) {
  std::uint64_t words[simd::vector_bytes / 8], all = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (std::uint64_t word : words) all |= word;
  return all != 0;
}

/// 2ˣ for x ≤ 0 or little above, as the weights of a softmax need it: what is below the smallest
/// normal number is exactly 0, so that −∞ gives 0. NaN stays. Polynomials by Remez exchange on
/// [−½, ½], relative errors 8e-8 and 3e-18 before rounding.
template <class T>
FLR_ALWAYS_INLINE Vec<T> exp2_weight(Vec<T> x) {
  constexpr bool f32 = std::is_same_v<T, float>;
  // Adding 1.5 · 2^mantissa rounds to an integer, which then stands in the low bits.
  constexpr T shifter = f32 ? T(0x1.8p23) : T(0x1.8p52);
  Vec<T> shifted = x + shifter;
#if defined(__FAST_MATH__) && defined(__x86_64__)
  asm("" : "+x"(shifted));  // such flags would cancel the sum and the difference
#endif
  const Vec<T> r = x - (shifted - shifter);
  Vec<T> y;
  if constexpr (f32) {
    constexpr float c[] = {1.00000007175f,   0.693146966844f,   0.240221192889f,
                           0.0555071345996f, 0.00967556466592f, 0.00132764660613f};
    y = splat(c[5]);
    FLR_UNROLL
    for (int i = 4; i >= 0; --i) y = fma(y, r, splat(c[i]));
  } else {
    constexpr double c[] = {
        0.99999999999999999709,    0.69314718055994533051,   0.24022650695910156369,
        0.055504108664819918072,   0.0096181291075882724193, 0.0013333558146790551217,
        0.00015403530462596043681, 0.0000152527334895657259, 1.3215433047267256934e-6,
        1.0178198128999667753e-7,  7.0741132113867976063e-9, 4.4352761280975004398e-10};
    y = splat(c[11]);
    FLR_UNROLL
    for (int i = 10; i >= 0; --i) y = fma(y, r, splat(c[i]));
  }
  constexpr int mantissa = std::numeric_limits<T>::digits - 1;
  // Unsigned: of an x far below, whose result is masked, the sum may pass the largest integer.
  using Unsigned = typename simd::VectorOf<
      std::make_unsigned_t<typename simd::IntegerOf<T>::type>>::type;
  const Unsigned scaled = simd::bits<Unsigned>(y) + (simd::bits<Unsigned>(shifted) << mantissa);
  const Mask<T> vanishing = x < T(std::numeric_limits<T>::min_exponent - 1);
  return simd::bits<Vec<T>>(simd::bits<Mask<T>>(scaled) & ~vanishing);
}

}  // namespace attention
FLR_CPU_END
