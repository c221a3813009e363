// The scalar types a tensor can hold, and what is computed in which.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace flr {

/// bfloat16: the upper half of an IEEE float, 8 bits of exponent and 7 of mantissa. Storage only;
/// arithmetic converts to float. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  constexpr explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    bits = (u & 0x7fffffffu) > 0x7f800000u
               ? static_cast<std::uint16_t>((u >> 16) | 0x40u)
               : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  constexpr operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

enum class DType : std::uint8_t { f32, f64, bf16, i64, u8 };

template <class T>
struct scalar_traits;
template <>
struct scalar_traits<float> {
  static constexpr DType dtype = DType::f32;
  using compute = float;
};
template <>
struct scalar_traits<double> {
  static constexpr DType dtype = DType::f64;
  using compute = double;
};
template <>
struct scalar_traits<bf16> {
  static constexpr DType dtype = DType::bf16;
  using compute = float;
};
template <>
struct scalar_traits<std::int64_t> {
  static constexpr DType dtype = DType::i64;
  using compute = std::int64_t;
};
template <>
struct scalar_traits<std::uint8_t> {
  static constexpr DType dtype = DType::u8;
  using compute = std::uint8_t;
};

template <class T>
inline constexpr DType dtype_of = scalar_traits<T>::dtype;

/// The type that arithmetic on T uses, and that norm weights, statistics and log-sum-exps have:
/// float for bf16 storage, T itself otherwise.
template <class T>
using compute_t = typename scalar_traits<T>::compute;

/// Scalars that can carry gradients.
template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, bf16>;

/// Everything a tensor can hold.
template <class T>
concept Scalar = Floating<T> || std::same_as<T, std::int64_t> || std::same_as<T, std::uint8_t>;

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return "float";
    case DType::f64: return "double";
    case DType::bf16: return "bf16";
    case DType::i64: return "int64";
    case DType::u8: return "uint8";
  }
  return "?";
}

constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f64: return 8;
    case DType::bf16: return 2;
    case DType::i64: return 8;
    case DType::u8: return 1;
  }
  return 0;
}

}  // namespace flr
